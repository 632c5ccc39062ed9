/** Calls of an event store's services without the official client, and what is answered in short. */
import { createRequire } from 'node:module'
import { type Client, credentials, Metadata, status } from '@grpc/grpc-js'
import type { Test } from 'tap'
import { startEventStoreServer } from './eventstore-server/server.ts'
import { identifierOf, type Message, messages, nameOf, services, uuidOf } from './eventstore-server/wire.ts'

const { makeClientConstructor } = createRequire(import.meta.url)('@grpc/grpc-js')
const { streams, shared, groups, empty } = messages
const StreamsClient = makeClientConstructor(services.streams, 'Streams')
const GroupsClient = makeClientConstructor(services.groups, 'Groups')
export const UNSIGNED_END = 2n ** 64n - 1n
export const BEYOND = '(open)'

export type Place = 'start' | 'end' | bigint | readonly [commit: bigint, prepare: bigint]

export async function connect(t: Test) {
  const { port } = await startEventStoreServer(t)
  const open = (Client: Message): Message & Client => {
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure())
    t.teardown(() => client.close())
    return client
  }
  const client = open(StreamsClient)
  const groupsClient = open(GroupsClient)
  return {
    client,
    read: (options: Message) => told(client.read(requestOf(options))),
    append: (stream: string, events: readonly Proposed[], expected: Expected = 'any') =>
      append(client, stream, events, expected),
    batch: (
      stream: string,
      events: readonly Proposed[],
      expected: Expected = 'any',
      limit: AppendLimit = { seconds: 10 },
    ) => batch(client, stream, events, expected, limit),
    remove: (kind: 'delete' | 'tombstone', stream: string, expected: Expected = 'any') =>
      remove(client, kind, stream, expected),
    createGroup: (name: string, from: Place, settings?: Readonly<Record<string, unknown>>) =>
      createGroup(groupsClient, name, from, settings),
    joinGroup: (name: string, bufferSize: number) => joinGroup(groupsClient, name, bufferSize),
  }
}

/**
 * An error as code, words and the trailers that are the service's own. Without what KurrentDB adds: the words of the
 * exception that it met, after its own, and how it compresses.
 */
function failureOf(error: { code: number; details: string; metadata: Metadata }): string {
  const trailers = Object.entries(error.metadata.getMap())
    .filter(([name]) => !['date', 'server', 'content-type', 'content-length', 'grpc-encoding'].includes(name))
    .toSorted()
    .map(([name, value]) => `; ${name}=${value}`)
  return `${status[error.code]} ${error.details.replace(/ >> .*$/s, '')}${trailers.join('')}`
}

/** The answers of a call in short, and how it ended; `(open)` once it has said that it has caught up. */
function told(call: Message): Promise<string> {
  const answers: string[] = []
  return new Promise((resolve) => {
    call.on('data', (answer: Message) => {
      answers.push(kindOf(answer))
      if (!answer.hasCaughtUp?.()) return
      call.on('error', () => {})
      call.cancel()
      resolve([...answers, BEYOND].join(' '))
    })
    call.on('error', (error: Message) => resolve([...answers, failureOf(error)].join(' ')))
    call.on('end', () => setImmediate(() => resolve([...answers, 'end'].join(' '))))
  })
}

function kindOf(answer: Message): string {
  if (answer.hasEvent()) {
    const event = answer.getEvent().getEvent()
    return `${nameOf(event.getStreamIdentifier())}@${event.getStreamRevision()}`
  }
  if (answer.hasCheckpoint?.()) {
    return BigInt(answer.getCheckpoint().getCommitPosition()) === UNSIGNED_END ? 'checkpoint(-1)' : 'checkpoint'
  }
  if (answer.hasStreamNotFound?.()) return 'not found'
  if (answer.hasCaughtUp?.()) return 'caught up'
  return answer.hasConfirmation?.() ? 'confirmed' : 'other'
}

interface ReadOptions {
  readonly backwards?: boolean
  readonly subscribe?: boolean
  readonly prefix?: string
  readonly count?: number
}

export function requestOf(options: Message): Message {
  const request = new streams.ReadReq()
  request.setOptions(options)
  return request
}

