/** Subscriptions at the gateway. What they need is loaded once the graph has a type `Subscription`. */
import { type IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { clientKey } from '../../runtime/client-address.ts'
import { loadedOnce } from '../../runtime/lazily.ts'
import { Cancelled } from '../cancellation.ts'
import { RequestError, requestError } from '../errors.ts'
import { errorBody, SECURITY_HEADERS } from '../http/answers.ts'
import { onceOver } from '../http/disconnects.ts'
import type { Drain } from '../http/drain.ts'
import type { Pipeline } from '../http/graphql-call.ts'
import { contentTypes } from '../http/negotiation.ts'
import { createActiveSubscriptions } from './active-subscriptions.ts'
import { createClientCounts, type SubscriptionLimits } from './client-counts.ts'
import { createSubgraphStreams, type StreamOptions } from './subgraph-streams.ts'
import type { SubscriptionParts } from './subscription-call.ts'
import type { MessageLimits, WebSocketEndpoint } from './websocket-endpoint.ts'

export interface SubscriptionOptions extends StreamOptions, MessageLimits {
  readonly limits: SubscriptionLimits
  /** The most events that wait for one client. */
  readonly bufferedEvents: number
  /** Where subgraphs offer their streams, by name, if that is not where they answer queries. */
  readonly urls: Readonly<Record<string, string>>
  /** Whether pages of another origin may open a WebSocket. */
  readonly isOriginAllowed: (origin: string) => boolean
}

export interface Subscriptions {
  /** Whether the graph has subscriptions. */
  isOffered(): boolean
  /** Answers with an event stream. @param isRead whether it is a GET */
  answerWithEvents(request: FastifyRequest, reply: FastifyReply, isRead: boolean): Promise<FastifyReply>
  /** Answers a request that {@link isUpgrade} says yes to. */
  answerWithWebSocket(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply>
}

/** The bytes that came with an upgrade request. */
const HEAD = Symbol('head')
type Upgrade = IncomingMessage & { [HEAD]?: Buffer }

/** Whether the request asks for a WebSocket, and the graph has subscriptions. */
export const isUpgrade = (raw: IncomingMessage): boolean => (raw as Upgrade)[HEAD] !== undefined

/** How long a client may take to read its last result when the gateway shuts down, in milliseconds. */
const CLOSE_MS = 1_000

export function createSubscriptions(
  app: FastifyInstance,
  pipeline: Pipeline,
  drain: Drain,
  options: SubscriptionOptions,
): Subscriptions {
  const { served, limits } = pipeline
  const isOffered = () => served.current.supergraph.schema.getSubscriptionType() !== undefined
  const active = createActiveSubscriptions(pipeline.authentication)
  const enter = createClientCounts(options.limits)
  const enterConnection = createClientCounts(options.limits)
  const responses = new Set<ServerResponse>()
  let isClosing = false
  let current: Awaited<ReturnType<typeof load>> | undefined
  let endpoint: WebSocketEndpoint | undefined

  const loaded = loadedOnce(async () => {
    current = await load()
    return current
  })

  async function load() {
    const [{ schemaReload, serverClosing }, { answerWithEvents }] = await Promise.all([
      import('./subscription-call.ts'),
      import('./sse-endpoint.ts'),
    ])
    const streams = await createSubgraphStreams(options, options.urls)
    const parts: SubscriptionParts = { pipeline, active, enter, streams, drain, bufferedEvents: options.bufferedEvents }
    served.onChange(() => active.endAll('schema', [schemaReload()]))
    return { parts, streams, serverClosing, answerWithEvents }
  }

  async function websocket(): Promise<WebSocketEndpoint> {
    const [{ parts }, { createWebSocketEndpoint }] = await Promise.all([loaded(), import('./websocket-endpoint.ts')])
    endpoint ??= createWebSocketEndpoint(parts, options)
    return endpoint
  }

  acceptUpgrades(app, isOffered)
  app.addHook('preClose', async () => {
    isClosing = true
    if (!current) return
    active.endAll('closing', current.serverClosing().errors)
    await endpoint?.close()
    const left = setTimeout(() => {
      for (const response of responses) response.destroy()
    }, CLOSE_MS)
    await Promise.all([...responses].map((response) => new Promise((resolve) => response.once('close', resolve))))
    clearTimeout(left)
  })
  app.addHook('onClose', async () => {
    await current?.streams.close()
  })

  return {
    isOffered,

    async answerWithEvents(request, reply, isRead) {
      const { parts, answerWithEvents, serverClosing } = await loaded()
      if (isClosing) return refuse(reply, serverClosing())
      responses.add(reply.raw)
      onceOver(reply.raw, request.raw.socket, () => responses.delete(reply.raw))
      return await answerWithEvents(parts, request, reply, isRead)
    },

    async answerWithWebSocket(request, reply) {
      const { raw } = request
      try {
        const { serverClosing } = await loaded()
        if (isClosing) throw serverClosing()
        checkOrigin(request, options.isOriginAllowed)
        await limits?.count('default', request, reply)
        const sockets = await websocket()
        // The client may have gone while it waited. Then it would never be counted out.
        if (raw.socket.destroyed) throw new Cancelled()
        raw.socket.once('close', enterConnection(clientKey(request.ip)))
        reply.hijack()
        reply.raw.detachSocket(raw.socket)
        sockets.accept(request, (raw as Upgrade)[HEAD] as Buffer)
        return reply
      } catch (error) {
        if (error instanceof Cancelled) return reply.hijack()
        if (!(error instanceof RequestError)) throw error
        pipeline.countUnknown('rejected', 0)
        return refuse(reply, error)
      }
    },
  }
}

function refuse(reply: FastifyReply, { statusCode, errors }: RequestError): FastifyReply {
  return reply.code(statusCode).headers(SECURITY_HEADERS).type(contentTypes.any).send(errorBody(errors))
}

/**
 * Passes upgrade requests for WebSockets through Fastify's routes and hooks, as @fastify/websocket does. Other upgrades
 * (h2c) stay ordinary requests, and so do all if there are no subscriptions.
 */
function acceptUpgrades(app: FastifyInstance, isOffered: () => boolean): void {
  const server = app.server as Server & { shouldUpgradeCallback: (request: IncomingMessage) => boolean }
  server.shouldUpgradeCallback = ({ headers, socket }) =>
    headers.upgrade?.toLowerCase() === 'websocket' && !isAnswering(socket) && isOffered()
  server.on('upgrade', (raw: Upgrade, socket: Duplex, head: Buffer) => {
    raw[HEAD] = head
    const response = new ServerResponse(raw)
    response.shouldKeepAlive = false
    response.assignSocket(raw.socket)
    // It was refused. If it were only ended, its client could keep it for ever: no time limit of HTTP holds any more.
    response.once('finish', () => raw.socket.destroySoon())
    socket.on('error', () => socket.destroy())
    app.routing(raw, response)
  })
}

/**
 * Whether an earlier, pipelined request of the connection has not been answered yet. Node.js has one response on a socket
 * at a time and throws at a second one, in an event handler where nothing catches it.
 */
const isAnswering = (socket: Socket & { _httpMessage?: ServerResponse | null }): boolean => socket._httpMessage != null

/**
 * A browser's page of any origin may open a WebSocket, and the visitor's cookies go with it.
 * @throws RequestError CSRF_PREVENTED
 */
function checkOrigin({ headers, host }: FastifyRequest, isAllowed: (origin: string) => boolean): void {
  const { origin } = headers
  if (origin === undefined) return
  if (URL.canParse(origin) && new URL(origin).host === host) return
  if (isAllowed(origin)) return
  throw requestError('Pages of this origin may not open a WebSocket here (CORS_ORIGINS).', 'CSRF_PREVENTED')
}
