/** A place in a stream, as people read and write it: `customer-2 revision 1`. */
import { streamOf } from '../schema/streams.ts'

export interface Place {
  readonly stream: string
  readonly revision: number
}

export const ACCEPTED_PLACES = '2:1 (revision 1 of customer 2), customer-2:1, or "customer-2 revision 1"'

/** The one form in which a place is shown. */
export const placeText = ({ stream, revision }: Place): string => `${stream} revision ${revision}`

/** Parses every form that was ever shown. @returns undefined for anything else */
export function parsePlace(text: string): Place | undefined {
  const tidy = text.trim()
  const [, before, revision] = /^(\S+?)(?::|,?\s+revision\s+)(\d{1,15})$/i.exec(tidy) ?? []
  const [, turned, after] = /^(\d{1,15})@(\S+)$/.exec(tidy) ?? []
  const stream = before ?? after
  if (stream === undefined || stream.startsWith('$')) return undefined
  const name = /^\d+$/.test(stream) ? streamOf.customer(stream) : stream
  return { stream: name, revision: Number(revision ?? turned) }
}

const EVENT_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** An event, by its id or its place. @returns undefined for anything else */
export function parseEvent(text: string): { readonly id: string } | Place | undefined {
  return EVENT_ID.test(text.trim()) ? { id: text.trim().toLowerCase() } : parsePlace(text)
}
