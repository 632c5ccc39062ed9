/** Operations over WebSockets: the protocol graphql-transport-ws, by graphql-ws's server. */
import { maxHeaderSize } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { GraphQLSchema, parse } from 'graphql'
import { CloseCode, handleProtocols, makeServer, type ServerOptions } from 'graphql-ws'
import { type WebSocket, WebSocketServer } from 'ws'
import { clientKey } from '../../runtime/client-address.ts'
import { Cancellation, Cancelled } from '../cancellation.ts'
import { RequestError } from '../errors.ts'
import { exact, mayLoseDigits, parseKeepingDigits } from '../exact-numbers.ts'
import { hasMoreValues } from '../http/json-size.ts'
import { reasonOf } from '../http/masking.ts'
import { type GraphQLRequest, parseBody, readBody } from '../http/request.ts'
import { createMessageRates, MAX_FRAGMENTS } from './message-rates.ts'
import { SubscriptionCall, type SubscriptionParts } from './subscription-call.ts'

/** How often a client is sent a ping. It is disconnected if no pong arrives before the next. Milliseconds. */
const PING_MS = 12_000
/** How long a client may take to close its side, in milliseconds. */
const CLOSE_MS = 1_000
const POLL_MS = 5
/** While a client leaves more bytes than this unread, or has more operations begin, nothing more is read from it. */
const MAX_UNREAD = 1024 * 1024
const MAX_OPENING = 256
/** A message of more characters counts as a request of its own. */
const LARGE = 32 * 1024
/** IANA's "Try Again Later": clients connect again. */
const TRY_AGAIN_LATER = 1013
/** What a header's value may have. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

export interface MessageLimits {
  /** The largest message of a client, in bytes. */
  readonly maxMessageBytes: number
  /** The most JSON values in one. */
  readonly maxMessageValues: number
}

export interface WebSocketEndpoint {
  /** Takes over the connection of an upgrade request. */
  accept(request: FastifyRequest, head: Buffer): void
  /** Closes the connections with code 1001 (going away). */
  close(): Promise<void>
}

/** What is known of a connection. */
interface Connection {
  /** The request of its handshake; with the headers of `connection_init`, once that has arrived. */
  request: FastifyRequest
  readonly departure: Cancellation
  /** The ids of operations that are being opened. */
  readonly opening: Set<string>
  /** Reads on or waits, by what is under way. */
  readonly hold: () => void
  readonly close: (code: number, reason: string) => void
  /** Whether an operation is under way. */
  isBusy(): boolean
}

/** graphql-ws asks what an operation is; here each is a stream of results. */
const STREAM = { schema: new GraphQLSchema({}), document: parse('subscription { results }') }

