/** The messages of the services, and errors in the trailers in which the server tells them. */
import { createRequire } from 'node:module'
import { Metadata, type ServerDuplexStream, type ServerWritableStream, status } from '@grpc/grpc-js'
import {
  BadArgument,
  Deleted,
  type EventTooLarge,
  type Expected,
  type Log,
  type LogRecord,
  TooLarge,
  WrongVersion,
} from './log.ts'

const require = createRequire(import.meta.url)
const generated = '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1'
// biome-ignore-start lint/suspicious/noExplicitAny: generated code
export const messages = {
  streams: require(`${generated}/streams_pb.js`) as any,
  groups: require(`${generated}/persistentsubscriptions_pb.js`) as any,
  shared: require(`${generated}/shared_pb.js`) as any,
  status: require(`${generated}/status_pb.js`) as any,
  gossip: require(`${generated}/gossip_pb.js`) as any,
  features: require(`${generated}/serverfeatures_pb.js`) as any,
  any: require('google-protobuf/google/protobuf/any_pb.js') as any,
  empty: require('google-protobuf/google/protobuf/empty_pb.js') as any,
}
export const services = {
  streams: require(`${generated}/streams_grpc_pb.js`).StreamsService as any,
  groups: require(`${generated}/persistentsubscriptions_grpc_pb.js`).PersistentSubscriptionsService as any,
  gossip: require(`${generated}/gossip_grpc_pb.js`).GossipService as any,
  features: require(`${generated}/serverfeatures_grpc_pb.js`).ServerFeaturesService as any,
}
export type Message = any
export type Writable = ServerWritableStream<any, any> | ServerDuplexStream<any, any>
// biome-ignore-end lint/suspicious/noExplicitAny: see above

export class Failure extends Error {
  readonly code: number
  readonly metadata: Metadata
  readonly details: string
  constructor(code: number, details: string, trailers: Readonly<Record<string, string>> = {}) {
    super(details)
    this.code = code
    this.details = details
    this.metadata = new Metadata()
    for (const [key, value] of Object.entries(trailers)) this.metadata.set(key, value)
  }
}

/** A trailer is ASCII. */
export const asTrailer = (name: string): string => (/^[\x20-\x7e]*$/.test(name) ? name : encodeURIComponent(name))

const versionOf = (expected: Expected): number =>
  expected === 'no_stream' ? -1 : expected === 'any' ? -2 : expected === 'stream_exists' ? -4 : expected

/** What the log throws, as the server's trailers. A conflict: of a deletion, as an append tells it in its answer. */
export function toFailure(reason: unknown): Failure {
  if (reason instanceof Failure) return reason
  if (reason instanceof WrongVersion) {
    const { stream, expected, actual } = reason
    return new Failure(
      status.FAILED_PRECONDITION,
      `Delete failed due to WrongExpectedVersion. Stream: ${stream}, Expected version: ${versionOf(expected)}, Actual version: ${actual}`,
      {
        exception: 'wrong-expected-version',
        'stream-name': asTrailer(stream),
        'expected-version': String(versionOf(expected)),
        'actual-version': String(actual),
      },
    )
  }
  if (reason instanceof Deleted) {
    return new Failure(status.FAILED_PRECONDITION, `Event stream '${reason.stream}' is deleted.`, {
      exception: 'stream-deleted',
      'stream-name': asTrailer(reason.stream),
    })
  }
  if (reason instanceof TooLarge) {
    return new Failure(status.INVALID_ARGUMENT, `Maximum Append Size of ${reason.most} Exceeded.`, {
      exception: 'maximum-append-size-exceeded',
      'maximum-append-size': String(reason.most),
    })
  }
  if (reason instanceof BadArgument) return new Failure(status.INVALID_ARGUMENT, reason.message)
  return new Failure(status.UNKNOWN, String((reason as Error).stack ?? reason))
}

const { BinaryWriter } = require('google-protobuf')

/** shared.MaximumAppendEventSizeExceeded, which the official client does not know. */
export function eventTooLarge({ id, size, most }: EventTooLarge): { serializeBinary(): Uint8Array } {
  const writer = new BinaryWriter()
  writer.writeString(1, id)
  writer.writeUint32(2, size)
  writer.writeUint32(3, most)
  return { serializeBinary: () => writer.getResultBuffer() }
}

/** Ends a call whose answers stream, with an error. */
export function refuse(call: Writable, reason: unknown): void {
  call.emit('error', toFailure(reason))
}

export const nameOf = (identifier: Message): string =>
  Buffer.from(identifier?.getStreamName_asU8() ?? []).toString('utf8')

export function identifierOf(name: string): Message {
  const identifier = new messages.shared.StreamIdentifier()
  identifier.setStreamName(Uint8Array.from(Buffer.from(name)))
  return identifier
}

