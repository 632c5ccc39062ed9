/**
 * Encodes appends, and decodes their answers, directly as bytes. The generated messages take seven times as long, for each
 * mutation. Field numbers are those of streams.proto and shared.proto, v1.
 */
import { type AppendResult, AppendTooLarge, type ExpectedRevision, type NewEvent, type Position } from '../port.ts'
import { Reader, sizedField, Writer } from './protobuf.ts'
import { position, uuid } from './wire.ts'

/** The largest message in bytes: for a much larger one (17 MiB) a server ends the call that all appends share. */
const FRAME = 3 * 1024 * 1024
/** No server accepts a larger one, whatever its settings. */
const LARGEST_EVENT = 16 * 1024 * 1024

/** An event, with the sizes of its parts in bytes. */
interface Proposed {
  readonly id: string
  readonly type: string
  readonly contentType: string
  readonly data: string | Uint8Array
  readonly metadata: string | Uint8Array
  readonly sizes: {
    readonly id: number
    readonly type: number
    readonly data: number
    readonly metadata: number
    /** Of the whole message. */
    readonly all: number
  }
}

/**
 * The messages of an append (`streams.BatchAppendReq`). A large one has several.
 * @param deadline milliseconds since the epoch: the server writes nothing after it
 * @throws AppendTooLarge for an event that no server accepts
 */
export function encodeAppend(
  correlationId: string,
  stream: string,
  events: readonly NewEvent[],
  expected: ExpectedRevision,
  deadline: number,
): Buffer[] {
  const frames: Proposed[][] = [[]]
  let room = FRAME
  for (const event of events) {
    const each = proposedOf(event)
    const size = each.sizes.data + each.sizes.metadata
    if (size > LARGEST_EVENT) throw new AppendTooLarge(LARGEST_EVENT)
    if (size > room && room < FRAME) {
      frames.push([])
      room = FRAME
    }
    room -= size
    frames.at(-1)?.push(each)
  }
  return frames.map((proposed, index) => {
    const options = index === 0 ? optionsOf(stream, expected, deadline) : undefined
    return encodeFrame(correlationId, options, proposed, index === frames.length - 1)
  })
}

function proposedOf({ id, type, data, metadata, json }: NewEvent): Proposed {
  const content = json?.data ?? contentOf(data)
  const more = json?.metadata ?? (metadata === undefined ? '' : contentOf(metadata))
  const contentType = data instanceof Uint8Array ? 'application/octet-stream' : 'application/json'
  const sizes = { id: lengthOf(id), type: lengthOf(type), data: lengthOf(content), metadata: lengthOf(more), all: 0 }
  sizes.all =
    sizedField(sizedField(sizes.id)) +
    sizedField(entrySize(CONTENT_TYPE, contentType.length)) +
    sizedField(entrySize(TYPE, sizes.type)) +
    (sizes.metadata > 0 ? sizedField(sizes.metadata) : 0) +
    (sizes.data > 0 ? sizedField(sizes.data) : 0)
  return { id, type, contentType, data: content, metadata: more, sizes }
}

/** Bytes are copied: the caller may change them before they are sent. */
const contentOf = (content: NonNullable<NewEvent['data']> | null) =>
  content instanceof Uint8Array ? new Uint8Array(content) : JSON.stringify(content)

const lengthOf = (content: string | Uint8Array) =>
  typeof content === 'string' ? Buffer.byteLength(content) : content.length

const CONTENT_TYPE = 'content-type'
const TYPE = 'type'
/** Of an entry of the map of an event's properties. */
const entrySize = (key: string, length: number) => sizedField(key.length) + sizedField(length)

