/**
 * One connection to one node. It lives as long as its first transport and is never reconnected: after a loss, open
 * another. The official client is bound to it and kept from reconnecting, because it keeps the rejected promise of a
 * discovery forever and awaits it where nothing catches the error (1.3.1).
 */
import {
  type CallOptions,
  type Channel,
  type ClientUnaryCall,
  connectivityState,
  type Client as GrpcClient,
  Metadata,
  status,
} from '@grpc/grpc-js'
import { KurrentDBClient } from '@kurrent/kurrentdb-client'
import { type BatchAppends, createBatchAppends } from '../appends.ts'
import {
  GossipClient,
  gossipMessages,
  ServerFeatures,
  ServerFeaturesClient,
  StreamsService,
  sharedMessages,
} from '../generated-messages.ts'
import { type Incoming, incoming } from '../incoming.ts'
import type { ReadAnswer } from '../wire.ts'
import { PlainChannel } from './plain-channel.ts'
import type { Endpoint, KurrentDbUrl } from './url.ts'

/**
 * Bytes that a server may send ahead of our reading, for a call and for the connection. HTTP/2's 64 KiB are a hundred
 * events: a reader of the log would wait for the network after each hundred.
 */
const READ_AHEAD = 1024 * 1024
/** Earlier servers accept events of 16 MiB. */
const LARGEST_MESSAGE = 17 * 1024 * 1024
const KEEP_ALIVE_MS = 10_000

// biome-ignore-start lint/suspicious/noExplicitAny: generated code
/** The client's internals: its credentials and the open calls. */
export interface Internals {
  execute<T>(Client: any, name: string, action: (stub: any) => Promise<T>): Promise<T>
  GRPCStreamCreator<T>(Client: any, name: string, creator: (stub: any) => T): () => Promise<T>
  callArguments(options: { requiresLeader?: boolean; deadline?: number }, call?: CallOptions): [Metadata, CallOptions]
  createChannel(): Promise<Channel>
  handleError(): Promise<void>
}
// biome-ignore-end lint/suspicious/noExplicitAny: see above

/** A node of the cluster, as it or another one describes it. */
export interface Member {
  readonly endpoint: Endpoint
  /** The name of gossip.proto's VNodeState: LEADER, FOLLOWER, … */
  readonly state: string
  readonly isAlive: boolean
}

interface StreamCall {
  readonly service: unknown
  /** `/package.Service/Method` */
  readonly path: string
  readonly request: { serializeBinary(): Uint8Array }
  readonly decode: (bytes: Buffer) => ReadAnswer
  /** How many answers may wait for their consumer before flow control stops the server. */
  readonly buffer: number
}

export interface Node {
  readonly endpoint: Endpoint
  readonly client: KurrentDBClient
  readonly internals: Internals
  readonly appends: BatchAppends
  /** Connects if necessary, and asks for the server's features. @throws the gRPC error, also after the time limit */
  features(limit: number): Promise<void>
  /** Whether it knows BatchAppend, as servers from 21.10 on do. Known once its features are. */
  acceptsBatches(): boolean
  /** The server's version, such as `24.10.0`; undefined for one that does not say. Known once its features are. */
  version(): string | undefined
  /** The cluster's members as the node sees them. @throws as `features` */
  members(limit: number): Promise<readonly Member[]>
  /** Starts a streaming call. */
  stream(call: StreamCall): Promise<Incoming<ReadAnswer>>
  /** Whether its transport is up. */
  isConnected(): boolean
  /** Called once when the transport of a connected node is lost. */
  onDisconnect(listener: () => void): void
  /** Also ends open calls: nothing is sent any more. Calling it again does nothing. */
  close(): Promise<void>
}

/**
 * KurrentDBClient's constructor, without the native part: it serves the reads alone, which go through the stub here.
 */
type ClientConstructor = new (
  native: undefined,
  settings: { endpoint: string; connectionName?: string },
  channel: { insecure: boolean },
  user?: KurrentDbUrl['user'],
) => KurrentDBClient

/**
 * @param serverName the name in the node's certificate, if the endpoint is a resolved address
 */
