/** Streams of subgraphs: one for each subscription, as server-sent events or over a WebSocket. */
import type { SentAnswer, SubgraphUnavailable } from '../subgraphs/client.ts'
import { createSseStreams } from './subgraph-sse.ts'

/** Takes what a stream delivers. Exactly one of `complete` and `fail` is called, last; nothing after `close`. */
export interface EventSink {
  next(event: SentAnswer): void
  complete(): void
  fail(error: SubgraphUnavailable): void
}

/** Where a subgraph is. */
export interface SubgraphEndpoint {
  readonly url: string
  /** Headers that only this subgraph gets: names and values in turn. */
  readonly headers: readonly string[]
}

export interface StreamRequest {
  readonly service: string
  readonly url: URL
  /** JSON with `query`, and optional `variables` and `operationName`. */
  readonly body: string
  /** Names and values in turn. */
  readonly headers: readonly string[]
}

export interface StreamOptions {
  /** How long a subgraph may take to open a stream, in milliseconds. */
  readonly timeoutMs: number
  /** How long a stream may be silent, heartbeats included, in milliseconds. Then it counts as broken. */
  readonly silenceMs: number
  /** The largest event, in bytes. */
  readonly maxEventBytes: number
}

/** Opens a stream. @returns what closes it, at once */
export type OpenStream = (request: StreamRequest, sink: EventSink) => () => void

export interface SubgraphStreams {
  readonly open: (
    service: string,
    endpoint: SubgraphEndpoint,
    request: Pick<StreamRequest, 'body' | 'headers'>,
    sink: EventSink,
  ) => () => void
  readonly close: () => Promise<void>
}

/**
 * @param urls where subgraphs offer their streams, by name, if that is not where they answer queries. `ws:` and `wss:`:
 * over a WebSocket
 */
export async function createSubgraphStreams(
  options: StreamOptions,
  urls: Readonly<Record<string, string>>,
): Promise<SubgraphStreams> {
  const sse = createSseStreams(options)
  const needsWebSocket = Object.values(urls).some((url) => /^wss?:/.test(url))
  const openWebSocket = needsWebSocket
    ? (await import('./subgraph-websocket.ts')).createWebSocketStreams(options)
    : undefined
  return {
    open(service, { url, headers }, request, sink) {
      const target = new URL(urls[service] ?? url)
      const open = openWebSocket && /^wss?:$/.test(target.protocol) ? openWebSocket : sse.open
      return open({ service, url: target, body: request.body, headers: [...request.headers, ...headers] }, sink)
    },
    close: sse.close,
  }
}