export function idOf(uuid: Message): string {
  if (uuid.hasString()) return uuid.getString()
  const half = (text: string) => BigInt.asUintN(64, BigInt(text))
  const structured = uuid.getStructured()
  const value = (half(structured.getMostSignificantBits()) << 64n) | half(structured.getLeastSignificantBits())
  const hex = value.toString(16).padStart(32, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

export type IdForm = 'string' | 'structured'

export function uuidOf(id: string, form: IdForm): Message {
  const uuid = new messages.shared.UUID()
  if (form === 'string') uuid.setString(id)
  else {
    const hex = id.replaceAll('-', '')
    const structured = new messages.shared.UUID.Structured()
    structured.setMostSignificantBits(String(BigInt.asIntN(64, BigInt(`0x${hex.slice(0, 16)}`))))
    structured.setLeastSignificantBits(String(BigInt.asIntN(64, BigInt(`0x${hex.slice(16)}`))))
    uuid.setStructured(structured)
  }
  return uuid
}

/** What a reader that asks for links to be resolved gets for a record: the event, and the link that led to it. */
export interface Resolved {
  /** None for a link whose event is gone. */
  readonly record: LogRecord | undefined
  readonly link?: LogRecord
}

/** A link's data is `REVISION@STREAM`. */
export function resolveLink(log: Log, record: LogRecord): Resolved {
  if (record.type !== '$>') return { record }
  const [, revision = '', stream = ''] = /^(\d+)@(.+)$/s.exec(record.data.toString()) ?? []
  const { first, events } = log.visible(stream)
  const isGone = Number(revision) < first || log.isTombstoned(stream) || log.isMissing(stream)
  return { record: isGone ? undefined : events[Number(revision)], link: record }
}

/** @param module whose ReadResp it is for: that of streams or that of persistent subscriptions */
export function readEventOf({ record, link }: Resolved, form: IdForm, module: Message): Message {
  const { ReadEvent } = module.ReadResp
  const event = new ReadEvent()
  if (record) event.setEvent(recordedOf(record, form, ReadEvent))
  if (link) event.setLink(recordedOf(link, form, ReadEvent))
  event.setCommitPosition(String((link ?? record)?.position))
  return event
}

function recordedOf(record: LogRecord, form: IdForm, ReadEvent: Message): Message {
  const recorded = new ReadEvent.RecordedEvent()
  recorded.setId(uuidOf(record.id, form))
  recorded.setStreamIdentifier(identifierOf(record.stream))
  recorded.setStreamRevision(record.revision === 2 ** 63 ? '9223372036854775807' : String(record.revision))
  recorded.setPreparePosition(String(record.position))
  recorded.setCommitPosition(String(record.position))
  const metadata = recorded.getMetadataMap()
  metadata.set('type', record.type)
  metadata.set('content-type', record.contentType)
  metadata.set('created', String(BigInt(record.created) * 10_000n + 1234n))
  recorded.setCustomMetadata(new Uint8Array(record.metadata))
  recorded.setData(new Uint8Array(record.data))
  return recorded
}

/** A message as it goes over the wire: not compressed, its length, itself. */
export function framed(message: Message): Buffer {
  const bytes = message.serializeBinary()
  const frame = Buffer.alloc(5 + bytes.length)
  frame.writeUInt32BE(bytes.length, 1)
  frame.set(bytes, 5)
  return frame
}

/** A read's answer with a record, framed. */
export function encodedRecord(resolved: Resolved, form: IdForm): Buffer {
  const { record, link } = resolved
  const known = link ? undefined : record?.encoded[form]
  if (known) return known
  const answer = new messages.streams.ReadResp()
  answer.setEvent(readEventOf(resolved, form, messages.streams))
  const frame = framed(answer)
  if (record && !link) record.encoded[form] = frame
  return frame
}

export function expectedOf(options: Message): Expected {
  if (options.hasAny()) return 'any'
  if (options.hasNoStream()) return 'no_stream'
  if (options.hasStreamExists()) return 'stream_exists'
  return Number(options.hasRevision ? options.getRevision() : options.getStreamPosition())
}
export function filterOf(options: Message): (record: LogRecord) => boolean {
  if (!options.hasFilter?.()) return () => true
  const filter = options.getFilter()
  const onStream = filter.hasStreamIdentifier()
  const expression = onStream ? filter.getStreamIdentifier() : filter.getEventType()
  const prefixes: string[] = expression.getPrefixList()
  const regex = expression.getRegex() === '' ? undefined : new RegExp(expression.getRegex())
  return (record) => {
    const text = onStream ? record.stream : record.type
    return regex ? regex.test(text) : prefixes.some((prefix) => text.startsWith(prefix))
  }
}
