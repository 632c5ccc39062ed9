/** Requests of the streams service in the server's generated messages. */

import type { ExpectedRevision, Position, StreamFilter } from '../port.ts'
import { sharedMessages, streamsMessages } from './generated-messages.ts'

const { ReadReq, DeleteReq, TombstoneReq } = streamsMessages
const { Empty, StreamIdentifier } = sharedMessages

/** Where a read of a stream starts: a revision, or one of its ends. */
export type StreamPlace = number | 'start' | 'end'
export type LogPlace = Position | 'start' | 'end'

/** How many filtered-out events the server reads before it sends a checkpoint. */
const SEARCH_WINDOW = 512
const MOST = String(Number.MAX_SAFE_INTEGER)

export const STREAMS_READ = '/event_store.client.streams.Streams/Read'

/** The stream in which the server keeps the metadata of a stream. */
export const metadataStream = (stream: string) => `$$${stream}`

/** @param read the direction and count of a read; none: a subscription */
export function streamRequest(stream: string, from: StreamPlace, read?: Read) {
  const options = new ReadReq.Options.StreamOptions()
  options.setStreamIdentifier(identifier(stream))
  if (from === 'start') options.setStart(new Empty())
  else if (from === 'end') options.setEnd(new Empty())
  else options.setRevision(String(from))
  return request((all) => all.setStream(options), read)
}

export interface Read {
  readonly forwards: boolean
  readonly maxCount: number | undefined
}

export function logRequest(from: LogPlace, filter: StreamFilter | 'users' | 'all', read?: Read) {
  const options = new ReadReq.Options.AllOptions()
  if (from === 'start') options.setStart(new Empty())
  else if (from === 'end') options.setEnd(new Empty())
  else {
    const position = new ReadReq.Options.Position()
    position.setCommitPosition(String(from.commit))
    position.setPreparePosition(String(from.prepare))
    options.setPosition(position)
  }
  return request((all) => all.setAll(options), read, filter)
}

// biome-ignore lint/suspicious/noExplicitAny: a generated message
function request(setTarget: (options: any) => void, read?: Read, filter: StreamFilter | 'users' | 'all' = 'all') {
  const options = new ReadReq.Options()
  setTarget(options)
  const uuids = new ReadReq.Options.UUIDOption()
  uuids.setString(new Empty())
  options.setUuidOption(uuids)
  options.setResolveLinks(false)
  if (read) {
    options.setReadDirection(read.forwards ? 0 : 1)
    options.setCount(read.maxCount === undefined ? MOST : String(read.maxCount))
  } else options.setSubscription(new ReadReq.Options.SubscriptionOptions())
  if (filter === 'all') options.setNoFilter(new Empty())
  else options.setFilter(filterOptions(filter))
  const request = new ReadReq()
  request.setOptions(options)
  return request
}

/** 'users': everything but system events. */
function filterOptions(filter: StreamFilter | 'users') {
  const expression = new ReadReq.Options.FilterOptions.Expression()
  if (filter === 'users') expression.setRegex('^[^$].*')
  else expression.setPrefixList([...filter.streamPrefixes])
  const options = new ReadReq.Options.FilterOptions()
  options.setStreamIdentifier(expression)
  options.setMax(SEARCH_WINDOW)
  options.setCheckpointintervalmultiplier(1)
  return options
}

/** A soft deletion or a tombstone; the client's method does not support `stream_exists`. */
export function removalRequest(kind: 'delete' | 'tombstone', stream: string, expected: ExpectedRevision) {
  const Request = kind === 'delete' ? DeleteReq : TombstoneReq
  const options = new Request.Options()
  options.setStreamIdentifier(identifier(stream))
  if (expected === 'any') options.setAny(new Empty())
  else if (expected === 'no_stream') options.setNoStream(new Empty())
  else if (expected === 'stream_exists') options.setStreamExists(new Empty())
  else options.setRevision(String(expected))
  const request = new Request()
  request.setOptions(options)
  return request
}

function identifier(stream: string) {
  const name = new StreamIdentifier()
  name.setStreamName(Buffer.from(stream).toString('base64'))
  return name
}
