/**
 * The hash chain: each event carries in its metadata a hash over its content and the hash of the event before it in its
 * stream, so that what was altered, removed, inserted or moved shows (`npm run audit -- verify`).
 *
 * `$hash` is the SHA-256, as base64url without padding, of the UTF-8 bytes of this JSON text, written as
 * `JSON.stringify` does (no blanks, members in the order in which they are stored):
 *
 *     ["customer-log event v1", stream, id, type, data, metadata, previous]
 *
 * with `id` in lower case, `metadata` without `$hash` and `$previous` (null if there is no other), and `previous`
 * the value of `$previous`: the `$hash` of the event before it, null for a stream's first event. An event from before
 * hashes counts with the hash that it would have with `previous` null. Bytes are represented as base64. A change that
 * leaves the JSON value the same (a blank between two members) does not count as an alteration, because every reader
 * still reads the same.
 *
 * The revision is not in it: it is in the leaves of the log's tree (audit/proof/tree.ts), and the writer does not
 * always know it: `no_stream` is accepted for a deleted stream, whose numbering then continues.
 *
 * If the previous event is gone (a deleted stream that is created again, a limit of age or count), `$previous` is null
 * and a new chain begins. In streams whose events are kept for good, verification reports that as a fault.
 */
import { hash } from 'node:crypto'
import { InvalidArgument, type Json, type NewEvent, type RecordedEvent } from './port.ts'

const DOMAIN = 'customer-log event v1'

/** The parts of an event that its hash covers, beside the hash of the event before it. */
export interface Hashed {
  readonly stream: string
  readonly id: string
  readonly type: string
  readonly data: Json | Uint8Array
  /** `$hash` and `$previous` in it are ignored. */
  readonly metadata?: Json | Uint8Array | undefined
}

/** The chain link in an event's metadata; `hash` undefined: it was written before hashes were introduced. */
export interface Link {
  readonly hash: string | undefined
  readonly previous: string | null
}

interface Members {
  readonly [key: string]: Json | undefined
}

/** The event's hash after `previous`: see above for the bytes. */
export function eventHash(event: Hashed, previous: string | null): string {
  return hashOfText(event, textOf(event.data), textOf(withoutLink(event.metadata)), JSON.stringify(previous))
}

/** @param data, metadata, previous as JSON, the metadata without its link */
function hashOfText(
  { stream, id, type }: Pick<Hashed, 'stream' | 'id' | 'type'>,
  data: string,
  metadata: string,
  previous: string,
): string {
  const head = JSON.stringify([DOMAIN, stream, id.toLowerCase(), type])
  return hash('sha256', `${head.slice(0, -1)},${data},${metadata},${previous}]`, 'base64url')
}

const textOf = (content: Json | Uint8Array): string => JSON.stringify(plain(content)) ?? 'null'

const plain = (content: Json | Uint8Array): Json =>
  content instanceof Uint8Array ? Buffer.from(content).toString('base64') : content

/** The link that the event carries. */
export function linkOf({ metadata }: { readonly metadata?: Json | Uint8Array | undefined }): Link {
  if (!isObject(metadata)) return { hash: undefined, previous: null }
  const { $hash, $previous } = metadata
  return {
    hash: typeof $hash === 'string' ? $hash : undefined,
    previous: typeof $previous === 'string' ? $previous : null,
  }
}

/** The hash that the next event links to. */
export function hashOf(event: RecordedEvent): string {
  return linkOf(event).hash ?? eventHash(event, null)
}

/** The metadata as it is hashed. */
function withoutLink(metadata: Json | Uint8Array | undefined): Json | Uint8Array {
  if (metadata === undefined) return null
  if (!isObject(metadata)) return metadata
  let rest = metadata
  if (metadata.$hash !== undefined || metadata.$previous !== undefined) {
    const { $hash, $previous, ...others } = metadata
    rest = others
  }
  for (const name in rest) if (rest[name] !== undefined) return rest
  return null
}

function isObject(value: Json | Uint8Array | undefined): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}

/** An event with its chain link, ready to append. */
export type LinkedEvent = NewEvent & {
  readonly metadata: { readonly $previous: string | null; readonly $hash: string }
}

/**
 * Links events to the one before them and to each other.
 * @param previous the hash of the event before them; null at the beginning of a chain
 * @throws InvalidArgument for an event that is not JSON, or whose metadata is not an object
 */
export function linkEvents(stream: string, events: readonly NewEvent[], previous: string | null): LinkedEvent[] {
  const linked: LinkedEvent[] = []
  let last = previous
  for (const event of events) {
    const next = linkEvent(stream, event, last)
    linked.push(next)
    last = next.metadata.$hash
  }
  return linked
}

/** Each part of the event is written as JSON once: for its hash, and for the store. */
function linkEvent(stream: string, event: NewEvent, $previous: string | null): LinkedEvent {
  const { id, type, data, metadata } = event
  if (data instanceof Uint8Array || (metadata !== undefined && !isObject(metadata))) {
    throw new InvalidArgument('An event of the chain is JSON, with an object as metadata.')
  }
  const rest = withoutLink(metadata) as Members | null
  const dataText = JSON.stringify(data) ?? 'null'
  const restText = JSON.stringify(rest)
  const previousText = JSON.stringify($previous)
  const $hash = hashOfText({ stream, id, type }, dataText, restText, previousText)
  const link = `"$previous":${previousText},"$hash":"${$hash}"}` // the hash is base64url
  const metadataText = rest === null ? `{${link}` : `${restText.slice(0, -1)},${link}`
  return { id, type, data, metadata: { ...rest, $previous, $hash }, json: { data: dataText, metadata: metadataText } }
}

/**
 * Whether nobody else can have appended the event: the id of its command (its own, if it names none) is random (version
 * 4).
 */
export function isNew({ id, metadata }: NewEvent): boolean {
  const cause = (metadata as Members | undefined)?.$causationId
  return (typeof cause === 'string' ? cause : id)[14] === '4'
}
