/**
 * The official client, and its generated stub for what the client does badly: reads go through the stub on the client's
 * own channel (the client's native part stalls 40 ms for each, KurrentDB-Client-Rust#232), and no call is without a deadline.
 */
import { createRequire } from 'node:module'
import {
  type CallOptions,
  type Channel,
  connectivityState,
  type Client as GrpcClient,
  type Metadata,
} from '@grpc/grpc-js'
import { KurrentDBClient } from '@kurrent/kurrentdb-client'
import { parseKurrentDbUrl } from './kurrentdb-url.ts'
import type { ReadAnswer } from './kurrentdb-wire.ts'
import { EventStoreUnavailable } from './port.ts'

// No `exports` map and no types for the services' constructors: loaded as what they are.
const require = createRequire(import.meta.url)
const generated = '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1'
// biome-ignore-start lint/suspicious/noExplicitAny: generated code, typed where it is used
export const streamsMessages = require(`${generated}/streams_pb.js`) as any
export const sharedMessages = require(`${generated}/shared_pb.js`) as any
export const { StreamsClient, StreamsService } = require(`${generated}/streams_grpc_pb.js`) as any

type WatchedChannel = Pick<Channel, 'getConnectivityState' | 'watchConnectivityState'>

/** What the client keeps to itself: its channel with TLS, credentials, discovery and the way to a new leader. */
interface Internals {
  execute<T>(Client: any, name: string, action: (stub: any) => Promise<T>): Promise<T>
  GRPCStreamCreator<T>(Client: any, name: string, creator: (stub: any) => T): () => Promise<T>
  callArguments(options: { requiresLeader?: boolean; deadline?: number }, call?: CallOptions): [Metadata, CallOptions]
  supports(method: any): Promise<boolean>
  getChannel(): Promise<{ close(): void }>
  createChannel(): Promise<WatchedChannel & { readonly internalChannel?: { getOptions(): Record<string, unknown> } }>
}
// biome-ignore-end lint/suspicious/noExplicitAny: see above

/**
 * Bytes that a server may send ahead of our reading, for a call and for the connection. HTTP/2's 64 KiB are a hundred
 * events: a reader of the log would wait for the network after each hundred.
 */
const READ_AHEAD = 1024 * 1024

/** A call that was not answered by then has failed: its sender says SERVICE_UNAVAILABLE within 5 s. */
const DEADLINE_MS = 4_000

export interface Connection {
  readonly client: KurrentDBClient
  readonly internals: Internals
  /** Milliseconds. */
  readonly deadline: number
  readonly requiresLeader: boolean
  /** Rejects with EventStoreUnavailable where the work is not done by the deadline. */
  within<T>(work: Promise<T>): Promise<T>
  /** Starts a call whose answers come one after another. */
  stream(call: StreamCall): Promise<Incoming<ReadAnswer>>
  /** Has the listener called each time that the channel's transport is gone. @returns takes it away */
  onDisconnect(listener: () => void): () => void
  close(): Promise<void>
}

export interface StreamCall {
  readonly service: unknown
  /** `/package.Service/Method` */
  readonly path: string
  readonly request: { serializeBinary(): Uint8Array }
  readonly decode: (bytes: Buffer) => ReadAnswer
  /** How many answers may wait for their consumer before the server is held back. */
  readonly buffer: number
}

