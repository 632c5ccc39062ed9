/**
 * Decodes the read side of the server's protocol directly from bytes. The generated messages take four times as long,
 * and a projection reads all day. Field numbers are those of streams.proto and shared.proto, v1.
 */
import type { Json, Position, RecordedEvent } from '../port.ts'
import { Reader } from './protobuf.ts'

/** A message in the answer of a read or a subscription. */
export type ReadAnswer =
  | { readonly kind: 'event'; readonly event: RecordedEvent }
  | { readonly kind: 'confirmation' }
  | { readonly kind: 'checkpoint'; readonly position: Position }
  | { readonly kind: 'notFound' }
  | { readonly kind: 'caughtUp' }
  | { readonly kind: 'fellBehind' }
  | { readonly kind: 'other' }

const OTHER: ReadAnswer = { kind: 'other' }
const TICKS_PER_MILLISECOND = 10_000

/** Unpacks a `streams.ReadResp`. */
export function decodeReadResponse(bytes: Buffer): ReadAnswer {
  const reader = new Reader(bytes)
  let answer = OTHER
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        answer = reader.message(readEvent)
        break
      case 2:
        answer = { kind: 'confirmation' }
        reader.skip()
        break
      case 3:
        answer = checkpoint(reader.message(position))
        break
      case 4:
        answer = { kind: 'notFound' }
        reader.skip()
        break
      case 8:
        answer = { kind: 'caughtUp' }
        reader.skip()
        break
      case 9:
        answer = { kind: 'fellBehind' }
        reader.skip()
        break
      default:
        reader.skip()
    }
  }
  return answer
}

/** The server's -1: it is still at the start of the log, and has delivered nothing. */
const BEFORE_ALL = 2n ** 64n - 1n

const checkpoint = (at: Position): ReadAnswer =>
  at.commit === BEFORE_ALL ? OTHER : { kind: 'checkpoint', position: at }

/** Links are not resolved: a link is an event like any other. */
function readEvent(reader: Reader): ReadAnswer {
  let event: RecordedEvent | undefined
  while (reader.next()) {
    if (reader.field === 1) event = reader.message(recordedEvent)
    else reader.skip()
  }
  return event === undefined ? OTHER : { kind: 'event', event }
}

/** The record of a tombstone has the largest revision of 64 bits. As a number that is none that a store could keep. */
export const safeRevision = (revision: number): number => Math.min(revision, Number.MAX_SAFE_INTEGER)

function recordedEvent(reader: Reader): RecordedEvent {
  let id = ''
  let stream = ''
  let revision = 0
  let prepare = 0n
  let commit = 0n
  let type = ''
  let isJson = false
  let created = 0
  let rawMetadata: Buffer | undefined
  let rawData: Buffer | undefined
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        id = reader.message(uuid)
        break
      case 2:
        stream = reader.message(streamName)
        break
      case 3:
        revision = safeRevision(reader.number())
        break
      case 4:
        prepare = reader.bigint()
        break
      case 5:
        commit = reader.bigint()
        break
      case 6: {
        const { key, value } = reader.message(mapEntry)
        if (key === 'type') type = value
        else if (key === 'content-type') isJson = value === 'application/json'
        else if (key === 'created') created = Math.floor(Number(value) / TICKS_PER_MILLISECOND)
        break
      }
      case 7:
        rawMetadata = reader.bytes()
        break
      case 8:
        rawData = reader.bytes()
        break
      default:
        reader.skip()
    }
  }
  const data = rawData ?? Buffer.alloc(0)
  return {
    stream,
    revision,
    position: { commit, prepare },
    id,
    type,
    isJson,
    data: isJson ? parse(data) : new Uint8Array(data),
    // The server stores only the content type of the data; bytes that are not JSON are returned unchanged.
    metadata: rawMetadata?.length ? (isJson ? parse(rawMetadata) : new Uint8Array(rawMetadata)) : undefined,
    created: new Date(created),
  }
}

/** Malformed JSON never ends a read: it is returned as text. */
function parse(bytes: Buffer): Json {
  const text = bytes.toString('utf8')
  try {
    return JSON.parse(text) as Json
  } catch {
    return text
  }
}

export function position(reader: Reader): Position {
  let commit = 0n
  let prepare = 0n
  while (reader.next()) {
    if (reader.field === 1) commit = reader.bigint()
    else if (reader.field === 2) prepare = reader.bigint()
    else reader.skip()
  }
  return { commit, prepare }
}

/** As text if that was requested; otherwise as two signed halves. */
export function uuid(reader: Reader): string {
  let text = ''
  while (reader.next()) {
    if (reader.field === 2) text = reader.text()
    else if (reader.field === 1) text = reader.message(structuredUuid)
    else reader.skip()
  }
  return text
}

function structuredUuid(reader: Reader): string {
  let [most, least] = [0n, 0n]
  while (reader.next()) {
    if (reader.field === 1) most = reader.bigint()
    else if (reader.field === 2) least = reader.bigint()
    else reader.skip()
  }
  const hex = ((most << 64n) | least).toString(16).padStart(32, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

function streamName(reader: Reader): string {
  let name = ''
  while (reader.next()) {
    if (reader.field === 3) name = reader.text()
    else reader.skip()
  }
  return name
}

function mapEntry(reader: Reader): { key: string; value: string } {
  let [key, value] = ['', '']
  while (reader.next()) {
    if (reader.field === 1) key = reader.text()
    else if (reader.field === 2) value = reader.text()
    else reader.skip()
  }
  return { key, value }
}
