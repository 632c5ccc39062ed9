/**
 * Appends over a few BatchAppend calls that all appends of an instance share: those of a stream are sent in order, and
 * each answer is matched by its correlation id. The client has one such call, but lets the first appends overtake each
 * other, serialises each event twice, and waits forever for a server that does not answer.
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
import { ofSeveral } from './errors.ts'
import { StreamsClient, streamsMessages } from './generated-messages.ts'
import { type AppendAnswer, decodeAppendAnswer, encodeAppend, largestEvent } from './wire-appends.ts'

const require = createRequire(import.meta.url)
const { unpackToCommandError } = require('@kurrent/kurrentdb-client/dist/streams/appendToStream/unpackError.js')

const UNAVAILABLE = 14
/** KurrentDB says so of a single event, and the client takes it for an unknown error. */
const EVENT_TOO_LARGE = 'event_store.client.MaximumAppendEventSizeExceeded'
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
  write(frame: Buffer): void
}

/**
 * How many calls the streams are spread over. grpc-js sends the next message of a call only when the one before has been
 * written to the socket, so a call sends one in each turn of the event loop. With a single call, appends that arrive
 * together leave one by one, and so do their answers: a turn of the loop, and system calls, for each
 * (docs/decisions/0009-the-work-of-one-turn.md).
 */
const CALLS = 4

/**
 * How much earlier than its sender a node gives up an append: it looks at the deadline before it writes, and a timer may
 * fire a millisecond early. Otherwise it would now and then write what has just been refused.
 */
const WRITE_MS = 50
/** The most of the time left that this may take. */
const WRITE_SHARE = 0.1

export interface BatchAppends {
  /**
   * @param until the deadline, by performance.now(): nothing is sent after it, and the server begins no write shortly
   *   before it
   * @throws what the client throws; EventStoreUnavailable if nothing was sent
   */
  append(stream: string, events: readonly NewEvent[], expected: ExpectedRevision, until: number): Promise<AppendResult>
}

/**
 * The calls to one node. Each is opened by the first append that needs it.
 * @param nodeTime the time of day at the node, which decides about deadlines; in milliseconds since the epoch
 */
export function createBatchAppends(
  internals: CallInternals,
  requiresLeader: boolean,
  nodeTime: () => number,
): BatchAppends {
  const calls = Array.from({ length: CALLS }, () => createCall(internals, requiresLeader, nodeTime))
  return {
    append: (stream, ...rest) => (calls[callOf(stream)] as BatchAppends).append(stream, ...rest),
  }
}

/** Always the same call for a stream, because calls may overtake each other. */
function callOf(stream: string): number {
  let sum = 0
  for (let index = 0; index < stream.length; index++) sum = (sum * 31 + stream.charCodeAt(index)) | 0
  return (sum >>> 0) % CALLS
}

type CallInternals = Pick<Internals, 'GRPCStreamCreator' | 'callArguments'>

/** One call: once it has failed, the next append opens another. */
function createCall(internals: CallInternals, requiresLeader: boolean, nodeTime: () => number): BatchAppends {
  let opening: Promise<Call> | undefined

  async function open(): Promise<Call> {
    const pending = new Map<string, Pending>()
    const stream: ClientDuplexStream<Buffer, AppendAnswer> = await internals.GRPCStreamCreator(
      StreamsClient,
      'batchAppend',
      (stub: GrpcClient) =>
        stub.makeBidiStreamRequest(
          PATH,
          (frame: Buffer) => frame,
          decodeAppendAnswer,
          ...internals.callArguments({ requiresLeader }, { deadline: Number.POSITIVE_INFINITY }),
        ),
    )()
    const own = opening
    const over = (error: unknown) => {
      if (opening === own) opening = undefined
      const reason = pending.size > 1 ? ofSeveral(error) : error
      for (const { reject } of pending.values()) reject(reason)
      pending.clear()
    }
    stream.on('data', (received: AppendAnswer) => answer(pending, received))
    stream.on('error', over)
    stream.on('end', () => over(Object.assign(new Error('the server ended the appends'), { code: 14 })))
    return { pending, write: (frame) => void stream.write(frame) }
  }

  return {
    async append(stream, events, expected, until) {
      const correlationId = crypto.randomUUID()
      const left = until - performance.now()
      const writable = left - Math.min(WRITE_MS, left * WRITE_SHARE)
      const frames = encodeAppend(correlationId, stream, events, expected, nodeTime() + writable)
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

function answer(pending: Map<string, Pending>, { correlationId, refusal, result }: AppendAnswer): void {
  const waiting = pending.get(correlationId)
  if (waiting === undefined) return // its sender has given up
  pending.delete(correlationId)
  if (refusal === undefined) {
    waiting.resolve(result)
    return
  }
  const response = streamsMessages.BatchAppendResp.deserializeBinary(new Uint8Array(refusal))
  waiting.reject(errorOf(response.getError(), waiting.stream))
}

/**
 * The refusal of a node that accepted nothing has no code and no typed details; a separate call would end with
 * UNAVAILABLE.
 */
function errorOf(status: Message, stream: string): unknown {
  const message: string = status.getMessage()
  if (status.getCode() === 0) return Object.assign(new Error(message), { code: UNAVAILABLE })
  const details = status.getDetails()
  if (details.getTypeName() === EVENT_TOO_LARGE) return new AppendTooLarge(largestEvent(details.getValue_asU8()))
  return unpackToCommandError(status, stream)
}