/** @throws TypeError for a connection string that can't be used */
export function connectKurrentDb(url: string): Connection {
  const { connectionString, defaultDeadline, prefersLeader } = parseKurrentDbUrl(url)
  const client = KurrentDBClient.connectionString(connectionString)
  const internals = client as unknown as Internals
  const createChannel = internals.createChannel
  internals.createChannel = async () => {
    // The client has no way to say so; its channel connects with the first call.
    const channel = await createChannel()
    const options = channel.internalChannel?.getOptions()
    if (options) options['grpc-node.flow_control_window'] = READ_AHEAD
    watch(channel)
    return channel
  }
  const listeners = new Set<() => void>()
  function watch(channel: WatchedChannel, state = channel.getConnectivityState(false)): void {
    channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, (error) => {
      if (error) return
      if (state === connectivityState.READY) for (const listener of listeners) listener()
      const now = channel.getConnectivityState(false)
      if (now !== connectivityState.SHUTDOWN) watch(channel, now)
    })
  }
  const deadline = Math.min(defaultDeadline ?? DEADLINE_MS, DEADLINE_MS)
  const requiresLeader = prefersLeader

  return {
    client,
    internals,
    deadline,
    requiresLeader,

    within(work) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(silent(deadline)), deadline)
        work.then(resolve, reject).finally(() => clearTimeout(timer))
      })
    },

    async stream({ service, path, request, decode, buffer }) {
      const open = internals.GRPCStreamCreator(service, path, (stub: GrpcClient) =>
        stub.makeServerStreamRequest(
          path,
          (message: typeof request) => Buffer.from(message.serializeBinary()),
          decode,
          request,
          ...internals.callArguments({ requiresLeader }, { deadline: Number.POSITIVE_INFINITY }),
        ),
      )
      const call = await this.within(open())
      return incoming(call, buffer, () => call.cancel())
    },

    onDisconnect(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },

    async close() {
      await client.dispose()
      try {
        ;(await internals.getChannel()).close()
      } catch {
        // There was no connection to close.
      }
    },
  }
}

/** What is used of a Readable. */
interface Flowing {
  // biome-ignore lint/suspicious/noExplicitAny: as Node types its own
  on(event: 'data' | 'end' | 'close' | 'error', listener: (value: any) => void): unknown
  pause(): unknown
  resume(): unknown
}

/** The answers of one call, in the portions in which they arrive. */
export interface Incoming<T> {
  /**
   * What has arrived since, waiting for the first; null at the end of the call.
   * @param limit milliseconds to wait; 0: as long as it takes
   * @throws the call's error, once what came before it was taken; EventStoreUnavailable after the limit
   */
  take(limit: number): Promise<T[] | null>
  /** Whether `take` has something to give within so many milliseconds. */
  arrives(limit: number): Promise<boolean>
  /** Ends the call, at the server too. */
  cancel(): void
}

/**
 * @param buffer how many answers may wait before the stream is paused
 * @param cancel ends the call at the server
 */
export function incoming<T>(stream: Flowing, buffer: number, cancel: () => void): Incoming<T> {
  let waiting: T[] = []
  let end: { readonly error?: unknown } | undefined
  let wake: (() => void) | undefined
  let turn: NodeJS.Immediate | undefined
  let paused = false

  const settle = (error?: unknown) => {
    end ??= error === undefined ? {} : { error }
    wake?.()
  }
  stream.on('data', (answer: T) => {
    waiting.push(answer)
    if (waiting.length >= buffer && !paused) {
      paused = true
      stream.pause()
    }
    if (wake === undefined || turn !== undefined) return
    // What arrives in one turn of the event loop is taken together.
    turn = setImmediate(() => {
      turn = undefined
      wake?.()
    })
  })
  stream.on('end', () => settle())
  stream.on('close', () => settle())
  stream.on('error', settle)

  function arrived(limit: number): Promise<void> {
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined
      wake = () => {
        wake = undefined
        clearTimeout(timer)
        resolve()
      }
      if (limit === 0) return
      timer = setTimeout(() => {
        wake = undefined
        reject(silent(limit))
      }, limit)
    })
  }

  return {
    async take(limit) {
      if (waiting.length === 0 && end === undefined) await arrived(limit)
      if (waiting.length > 0) {
        const taken = waiting
        waiting = []
        if (paused) {
          paused = false
          stream.resume()
        }
        return taken
      }
      if (end && 'error' in end) throw end.error
      return null
    },
    async arrives(limit) {
      if (waiting.length > 0 || end !== undefined) return true
      return arrived(limit).then(
        () => true,
        () => false,
      )
    },
    cancel() {
      waiting = []
      settle()
      if (paused) stream.resume()
      cancel()
    },
  }
}

const silent = (limit: number) => new EventStoreUnavailable(`The event store has not answered for ${limit} ms.`)