function optionsOf({ backwards = false, subscribe = false, prefix, count = 2 }: ReadOptions): Message {
  const options = new streams.ReadReq.Options()
  const uuids = new streams.ReadReq.Options.UUIDOption()
  uuids.setString(new shared.Empty())
  options.setUuidOption(uuids)
  options.setReadDirection(backwards ? 1 : 0)
  if (subscribe) options.setSubscription(new streams.ReadReq.Options.SubscriptionOptions())
  else options.setCount(String(count))
  if (prefix === undefined) options.setNoFilter(new shared.Empty())
  else {
    const expression = new streams.ReadReq.Options.FilterOptions.Expression()
    expression.setPrefixList([prefix])
    const filter = new streams.ReadReq.Options.FilterOptions()
    filter.setStreamIdentifier(expression)
    filter.setMax(32)
    filter.setCheckpointintervalmultiplier(1)
    options.setFilter(filter)
  }
  return options
}

function setPlace(target: Message, place: Place, Position: Message): Message {
  if (place === 'start') target.setStart(new shared.Empty())
  else if (place === 'end') target.setEnd(new shared.Empty())
  else if (typeof place === 'bigint') target.setRevision(String(place))
  else {
    const position = new Position()
    position.setCommitPosition(String(place[0]))
    position.setPreparePosition(String(place[1]))
    target.setPosition(position)
  }
  return target
}

export function ofStream(name: string, from: Place, how: ReadOptions = {}): Message {
  const options = optionsOf(how)
  const stream = new streams.ReadReq.Options.StreamOptions()
  stream.setStreamIdentifier(identifierOf(name))
  options.setStream(setPlace(stream, from, undefined))
  return options
}

export function ofAll(from: Place, how: ReadOptions = {}): Message {
  const options = optionsOf(how)
  options.setAll(setPlace(new streams.ReadReq.Options.AllOptions(), from, streams.ReadReq.Options.Position))
  return options
}

export interface Proposed {
  readonly id: string
  readonly type?: string
  readonly contentType?: string
  readonly data: Buffer
  readonly metadata: Buffer
}
export type Expected = 'any' | 'no_stream' | 'stream_exists' | number

export const event = (changed: Partial<Proposed> = {}): Proposed => ({
  id: crypto.randomUUID(),
  type: 'Happened',
  contentType: 'application/json',
  data: Buffer.from('{}'),
  metadata: Buffer.alloc(0),
  ...changed,
})

function setExpected(options: Message, expected: Expected, Empty: Message, isBatch = false): void {
  if (expected === 'any') options.setAny(new Empty())
  else if (expected === 'no_stream') options.setNoStream(new Empty())
  else if (expected === 'stream_exists') options.setStreamExists(new Empty())
  else if (isBatch) options.setStreamPosition(String(expected))
  else options.setRevision(String(expected))
}

function proposedOf(Message: Message, { id, type, contentType, data, metadata }: Proposed): Message {
  const message = new Message()
  message.setId(uuidOf(id, 'string'))
  if (type !== undefined) message.getMetadataMap().set('type', type)
  if (contentType !== undefined) message.getMetadataMap().set('content-type', contentType)
  message.setData(new Uint8Array(data))
  message.setCustomMetadata(new Uint8Array(metadata))
  return message
}

function append(client: Message, stream: string, events: readonly Proposed[], expected: Expected): Promise<string> {
  return new Promise((resolve) => {
    const call = client.append(new Metadata(), (error: Message, answer: Message) => {
      if (error) return resolve(failureOf(error))
      if (answer.hasSuccess()) return resolve(successOf(answer.getSuccess()))
      const wrong = answer.getWrongExpectedVersion()
      resolve(`conflict at ${wrong.hasCurrentNoStream() ? 'no stream' : wrong.getCurrentRevision()}`)
    })
    const request = new streams.AppendReq()
    const options = new streams.AppendReq.Options()
    options.setStreamIdentifier(identifierOf(stream))
    setExpected(options, expected, shared.Empty)
    request.setOptions(options)
    call.write(request)
    for (const each of events) {
      const next = new streams.AppendReq()
      next.setProposedMessage(proposedOf(streams.AppendReq.ProposedMessage, each))
      call.write(next)
    }
    call.end()
  })
}

const successOf = (success: Message) => `written ${success.hasNoStream() ? 'nothing' : success.getCurrentRevision()}`

const { Timestamp } = createRequire(import.meta.url)('google-protobuf/google/protobuf/timestamp_pb.js')
const { Duration } = createRequire(import.meta.url)('google-protobuf/google/protobuf/duration_pb.js')

/** How long the server may take for a batch: from its arrival, or to a time of day. */
type AppendLimit = { readonly seconds: number } | { readonly time: number }

