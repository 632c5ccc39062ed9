/**
 * Appends over one BatchAppend call that all appends of an instance share: they are sent in order, and each answer is
 * matched by its correlation id. The client has the same, but lets the first appends overtake each other, serialises
 * each event twice, and waits forever for a server that does not answer.
 */
import { createRequire } from 'node:module'
import type { ClientDuplexStream, Client as GrpcClient } from '@grpc/grpc-js'
import {
  type AppendResult,
  AppendTooLarge,
  EventStoreUnavailable,
  type ExpectedRevision,
  type NewEvent,
} from '../port.ts'
import type { Internals } from './connection/node.ts'
import { StreamsClient, sharedMessages, streamsMessages } from './generated-messages.ts'

const require = createRequire(import.meta.url)
const { BatchAppendReq, BatchAppendResp } = streamsMessages
const { UUID, StreamIdentifier } = sharedMessages
const { Timestamp } = require('google-protobuf/google/protobuf/timestamp_pb.js')
const { Empty } = require('google-protobuf/google/protobuf/empty_pb.js')
const { unpackToCommandError } = require('@kurrent/kurrentdb-client/dist/streams/appendToStream/unpackError.js')

/** The largest message in bytes: for a much larger one (17 MiB) a server ends the call that all appends share. */
const FRAME = 3 * 1024 * 1024
/** No server accepts a larger one, whatever its settings. */
const LARGEST_EVENT = 16 * 1024 * 1024

const UNAVAILABLE = 14
const PATH = '/event_store.client.streams.Streams/BatchAppend'

// biome-ignore lint/suspicious/noExplicitAny: generated messages
type Message = any

interface Pending {
  readonly stream: string
  readonly until: number
  resolve(result: AppendResult): void
  reject(error: unknown): void
}

interface Call {
  readonly pending: Map<string, Pending>
  write(request: Message): void
}

export interface BatchAppends {
  /**
   * @param until the deadline, by performance.now(): nothing is sent, and the server writes nothing, after it
   * @throws what the client throws; EventStoreUnavailable if nothing was sent
   */
  append(stream: string, events: readonly NewEvent[], expected: ExpectedRevision, until: number): Promise<AppendResult>
}

/** The call to one node: once it has failed, the next append opens another. */
export function createBatchAppends(
  internals: Pick<Internals, 'GRPCStreamCreator' | 'callArguments'>,
  requiresLeader: boolean,
): BatchAppends {
  let opening: Promise<Call> | undefined

  async function open(): Promise<Call> {
    const pending = new Map<string, Pending>()
    const stream: ClientDuplexStream<Message, Message> = await internals.GRPCStreamCreator(
      StreamsClient,
      'batchAppend',
      (stub: GrpcClient) =>
        stub.makeBidiStreamRequest(
          PATH,
          (request: Message) => Buffer.from(request.serializeBinary()),
          (bytes: Buffer) => BatchAppendResp.deserializeBinary(new Uint8Array(bytes)),
          ...internals.callArguments({ requiresLeader }, { deadline: Number.POSITIVE_INFINITY }),
        ),
    )()
    const own = opening
    const over = (error: unknown) => {
      if (opening === own) opening = undefined
      for (const { reject } of pending.values()) reject(error)
      pending.clear()
    }
    stream.on('data', (response: Message) => answer(pending, response))
    stream.on('error', over)
    stream.on('end', () => over(Object.assign(new Error('the server ended the appends'), { code: 14 })))
    return { pending, write: (request) => void stream.write(request) }
  }

  return {
    async append(stream, events, expected, until) {
      const correlationId = crypto.randomUUID()
      const left = until - performance.now()
      const frames = requests(correlationId, stream, events, expected, new Date(Date.now() + left))
      opening ??= open().catch((error) => {
        opening = undefined
        throw error
      })
      const { pending, write } = await opening // all wait for the same promise: their order stays
      const now = performance.now()
      if (now >= until) throw new EventStoreUnavailable('The event store was not reached in time.')
      for (const [id, { until }] of pending) {
        if (until > now) break
        pending.delete(id) // its sender has given up
      }
      return new Promise<AppendResult>((resolve, reject) => {
        pending.set(correlationId, { stream, until, resolve, reject })
        for (const frame of frames) write(frame)
      })
    },
  }
}

function answer(pending: Map<string, Pending>, response: Message): void {
  const correlationId = response.getCorrelationId().getString()
  const waiting = pending.get(correlationId)
  if (waiting === undefined) return // its sender has given up
  pending.delete(correlationId)
  if (response.hasError()) {
    waiting.reject(errorOf(response.getError(), waiting.stream))
    return
  }
  const success = response.getSuccess()
  const position = success.getPosition()
  waiting.resolve({
    revision: success.hasNoStream() ? -1 : Number(success.getCurrentRevision()),
    ...(position && {
      position: { commit: BigInt(position.getCommitPosition()), prepare: BigInt(position.getPreparePosition()) },
    }),
  })
}

/**
 * The refusal of a node that accepted nothing has no code and no typed details; a separate call would end with
 * UNAVAILABLE.
 */
function errorOf(status: Message, stream: string): unknown {
  const message: string = status.getMessage()
  if (status.getCode() === 0) return Object.assign(new Error(message), { code: UNAVAILABLE })
  return unpackToCommandError(status, stream)
}

/** The frames of an append; a large one has several. */
function requests(
  correlationId: string,
  stream: string,
  events: readonly NewEvent[],
  expected: ExpectedRevision,
  deadline: Date,
): Message[] {
  const name = new StreamIdentifier()
  name.setStreamName(Buffer.from(stream))
  const options = new BatchAppendReq.Options()
  options.setStreamIdentifier(name)
  options.setDeadline21100(Timestamp.fromDate(deadline))
  if (expected === 'any') options.setAny(new Empty())
  else if (expected === 'no_stream') options.setNoStream(new Empty())
  else if (expected === 'stream_exists') options.setStreamExists(new Empty())
  else options.setStreamPosition(String(expected))
  const first = new BatchAppendReq()
  first.setOptions(options)
  const frames = [first]
  let frame = first
  let room = FRAME
  for (const event of events) {
    const { message, size } = proposed(event)
    if (size > LARGEST_EVENT) throw new AppendTooLarge(LARGEST_EVENT)
    if (size > room && room < FRAME) {
      frame = new BatchAppendReq()
      frames.push(frame)
      room = FRAME
    }
    room -= size
    frame.addProposedMessages(message)
  }
  for (const each of frames) {
    each.setCorrelationId(uuid(correlationId))
    each.setIsFinal(each === frame)
  }
  return frames
}

function proposed({ id, type, data, metadata, json }: NewEvent): { readonly message: Message; readonly size: number } {
  const message = new BatchAppendReq.ProposedMessage()
  message.setId(uuid(id))
  const properties = message.getMetadataMap()
  properties.set('type', type)
  properties.set('content-type', data instanceof Uint8Array ? 'application/octet-stream' : 'application/json')
  const content = json ? Buffer.from(json.data) : bytes(data)
  const more = json ? Buffer.from(json.metadata) : metadata === undefined ? undefined : bytes(metadata)
  message.setData(content)
  if (more) message.setCustomMetadata(more)
  return { message, size: content.length + (more?.length ?? 0) }
}

const bytes = (content: NewEvent['data']) =>
  content instanceof Uint8Array ? new Uint8Array(content) : Buffer.from(JSON.stringify(content))

function uuid(text: string): Message {
  const id = new UUID()
  id.setString(text)
  return id
}