/** @param limits of a client's messages */
export function createWebSocketEndpoint(parts: SubscriptionParts, limits: MessageLimits): WebSocketEndpoint {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: limits.maxMessageBytes,
    maxFragments: MAX_FRAGMENTS,
    perMessageDeflate: false,
    // Pongs count as answers: see `hold`.
    autoPong: false,
    handleProtocols: (protocols) => handleProtocols(protocols),
  })
  const connections = new WeakMap<WebSocket, Connection>()
  const queueOf = createMessageRates()
  const server = makeServer<Record<string, unknown>, Connection>(serverOptions(parts))

  function connect(socket: WebSocket, request: FastifyRequest): void {
    const departure = new Cancellation()
    const client = clientKey(request.ip)
    let isAlive = true
    const opening = new Set<string>()
    const isUnread = () => socket.bufferedAmount > MAX_UNREAD
    /** Otherwise the answers to a client that sends without reading would fill the memory. */
    const hold = () => {
      const isHeld = isUnread() || opening.size > MAX_OPENING || messages.isWaiting()
      if (isHeld === socket.isPaused) return
      if (isHeld) socket.pause()
      else socket.resume()
    }
    const ping = setInterval(() => {
      // A pong that is not read because of us counts for nothing.
      if (!isAlive && (!socket.isPaused || isUnread())) return socket.terminate()
      isAlive = false
      socket.ping()
    }, PING_MS)
    socket.on('ping', (data) => {
      messages.addControl(() => {
        socket.pong(data, false, hold)
        hold()
      })
      hold()
    })
    socket.on('pong', () => {
      isAlive = true
      messages.addControl()
      hold()
    })
    const fail = (error: unknown) => {
      request.log.warn({ reason: reasonOf(error) }, 'A WebSocket failed')
      socket.close(CloseCode.InternalServerError, 'Internal server error')
    }
    socket.on('error', fail)
    const close = (code: number, reason: string) => socket.close(code, reason)
    const connection: Connection = { request, departure, opening, hold, close, isBusy: () => false }
    connections.set(socket, connection)
    /** Stays so for a client of another protocol, which is turned away: it may go on sending until it is gone. */
    let receive = async (_: string) => {}
    const read = (text: string) => void admit(parts, limits, text, connection, receive).catch(fail)
    const messages = queueOf(client, read, hold)
    socket.on('message', (data) => {
      messages.add(String(data))
      hold()
    })
    const closed = server.opened(
      {
        protocol: socket.protocol,
        send: (text) =>
          new Promise((resolve, reject) => {
            if (socket.readyState !== socket.OPEN) return resolve()
            const taken = parts.pipeline.unread.count(client, text.length)
            socket.send(text, (error) => {
              taken?.()
              hold()
              if (error) reject(error)
              else resolve()
            })
            hold()
          }),
        close: (code, reason) => socket.close(code, reason),
        onMessage: (take) => {
          receive = take
        },
      },
      connection,
    )
    socket.once('close', (code, reason) => {
      clearInterval(ping)
      messages.close()
      departure.cancel()
      closed(code, String(reason)).catch(fail)
    })
  }

  return {
    accept(request, head) {
      const { raw } = request
      sockets.handleUpgrade(raw, raw.socket, head, (socket) => connect(socket, request))
    },
    async close() {
      await Promise.all([...sockets.clients].map((socket) => close(socket, connections.get(socket))))
    },
  }
}

/**
 * Hands a message to graphql-ws, which parses it. One that is too much is refused before, and a large one counts as a
 * request, whatever it is: a client could go on sending pings of a megabyte.
 */
async function admit(
  { pipeline }: SubscriptionParts,
  { maxMessageValues }: MessageLimits,
  text: string,
  { request, close }: Connection,
  receive: (text: string) => Promise<void>,
): Promise<void> {
  if (hasMoreValues(text, maxMessageValues)) {
    return close(CloseCode.BadRequest, 'Message has too many JSON values (BODY_LIMIT_VALUES)')
  }
  if (text.length > LARGE) {
    try {
      await pipeline.limits?.count('default', request, NO_REPLY)
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      return close(TRY_AGAIN_LATER, 'Too many requests')
    }
  }
  await receive(text)
}

/** Closes a connection once its operations have ended and its client agrees; after a while anyway. */
async function close(socket: WebSocket, connection: Connection | undefined): Promise<void> {
  const timer = setTimeout(() => socket.terminate(), CLOSE_MS)
  const closed = new Promise((resolve) => socket.once('close', resolve))
  while (connection?.isBusy() && socket.readyState === socket.OPEN) await delay(POLL_MS)
  socket.close(1001, 'Going away')
  if (socket.readyState !== socket.CLOSED) await closed
  clearTimeout(timer)
}

