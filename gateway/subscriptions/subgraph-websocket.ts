/** Streams of subgraphs over WebSockets, one for each: the protocol graphql-transport-ws, by graphql-ws's client. */
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { exact } from '../exact-numbers.ts'
import { type SentAnswer, SubgraphUnavailable } from '../subgraphs/client.ts'
import type { EventSink, OpenStream, StreamOptions, StreamRequest } from './subgraph-streams.ts'

/** Headers of a request with a body. */
const OF_BODY = new Set(['accept', 'accept-encoding', 'content-type'])
/** Headers that are repeated in the payload of `connection_init`. */
const IN_PAYLOAD = new Set(['authorization', 'store'])

/** Each client has a connection of its own, because its headers go with the handshake. */
export function createWebSocketStreams(options: StreamOptions): OpenStream {
  return (request, sink) => {
    const stream = new WebSocketStream(request, sink, options)
    return () => stream.close()
  }
}

class WebSocketStream {
  readonly #service: string
  readonly #sink: EventSink
  readonly #silence: NodeJS.Timeout
  readonly #client: ReturnType<typeof createClient>
  readonly #unsubscribe: () => void
  #socket: WebSocket | undefined
  #isOver = false

  constructor(request: StreamRequest, sink: EventSink, { timeoutMs, silenceMs, maxEventBytes }: StreamOptions) {
    this.#service = request.service
    this.#sink = sink
    const headers = handshakeHeaders(request)
    const settings = { headers, handshakeTimeout: timeoutMs, maxPayload: maxEventBytes, perMessageDeflate: false }
    const opened = (socket: WebSocket) => {
      this.#socket = socket
    }
    this.#silence = setTimeout(() => this.#fail(`has sent nothing for ${silenceMs} ms`), silenceMs)
    this.#client = createClient({
      url: request.url.href,
      webSocketImpl: class extends WebSocket {
        constructor(url: string, protocol: string) {
          super(url, protocol, settings)
          opened(this)
        }
      },
      connectionParams: Object.fromEntries(Object.entries(headers).filter(([name]) => IN_PAYLOAD.has(name))),
      connectionAckWaitTimeout: timeoutMs,
      retryAttempts: 0,
      keepAlive: Math.ceil(silenceMs / 2),
      // Numbers keep their digits. Whether a field needs that is decided where the event is read.
      jsonMessageReviver: exact as never,
      on: {
        message: () => void this.#silence.refresh(),
        // Otherwise the client would connect again after some codes, and nobody would notice the events in between.
        closed: () => this.#fail('has broken off its stream'),
        error: (error) => this.#fail('is not available', error),
      },
    })
    this.#unsubscribe = this.#client.subscribe(JSON.parse(request.body), {
      next: (result) => this.#next(result),
      complete: () => this.#settle(() => this.#sink.complete()),
      error: (error) => {
        if (!Array.isArray(error)) return this.#fail('is not available', error)
        // The subgraph refuses the operation.
        this.#next({ errors: error })
        this.#settle(() => this.#sink.complete())
      },
    })
  }

  close(): void {
    this.#settle(() => {})
  }

  #next(result: object): void {
    if (!this.#isOver) this.#sink.next(answerOf(result))
  }

  #fail(what: string, cause?: unknown): void {
    const message = `The "${this.#service}" service ${what}.`
    this.#settle(() => this.#sink.fail(new SubgraphUnavailable(this.#service, message, { cause })))
  }

  #settle(report: () => void): void {
    if (this.#isOver) return
    this.#isOver = true
    clearTimeout(this.#silence)
    report()
    // Once the constructor has ended: `subscribe` may report a failure before it returns.
    queueMicrotask(() => {
      this.#unsubscribe()
      // It rejects if there was no connection.
      Promise.resolve(this.#client.dispose()).catch(() => {})
      if (this.#socket?.readyState === WebSocket.CONNECTING) this.#socket.terminate()
    })
  }
}

function handshakeHeaders({ headers }: StreamRequest): Record<string, string> {
  const result: Record<string, string> = {}
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string
    if (!OF_BODY.has(name)) result[name] = headers[at + 1] as string
  }
  return result
}

/** In the form of an answer by HTTP, so that both are read alike. */
const answerOf = (result: object): SentAnswer => ({ status: 200, text: JSON.stringify(result), headers: {} })
