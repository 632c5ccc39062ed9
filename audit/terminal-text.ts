/** The text that an auditor reads on a terminal. */
import { styleText } from 'node:util'
import type { Json } from '../eventstore/port.ts'
import type { Change } from './changes.ts'
import { placeText } from './places.ts'
import type { TimelineEntry } from './timeline.ts'
import { timeInZone } from './zones.ts'

/** One value, in one line. */
export function valueText(value: Json): string {
  if (value === null) return '-'
  return plain(typeof value === 'string' ? value : JSON.stringify(value))
}

/** Removes characters that could move a terminal's cursor or reverse its text: anybody may have written the value. */
export function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) => {
    return `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`
  })
}

/** The lines of one entry. @param options.styled for a terminal that shows colours */
export function entryText(
  entry: TimelineEntry,
  { styled, zone }: { readonly styled: boolean; readonly zone: string },
): string {
  const { stream, revision, type, created, actor, requestId, changes, details, problem } = entry
  const title = styled ? styleText('bold', plain(type), { validateStream: false }) : plain(type)
  const lines = [
    `${timeInZone(created, zone)}  ${plain(placeText({ stream, revision }))}  ${title}  by ${plain(actor)}, request ${plain(requestId)}`,
  ]
  if (problem !== undefined) lines.push(`    it can't be applied: ${plain(problem)}`)
  for (const [name, value] of Object.entries(details)) lines.push(`    ${plain(name)}: ${valueText(value ?? null)}`)
  lines.push(...changeLines(changes))
  return `${lines.join('\n')}\n`
}

/** One line for each, the names in a column. */
export function changeLines(changes: readonly Change[]): string[] {
  return columns(changes.map(({ field, from, to }) => [field, `${valueText(from)} → ${valueText(to)}`]))
}

/** Names and texts in two columns. */
export function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(0, ...rows.map(([name]) => name.length))
  return rows.map(([name, text]) => `    ${plain(name).padEnd(width)}  ${text}`)
}