function serverOptions(parts: SubscriptionParts): ServerOptions<Record<string, unknown>, Connection> {
  return {
    // Numbers in variables keep their digits, as in the body of a POST.
    jsonMessageReviver: ((key: string, value: unknown, context: { source?: string }) =>
      mayLoseDigits(context.source ?? '') ? exact(key, value, context) : value) as never,

    onConnect(context) {
      const { extra, connectionParams = {} } = context
      extra.isBusy = () => Object.keys(context.subscriptions).length > 0
      const headers = headersIn(connectionParams)
      if (headers === undefined) return false
      extra.request = withHeaders(extra.request, headers)
      return true
    },

    async onSubscribe({ extra }, id, payload) {
      const { departure, opening } = extra
      // Each operation is a request of its own: what a plugin does to the headers of one is not seen by the next.
      const request = withHeaders(extra.request, {})
      // graphql-ws would take one for the other: it knows operations by their ids alone.
      if (opening.has(id)) {
        extra.close(CloseCode.SubscriberAlreadyExists, 'An operation with this id is still being opened')
        return { ...STREAM, contextValue: nothing() }
      }
      opening.add(id)
      extra.hold()
      try {
        await parts.pipeline.limits?.count('default', request, NO_REPLY)
        const text = JSON.stringify(payload)
        const sent = readBody(parseBody(text) ?? payload, 0) as GraphQLRequest
        const subscriber = { request, reply: NO_REPLY, transport: 'websocket', isRead: false, departure } as const
        const results = await new SubscriptionCall(parts, subscriber).open(sent)
        return { ...STREAM, contextValue: results }
      } catch (error) {
        if (error instanceof RequestError) {
          parts.pipeline.countUnknown('rejected', 0)
          return error.errors
        }
        if (error instanceof Cancelled) return { ...STREAM, contextValue: nothing() }
        throw error
      } finally {
        opening.delete(id)
        extra.hold()
      }
    },

    subscribe: ({ contextValue }) => parsed(contextValue as AsyncGenerator<string, undefined, undefined>) as never,

    // The results are complete: errors are plain objects.
    onNext: (_context, _id, _payload, _args, result) => result as never,
  }
}

/** WebSockets have no headers of answers. */
const NO_REPLY = {
  header: () => NO_REPLY,
  hasHeader: () => false,
  getHeader: () => undefined,
} as unknown as FastifyReply

async function* nothing(): AsyncGenerator<string, undefined, undefined> {}

/** The results as objects, whose numbers keep their digits. It ends at once when the client ends it. */
function parsed(texts: AsyncGenerator<string, undefined, undefined>): AsyncGenerator<object, undefined, undefined> {
  const generator: AsyncGenerator<object, undefined, undefined> = {
    async next() {
      const { done, value } = await texts.next()
      return done ? { done: true, value: undefined } : { done: false, value: parseKeepingDigits(value) as object }
    },
    return: async () => {
      await texts.return(undefined)
      return { done: true, value: undefined }
    },
    throw: (error) => texts.throw(error) as Promise<never>,
    [Symbol.asyncIterator]: () => generator,
    [Symbol.asyncDispose]: async () => void (await texts.return(undefined)),
  }
  return generator
}

/**
 * The headers in the payload of `connection_init`.
 * @returns undefined if one can't be a header, or if they are longer than a request's may be: subgraphs would hang up on
 * each operation
 */
function headersIn(params: Readonly<Record<string, unknown>>): Record<string, string> | undefined {
  const headers: Record<string, string> = {}
  let length = 0
  const nested = typeof params.headers === 'object' && params.headers !== null ? params.headers : {}
  for (const [name, value] of [...Object.entries(nested), ...Object.entries(params)]) {
    if (typeof value !== 'string') continue
    length += name.length + value.length
    if (length > maxHeaderSize || !VALUE.test(value)) return undefined
    headers[name.toLowerCase()] = value
  }
  return headers
}

/** The request of a handshake with further headers. Those that are passed on to subgraphs are chosen from them later. */
function withHeaders(request: FastifyRequest, more: Readonly<Record<string, string>>): FastifyRequest {
  const { ip, id, log, raw } = request
  // Mutations are allowed, as by POST.
  return { ip, id, log, raw, method: 'POST', headers: { ...request.headers, ...more } } as unknown as FastifyRequest
}
