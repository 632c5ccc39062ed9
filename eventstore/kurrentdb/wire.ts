/**
 * Decodes the read side of the server's protocol directly from bytes. The generated messages take four times as long,
 * and a projection reads all day. Field numbers are those of streams.proto and shared.proto, v1.
 */
import type { Json, Position, RecordedEvent } from '../port.ts'

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
        revision = reader.number()
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

function position(reader: Reader): Position {
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
function uuid(reader: Reader): string {
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

/** Walks the fields of one protobuf message. */
class Reader {
  readonly #bytes: Buffer
  #at = 0
  #end: number
  #wire = 0
  field = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
    this.#end = bytes.length
  }

  /** Goes to the next field; false at the message's end. */
  next(): boolean {
    if (this.#at >= this.#end) return false
    const tag = this.number()
    this.field = tag >>> 3
    this.#wire = tag & 7
    return true
  }

  /** A varint up to 2^53: revisions, counts. */
  number(): number {
    let value = 0
    let factor = 1
    for (;;) {
      const byte = this.#bytes[this.#at++] as number
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value
      factor *= 128
    }
  }

  /** A varint of 64 bits, unsigned. */
  bigint(): bigint {
    const from = this.#at
    const value = this.number()
    if (this.#at - from <= 7) return BigInt(value) // 49 bits: exact
    let exact = 0n
    for (let at = this.#at - 1; at >= from; at--) exact = (exact << 7n) | BigInt((this.#bytes[at] as number) & 0x7f)
    return BigInt.asUintN(64, exact)
  }

  text(): string {
    const length = this.number()
    const from = this.#at
    this.#at += length
    return this.#bytes.toString('utf8', from, this.#at)
  }

  bytes(): Buffer {
    const length = this.number()
    const from = this.#at
    this.#at += length
    return this.#bytes.subarray(from, this.#at)
  }

  /** A message within the message. */
  message<T>(read: (reader: Reader) => T): T {
    const length = this.number()
    const end = this.#end
    this.#end = this.#at + length
    const value = read(this)
    this.#at = this.#end
    this.#end = end
    return value
  }

  skip(): void {
    switch (this.#wire) {
      case 0:
        while ((this.#bytes[this.#at++] as number) >= 0x80);
        break
      case 1:
        this.#at += 8
        break
      case 2: {
        const length = this.number()
        this.#at += length
        break
      }
      case 5:
        this.#at += 4
        break
      default:
        throw new Error(`The server's answer has a field of an unknown kind (${this.#wire}).`)
    }
  }
}