/** `BatchAppendReq.Options` */
function optionsOf(stream: string, expected: ExpectedRevision, deadline: number): Buffer {
  const name = Buffer.byteLength(stream)
  // The name, and room for the rest: an expected revision of at most 9 bytes, a timestamp of at most 15.
  const writer = new Writer(Buffer.allocUnsafe(sizedField(sizedField(name)) + 32))
  writer.sized(1, sizedField(name))
  writer.content(3, stream, name)
  if (typeof expected === 'number') writer.varint(2, expected)
  else writer.sized(EXPECTED[expected], 0)
  const seconds = Math.floor(deadline / 1000)
  const nanoseconds = Math.floor(deadline % 1000) * 1_000_000
  const timestamp = new Writer(Buffer.allocUnsafe(16))
  timestamp.varint(1, seconds)
  timestamp.varint(2, nanoseconds)
  writer.content(6, timestamp.bytes.subarray(0, timestamp.at), timestamp.at)
  return writer.bytes.subarray(0, writer.at)
}

/** The fields with an empty message that stand for an expected revision. */
const EXPECTED = { no_stream: 3, any: 4, stream_exists: 5 } as const

function encodeFrame(
  correlationId: string,
  options: Buffer | undefined,
  proposed: readonly Proposed[],
  isFinal: boolean,
): Buffer {
  const id = Buffer.byteLength(correlationId)
  let size = sizedField(sizedField(id)) + (options ? sizedField(options.length) : 0) + (isFinal ? 2 : 0)
  for (const { sizes } of proposed) size += sizedField(sizes.all)
  const writer = new Writer(Buffer.allocUnsafe(size))
  writer.sized(1, sizedField(id))
  writer.content(2, correlationId, id)
  if (options) writer.content(2, options, options.length)
  for (const each of proposed) writeProposed(writer, each)
  if (isFinal) writer.varint(4, 1)
  return writer.bytes
}

/** `BatchAppendReq.ProposedMessage` */
function writeProposed(writer: Writer, { id, type, contentType, data, metadata, sizes }: Proposed): void {
  writer.sized(3, sizes.all)
  writer.sized(1, sizedField(sizes.id))
  writer.content(2, id, sizes.id)
  writeEntry(writer, CONTENT_TYPE, contentType, contentType.length)
  writeEntry(writer, TYPE, type, sizes.type)
  if (sizes.metadata > 0) writer.content(3, metadata, sizes.metadata)
  if (sizes.data > 0) writer.content(4, data, sizes.data)
}

function writeEntry(writer: Writer, key: string, value: string, length: number): void {
  writer.sized(2, entrySize(key, length))
  writer.content(1, key, key.length)
  writer.content(2, value, length)
}

/** The answer to an append. */
export interface AppendAnswer {
  readonly correlationId: string
  /** The whole answer, if it is a refusal. */
  readonly refusal: Buffer | undefined
  readonly result: AppendResult
}

/** Unpacks a `streams.BatchAppendResp`. */
export function decodeAppendAnswer(bytes: Buffer): AppendAnswer {
  const reader = new Reader(bytes)
  let correlationId = ''
  let refusal: Buffer | undefined
  let result: AppendResult = { revision: 0 }
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        correlationId = reader.message(uuid)
        break
      case 2:
        refusal = bytes
        reader.skip()
        break
      case 3:
        result = reader.message(success)
        break
      default:
        reader.skip()
    }
  }
  return { correlationId, refusal, result }
}

/** The most bytes of one event, as `shared.MaximumAppendEventSizeExceeded` tells it. */
export function largestEvent(bytes: Uint8Array): number {
  const reader = new Reader(Buffer.from(bytes))
  let most = 0
  while (reader.next()) {
    if (reader.field === 3) most = reader.number()
    else reader.skip()
  }
  return most
}

function success(reader: Reader): AppendResult {
  let revision = 0
  let at: Position | undefined
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        revision = reader.number()
        break
      case 2:
        revision = -1 // the stream has no events
        reader.skip()
        break
      case 3:
        at = reader.message(position)
        break
      default:
        reader.skip()
    }
  }
  return { revision, ...(at && { position: at }) }
}
