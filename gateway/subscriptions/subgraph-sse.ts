/**
 * Streams of subgraphs as server-sent events: GraphQL over SSE, "distinct connections". Not by graphql-sse's client: it
 * loses digits of large numbers, and limits neither an event's size nor a silence.
 */
import { Agent, type Dispatcher, errors } from 'undici'
import { EVENT_STREAM } from '../../runtime/event-stream.ts'
import { type Returned, SubgraphUnavailable } from '../subgraphs/client.ts'
import { AnswerTooLarge } from '../subgraphs/decompression.ts'
import { createSseParser, type SseParser } from './sse-parser.ts'
import type { EventSink, OpenStream, StreamOptions, StreamRequest } from './subgraph-streams.ts'

export interface SseStreams {
  readonly open: OpenStream
  readonly close: () => Promise<void>
}

export function createSseStreams({ timeoutMs, silenceMs, maxEventBytes }: StreamOptions): SseStreams {
  // Apart from the connections for queries, which long streams would occupy.
  const agent = new Agent({
    connectTimeout: timeoutMs,
    headersTimeout: timeoutMs,
    bodyTimeout: silenceMs,
    pipelining: 1,
    allowH2: false,
  })
  return {
    open(request, sink) {
      const stream = new SseStream(request.service, sink, { timeoutMs, silenceMs, maxEventBytes })
      const { origin, pathname, search } = request.url
      agent.dispatch(
        {
          origin,
          path: pathname + search,
          method: 'POST',
          headers: headersOf(request),
          body: request.body,
          idempotent: false,
        },
        stream,
      )
      return () => stream.close()
    },
    close: () => agent.destroy(),
  }
}

/** A stream is not compressed: its events would wait for one another. */
function headersOf({ headers }: StreamRequest): string[] {
  const result: string[] = []
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string
    if (name === 'accept-encoding') continue
    result.push(name, name === 'accept' ? EVENT_STREAM : (headers[at + 1] as string))
  }
  return result
}

/** Receives one stream. */
class SseStream implements Dispatcher.DispatchHandler {
  readonly #service: string
  readonly #sink: EventSink
  readonly #options: StreamOptions
  #controller: Dispatcher.DispatchController | undefined
  #isOver = false
  #parser: SseParser | undefined
  /** An answer that is no stream. */
  #other: { readonly status: number; readonly headers: Returned; readonly chunks: Buffer[]; size: number } | undefined

  constructor(service: string, sink: EventSink, options: StreamOptions) {
    this.#service = service
    this.#sink = sink
    this.#options = options
  }

  close(): void {
    this.#isOver = true
    this.#controller?.abort(new Error('The subscription has ended.'))
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#isOver) this.close()
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: Returned): void {
    if (status === 200 && String(headers['content-type']).startsWith(EVENT_STREAM)) {
      this.#parser = createSseParser(this.#options.maxEventBytes, (type, data) => this.#event(type, data, headers))
    } else this.#other = { status, headers, chunks: [], size: 0 }
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isOver) return
    try {
      if (this.#parser) this.#parser.push(chunk)
      else if (this.#other) {
        this.#other.size += chunk.length
        if (this.#other.size > this.#options.maxEventBytes) throw new AnswerTooLarge()
        this.#other.chunks.push(chunk)
      }
    } catch (error) {
      this.#fail(error as Error)
      this.close()
    }
  }

  onResponseEnd(): void {
    if (this.#isOver) return
    if (!this.#other) {
      this.#fail(new Error('It ended without "complete".'))
      return
    }
    // A refusal, or an answer with errors.
    const { status, headers, chunks } = this.#other
    this.#sink.next({ status, headers, text: Buffer.concat(chunks).toString('utf8') })
    this.#complete()
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#fail(error)
  }

  #event(type: string, data: string, headers: Returned): void {
    if (this.#isOver) return
    if (type === 'next') this.#sink.next({ status: 200, headers, text: data })
    else if (type === 'complete') {
      this.#complete()
      this.close()
    }
  }

  #complete(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#sink.complete()
  }

  #fail(cause: Error): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#sink.fail(new SubgraphUnavailable(this.#service, this.#message(cause), { cause }))
  }

  #message(cause: Error): string {
    const { timeoutMs, silenceMs, maxEventBytes } = this.#options
    const subject = `The "${this.#service}" service`
    if (cause instanceof AnswerTooLarge)
      return `${subject} sent an event of more than ${maxEventBytes} bytes (SUBGRAPH_ANSWER_LIMIT_BYTES).`
    if (cause instanceof errors.BodyTimeoutError) return `${subject} has sent nothing for ${silenceMs} ms.`
    if (cause instanceof errors.HeadersTimeoutError) return `${subject} did not answer within ${timeoutMs} ms.`
    return this.#parser ? `${subject} has broken off its stream.` : `${subject} is not available.`
  }
}
