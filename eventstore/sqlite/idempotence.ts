/** Decides whether an append is allowed, and whether it repeats an earlier one. */
import { type AppendResult, type ExpectedRevision, StreamDeleted, WrongExpectedRevision } from '../port.ts'
import type { KnownEvents } from './known-events.ts'
import { type EncodedEvent, positionOf } from './rows.ts'
import { isDeleted, type SqliteLog, type StreamRow } from './schema.ts'

/**
 * Whether a write may be made at the stream's revision.
 * @param row of the stream; undefined if there is none
 * @returns the original result if the events exist already; undefined if they have to be written
 * @throws WrongExpectedRevision | StreamDeleted
 */
export function checkExpected(
  { sql }: SqliteLog,
  events: KnownEvents,
  stream: string,
  row: StreamRow | undefined,
  expected: ExpectedRevision,
  appended: readonly EncodedEvent[],
): AppendResult | undefined {
  if (row?.tombstoned) throw new StreamDeleted(stream)
  const current = row?.revision ?? -1
  const refusal = () => new WrongExpectedRevision(stream, expected, current === -1 ? 'no_stream' : current)
  const after = expected === 'no_stream' ? -1 : expected
  if (after === current) return undefined // as a rule
  const deleted = isDeleted(row)
  const known = appended.map(({ id }) => row && events.get(row.id, id))
  const knownFrom = (first: number) => known.every((each, index) => each?.revision === first + index)
  if (after === 'any' || after === 'stream_exists') {
    if (after === 'stream_exists') {
      if (deleted) throw new StreamDeleted(stream)
      if (current === -1 && row?.metadata == null) throw refusal()
    }
    const first = known[0]?.revision
    if (first === undefined) return undefined
    if (!knownFrom(first)) throw refusal()
    return known.at(-1)
  }
  if (row === undefined || after > current) throw refusal()
  if (appended.length > 0) {
    if (knownFrom(after + 1)) return known.at(-1) // also where `$maxCount` has removed some since
    const there = sql.ids.all(row.id, after + 1, after + appended.length) as { id: string; position: number }[]
    if (there.length === appended.length && there.every(({ id }, index) => id === appended[index]?.id)) {
      return { revision: after + appended.length, position: positionOf(there.at(-1)?.position ?? 0) }
    }
  }
  if (expected === 'no_stream' && deleted) return undefined
  throw refusal()
}
