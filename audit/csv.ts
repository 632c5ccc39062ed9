/** Events as CSV for a spreadsheet: a row for each field that an event changed, with its value before and after. */
import type { EventStore, Json, RecordedEvent } from '../eventstore/port.ts'
import { customerOf } from '../projections/fold.ts'
import { ownerOf } from '../schema/streams.ts'
import type { Change } from './changes.ts'
import { isOfFields } from './criteria.ts'
import { type Shown, scopeOf, shownChange } from './masking.ts'
import { recordOf } from './records.ts'
import { createChangesOf } from './timeline.ts'
import { timeInZone } from './zones.ts'

const COLUMNS = [
  'time',
  'customer',
  'event',
  'actor',
  'field',
  'old',
  'new',
  'requestId',
  'stream',
  'revision',
  'eventId',
] as const

export const CSV_HEADER = `${COLUMNS.join(',')}\r\n`

/**
 * Returns a function that gives the lines of an event (RFC 4180). Pass the events in the order of the log.
 * @param zone the time zone of the times
 * @param fields of an event only these have a line. Empty: all
 */
export function createCsv(
  eventStore: EventStore,
  shown: Shown,
  zone: string,
  fields: readonly string[] = [],
): (event: RecordedEvent) => Promise<string> {
  const changesOf = createChangesOf(eventStore)
  const isAsked = isOfFields(fields)

  async function fieldsOf(event: RecordedEvent, data: Json): Promise<readonly Change[]> {
    const customerId = customerOf(event.stream)
    const scope = scopeOf(event.stream)
    const changes = customerId === undefined ? [] : await changesOf(customerId, event)
    if (changes.length > 0) {
      const wanted = changes.filter(({ field }) => isAsked(field))
      return (wanted.length > 0 ? wanted : changes).map((change) => shownChange(change, shown, scope))
    }
    // An event beside the customer's stream, or one that can't be applied, says only what is in it.
    const isGroup = typeof data === 'object' && data !== null && !Array.isArray(data)
    const fields = Object.entries(isGroup ? data : { data }).map(([field, to]) => ({
      field,
      from: null,
      to: to ?? null,
    }))
    return fields.length > 0 ? fields : [{ field: '', from: null, to: null }]
  }

  return async (event) => {
    const { stream, revision, id, type, actor, requestId, data } = recordOf(event, shown)
    const time = timeInZone(event.created, zone).replace(' ', 'T')
    const customer = customerNumber(stream, data)
    const fields = await fieldsOf(event, data)
    return fields
      .map(({ field, from, to }) =>
        csvLine([time, customer, type, actor, field, from, to, requestId, stream, revision, id]),
      )
      .join('')
  }
}

/** Whom the event is about; null: nobody, or nobody with a number. */
function customerNumber(stream: string, data: Json): Json {
  const owner = ownerOf(stream)
  if (owner !== undefined && /^\d{1,16}$/.test(owner)) return owner
  const { customerId } = (data ?? {}) as { readonly customerId?: Json }
  return customerId ?? null
}

const csvLine = (cells: readonly Json[]) => `${cells.map((cell) => csvCell(textOf(cell))).join(',')}\r\n`

const textOf = (value: Json) => (typeof value === 'string' ? value : value === null ? '' : JSON.stringify(value))

/** What a spreadsheet may take for a formula, also after blanks and in the full-width forms of the characters. */
const FORMULA = /^[\s\p{Cc}\p{Cf}]*[=+\-@|%＝＋－＠]|^[\t\r\n]/u

/**
 * A text that a spreadsheet would take for a formula gets an apostrophe in front, as spreadsheets write it themselves.
 * Where `;` or a tab separates cells, one must not begin a cell either: it is quoted.
 */
function csvCell(text: string): string {
  const safe = FORMULA.test(text) ? `'${text}` : text
  return /[",;\t\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
