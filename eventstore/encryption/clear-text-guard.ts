/**
 * The last check before an event is stored: appends to streams that the table of streams does not know, events that do
 * not belong in their stream, and unencrypted personal data are refused. It is below the encryption, so code that forgets
 * to encrypt fails when it writes, and not when somebody reads a backup.
 */
import { PERSONAL_FIELDS } from '../../schema/events.ts'
import { refusalOf } from '../../schema/streams.ts'
import { type EventStore, InvalidArgument, type NewEvent } from '../port.ts'

/**
 * Wraps the store so that appends that violate the table of streams are refused (`InvalidArgument`, nothing is
 * written).
 */
export function guarded(eventStore: EventStore): EventStore {
  return {
    ...eventStore,
    append(stream, events, options) {
      for (const event of events) {
        const refusal = refusalOfEvent(stream, event)
        if (refusal) return Promise.reject(new InvalidArgument(refusal))
      }
      return eventStore.append(stream, events, options)
    },
  }
}

/** Why the event may not be stored in the stream; undefined if it may. */
export const refusalOfEvent = (stream: string, event: NewEvent): string | undefined =>
  refusalOf(stream, event.type) ?? clearTextIn(event)

/** Finds an unencrypted personal field in an event. Returns its name, never its value. */
function clearTextIn({ type, data }: NewEvent): string | undefined {
  const personal = PERSONAL_FIELDS.get(type)
  if (personal === undefined) return undefined
  if (typeof data !== 'object' || data === null || Array.isArray(data) || data instanceof Uint8Array) {
    return `Event "${type}" has personal fields; its data has to be an object.`
  }
  const fields = data as Readonly<Record<string, unknown>>
  for (const name in fields) {
    if (personal.has(name) && fields[name] != null) return `Event "${type}": the personal field ${name} is in clear.`
  }
  return undefined
}