function batch(
  client: Message,
  stream: string,
  events: readonly Proposed[],
  expected: Expected,
  limit: AppendLimit,
): Promise<string> {
  return new Promise((resolve) => {
    const call = client.batchAppend()
    const end = (text: string) => {
      resolve(text)
      call.cancel()
    }
    call.on('error', (error: Message) => end(failureOf(error)))
    call.on('data', (answer: Message) => {
      if (answer.hasSuccess()) return end(successOf(answer.getSuccess()))
      const error = answer.getError()
      const [, kind = ''] = /([A-Za-z]+)$/.exec(error.getDetails().getTypeUrl()) ?? []
      const details =
        kind === 'BadRequest'
          ? ` ${shared.BadRequest.deserializeBinary(error.getDetails().getValue_asU8()).getMessage()}`
          : ''
      end(`${status[error.getCode()]} ${kind}${details}`)
    })
    const request = new streams.BatchAppendReq()
    request.setCorrelationId(uuidOf(crypto.randomUUID(), 'string'))
    const options = new streams.BatchAppendReq.Options()
    options.setStreamIdentifier(identifierOf(stream))
    if ('time' in limit) options.setDeadline21100(Timestamp.fromDate(new Date(limit.time)))
    else options.setDeadline(new Duration([limit.seconds]))
    setExpected(options, expected, empty.Empty, true)
    request.setOptions(options)
    for (const each of events) request.addProposedMessages(proposedOf(streams.BatchAppendReq.ProposedMessage, each))
    request.setIsFinal(true)
    call.write(request)
  })
}

function remove(client: Message, kind: 'delete' | 'tombstone', stream: string, expected: Expected): Promise<string> {
  const Request = kind === 'delete' ? streams.DeleteReq : streams.TombstoneReq
  const options = new Request.Options()
  options.setStreamIdentifier(identifierOf(stream))
  setExpected(options, expected, shared.Empty)
  const request = new Request()
  request.setOptions(options)
  return new Promise((resolve) => {
    client[kind](request, (error: Message) => resolve(error ? failureOf(error) : 'done'))
  })
}

function createGroup(
  client: Message,
  name: string,
  from: Place,
  changed: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const settings = new groups.CreateReq.Settings()
  const defaults = {
    MaxRetryCount: 10,
    MinCheckpointCount: 10,
    MaxCheckpointCount: 1_000,
    LiveBufferSize: 500,
    ReadBatchSize: 20,
    HistoryBufferSize: 500,
    MessageTimeoutMs: 30_000,
    CheckpointAfterMs: 2_000,
    ConsumerStrategy: 'Pinned',
  }
  for (const [setting, value] of Object.entries({ ...defaults, ...changed })) settings[`set${setting}`](value)
  const options = new groups.CreateReq.Options()
  options.setGroupName(name)
  const place = setPlace(new groups.CreateReq.AllOptions(), from, groups.CreateReq.Position)
  place.setNoFilter(new shared.Empty())
  options.setAll(place)
  options.setSettings(settings)
  const request = new groups.CreateReq()
  request.setOptions(options)
  return new Promise((resolve) => {
    client.create(request, (error: Message) => resolve(error ? failureOf(error) : 'done'))
  })
}

/** How joining fails. */
function joinGroup(client: Message, name: string, bufferSize: number): Promise<string> {
  const options = new groups.ReadReq.Options()
  options.setGroupName(name)
  options.setAll(new shared.Empty())
  options.setBufferSize(bufferSize)
  const uuids = new groups.ReadReq.Options.UUIDOption()
  uuids.setString(new shared.Empty())
  options.setUuidOption(uuids)
  const request = new groups.ReadReq()
  request.setOptions(options)
  return new Promise((resolve) => {
    const call = client.read()
    call.on('data', () => {})
    call.on('error', (error: Message) => resolve(failureOf(error)))
    call.write(request)
  })
}

/** The positions of a stream's events. */
export async function positionsOf(client: Message, stream: string): Promise<[bigint, bigint][]> {
  const found: [bigint, bigint][] = []
  const call = client.read(requestOf(ofStream(stream, 'start', { count: 1_000 })))
  for await (const answer of call) {
    if (!answer.hasEvent()) continue
    const recorded = answer.getEvent().getEvent()
    found.push([BigInt(recorded.getCommitPosition()), BigInt(recorded.getPreparePosition())])
  }
  return found
}

export const UNFORESEEN = 'UNKNOWN Exception was thrown by handler.'
export const shift = ([commit, prepare]: readonly [bigint, bigint], by: bigint) => [commit + by, prepare + by] as const