export function createNode(url: KurrentDbUrl, endpoint: Endpoint, requiresLeader: boolean, serverName?: string): Node {
  const target = addressOf(endpoint)
  const [interval, timeout] = [url.keepAliveInterval ?? KEEP_ALIVE_MS, url.keepAliveTimeout ?? KEEP_ALIVE_MS]
  const channel = new PlainChannel(target, url.channelCredentials(), {
    'grpc.keepalive_time_ms': interval < 0 ? Number.MAX_VALUE : interval,
    'grpc.keepalive_timeout_ms': timeout < 0 ? Number.MAX_VALUE : timeout,
    'grpc.max_receive_message_length': LARGEST_MESSAGE,
    'grpc-node.flow_control_window': READ_AHEAD,
    // A shared channel would make a new connection wait for the back-off of the failed one.
    'grpc.use_local_subchannel_pool': 1,
    ...(serverName && { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName }),
  })
  const client = new (KurrentDBClient as unknown as ClientConstructor)(
    undefined,
    { endpoint: target, ...(url.connectionName && { connectionName: url.connectionName }) },
    { insecure: !url.tls },
    url.tls ? url.user : undefined,
  )
  const internals = client as unknown as Internals
  internals.createChannel = async () => channel
  internals.handleError = async () => {}
  let acceptsBatches = false
  let version: string | undefined
  let offset = 0
  let closing: Promise<void> | undefined

  // biome-ignore lint/suspicious/noExplicitAny: generated code
  function unary(Client: any, method: string, limit: number): Promise<any> {
    const stub = new Client(null, null, { channelOverride: channel })
    const asked = Date.now()
    return new Promise((resolve, reject) => {
      const call: ClientUnaryCall = stub[method](
        new sharedMessages.Empty(),
        new Metadata(),
        { deadline: Date.now() + limit },
        (error: Error | null, response: unknown) => (error ? reject(error) : resolve(response)),
      )
      call.on('metadata', (headers: Metadata) => {
        offset = clockOffset(asked, Date.now(), Date.parse(String(headers.get('date')[0])))
      })
    })
  }

  const node: Node = {
    endpoint,
    client,
    internals,
    appends: createBatchAppends(internals, requiresLeader, () => Date.now() + offset),

    async features(limit) {
      let features: unknown
      try {
        features = new ServerFeatures(null, await unary(ServerFeaturesClient, 'getSupportedMethods', limit))
      } catch (error) {
        if ((error as { code?: number }).code !== status.UNIMPLEMENTED) throw error
        features = new ServerFeatures(error) // a server before 21.10
      }
      const known = features as { supports(method: unknown): boolean; readonly serverVersion?: string }
      acceptsBatches = known.supports(StreamsService.batchAppend)
      version = known.serverVersion || undefined
      // The client would ask by itself, and wait for the answer forever.
      Object.defineProperty(client, 'capabilities', { value: Promise.resolve(features), configurable: true })
    },

    acceptsBatches: () => acceptsBatches,

    version: () => version,

    async members(limit) {
      const info = await unary(GossipClient, 'read', limit)
      return info.getMembersList().flatMap(memberOf)
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
      const call = await open()
      return incoming(call, buffer, () => call.cancel())
    },

    isConnected: () => closing === undefined && channel.getConnectivityState(false) === connectivityState.READY,

    onDisconnect(listener) {
      channel.watchConnectivityState(connectivityState.READY, Number.POSITIVE_INFINITY, (error) => {
        if (!error && closing === undefined) listener()
      })
    },

    close() {
      closing ??= (async () => {
        const ended = client.dispose()
        channel.close()
        await ended
      })()
      return closing
    },
  }
  return node
}

/** How old the time in a `date` header is at most: a whole second, written anew each second. */
const DATE_AGE_MS = 2_000

/**
 * How far a node's clock is ahead of ours, at least; negative if it is behind.
 * @param asked when the node was asked, by our clock
 * @param answered when the answer came, by our clock
 * @param date the `date` header of the answer; NaN if there is none
 * @returns milliseconds; 0 as long as the clocks may agree
 */
function clockOffset(asked: number, answered: number, date: number): number {
  const differs = date > answered || date + DATE_AGE_MS < asked
  return differs ? date - answered : 0
}

export const addressOf = ({ host, port }: Endpoint): string => `${host.includes(':') ? `[${host}]` : host}:${port}`

const stateNames = new Map<number, string>(
  Object.entries(gossipMessages.MemberInfo.VNodeState as Record<string, number>).map(([name, number]) => [
    number,
    name,
  ]),
)

// biome-ignore lint/suspicious/noExplicitAny: a generated message
function memberOf(info: any): Member[] {
  const endpoint = info.getHttpEndPoint()
  if (!endpoint) return []
  return [
    {
      endpoint: { host: endpoint.getAddress(), port: endpoint.getPort() },
      state: stateNames.get(info.getState()) ?? '',
      isAlive: info.getIsAlive(),
    },
  ]
}
