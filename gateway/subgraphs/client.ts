/** Calls to subgraphs: over persistent connections, with a time limit, retries for queries, and a circuit breaker. */
import { setTimeout as delay } from 'node:timers/promises'
import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import { type Dispatcher, Pool } from 'undici'
import { endWith, isTracing, startSpan, type TracedSpan } from '../../runtime/tracing.ts'
import { type Abortable, type Cancellation, Cancelled } from '../cancellation.ts'
import { mayLoseDigits, parseExactly, parseKeepingDigits } from '../exact-numbers.ts'
import { PluginError } from '../plugins/run.ts'
import { type Breaker, createBreaker } from './circuit-breaker.ts'
import { AnswerTooLarge, BadEncoding, decompress } from './decompression.ts'
import type { SubgraphDefaults } from './settings.ts'
import { createSharedCalls, type Sharing } from './shared-calls.ts'

/** A subgraph's answer; only its outline has been validated. */
export interface SubgraphAnswer {
  data?: Record<string, unknown> | null
  errors?: GraphQLFormattedError[]
  extensions?: Record<string, unknown>
}

export interface SubgraphRequest {
  /** JSON with `query`, and optional `variables` and `operationName`. */
  readonly body: string
  /** Header names and values in turn, as `subgraphHeaders` makes them. */
  readonly headers: readonly string[]
  /**
   * A mutation is never sent while another answer is awaited on its connection: if the connection broke, it would be
   * unknown whether it was executed.
   */
  readonly mutation: boolean
  /** Ends the call when the client goes away. Absent for a mutation, which is finished. */
  readonly cancellation?: Cancellation | undefined
  /** Of the plugins; asked before the call is made or shared. */
  readonly hooks?: SubgraphHooks | undefined
  /** What must also be equal for calls to be shared: what plugins have set. */
  readonly sharedBy?: string
  /**
   * Signs an attempt. @param attempt 1 for the first
   * @returns the headers to send. @throws PluginError
   */
  readonly sign?: (headers: readonly string[], attempt: number) => Promise<readonly string[]>
}

/** The part of the plugins in subgraph calls. */
export interface SubgraphHooks {
  /** @returns the request as it is to be sent. @throws PluginError if it must not be sent */
  onSubgraphRequest(subgraph: string, request: SubgraphRequest): Promise<SubgraphRequest>
}

/** The unparsed answer: identical calls share it, and each parses its own copy. */
export type RawAnswer = SentAnswer & {
  /** How long it took, including retries. */
  readonly milliseconds: number
}

/** An answer as received. */
export interface SentAnswer {
  readonly status: number
  readonly text: string
  readonly headers: Returned
}

/** A subgraph's response headers. */
export type Returned = Readonly<Record<string, string | string[] | undefined>>

/** Calls one subgraph; {@link readAnswer} parses the answer. @throws SubgraphUnavailable if there is none; Cancelled */
export type SubgraphClient = (request: SubgraphRequest) => Promise<RawAnswer>

/** Sends a request to a subgraph in the same process. A rejection means that the subgraph is unavailable. */
export type Transport = (body: string, headers: readonly string[]) => Promise<SentAnswer>

/** A subgraph that did not answer, or not with GraphQL. The message is for clients; the cause is for the log. */
export class SubgraphUnavailable extends GraphQLError {
  override readonly name = 'SubgraphUnavailable'
  readonly service: string

  constructor(
    service: string,
    message: string,
    options: { cause?: unknown; path?: readonly (string | number)[] } = {},
  ) {
    super(message, {
      extensions: { code: 'SERVICE_UNAVAILABLE', service },
      ...(options.path && { path: options.path }),
    })
    this.service = service
    this.cause = options.cause
  }
}

/** A subgraph, and where it is called. */
export interface SubgraphAddress {
  readonly name: string
  readonly url: string
}

export interface SubgraphClients {
  /** @param headers that only this subgraph gets, names and values in turn. @throws Error for an invalid URL */
  readonly client: (name: string, url: string, headers?: readonly string[]) => SubgraphClient
  /** Frees what is held for all other subgraphs. Their answers under way are still awaited. */
  readonly keep: (subgraphs: readonly SubgraphAddress[]) => void
  /** Waits for pending answers, then closes the connections. */
  readonly close: () => Promise<void>
}

/**
 * The outcome of a call: answered, failed, not made because the subgraph had failed too often, or cancelled by the
 * client.
 */
export const CALL_OUTCOMES = ['answered', 'failed', 'refused', 'cancelled'] as const
export type CallOutcome = (typeof CALL_OUTCOMES)[number]

export interface SubgraphClientsOptions {
  /** What holds for a subgraph. The time limit is for its whole answer, including retries. */
  readonly settings: (name: string) => Pick<SubgraphDefaults, 'timeoutMs' | 'retries' | 'connections'>
  /** Headers of requests that this subgraph does not get. Default: none. */
  readonly droppedFor?: (name: string) => ReadonlySet<string> | undefined
  /** How many queries may be under way on one connection. */
  readonly pipelining: number
  /** The largest answer. A larger one is not read to its end. */
  readonly maxAnswerBytes: number
  /** Which queries of guests are one call. Default: none. */
  readonly sharing?: Sharing
  /** Called for each call that another one's answer made needless. */
  readonly onShared?: (service: string) => void
  /** Subgraphs that are called without a socket, by name. */
  readonly transports?: Readonly<Record<string, Transport>>
  /** Whether the hooks of requests are asked. Default false. */
  readonly hasHooks?: boolean
  /** Called after each call. @param milliseconds from its first try to its end */
  readonly observe?: (service: string, outcome: CallOutcome, milliseconds: number) => void
}

/** Retries of a query after the first attempt, unless configured otherwise. */
export const RETRIES = 2
/** The wait before a retry: between half of it and all of it, doubled each time. */
const RETRY_MS = 50
/** Status codes of proxies and servers that did not process the request. */
const NOT_PROCESSED = new Set([502, 503, 504])

/** All clients share the connections to one origin, and keep them when the supergraph changes. */
export function createSubgraphClients(options: SubgraphClientsOptions): SubgraphClients {
  const { pipelining, maxAnswerBytes, transports = {}, observe, onShared } = options
  const { share } = createSharedCalls(options.sharing ?? 'off')
  const pools = new Map<string, Pool>()
  const breakers = new Map<string, Breaker>()

  /** @param key origin and connections, made once for all calls */
  function poolOf(key: string, origin: string, connections: number): Pool {
    let pool = pools.get(key)
    if (!pool) {
      pool = new Pool(origin, { connections, pipelining, allowH2: false })
      pools.set(key, pool)
    }
    return pool
  }

  function sender(name: string, url: string): Send {
    const transport = transports[name]
    if (transport) {
      return async ({ body, headers, cancellation }, limitMs) => {
        const answer = await limited(transport(body, headers), limitMs, cancellation)
        if (isLongerThan(answer.text, maxAnswerBytes)) throw new AnswerTooLarge()
        return answer
      }
    }
    if (!URL.canParse(url)) throw new Error(`the URL of the subgraph "${name}" can't be used: ${url || 'it is empty'}`)
    const { origin, pathname, search } = new URL(url)
    const path = pathname + search
    const { connections } = options.settings(name)
    const key = `${origin} ${connections}`
    return (request, limitMs) => post(poolOf(key, origin, connections), path, request, limitMs, maxAnswerBytes)
  }

  return {
    client: (name, url, own = []) => {
      const send = sender(name, url)
      const { timeoutMs, retries: maxRetries } = options.settings(name)
      const key = breakerKey({ name, url })
      const breaker = breakers.get(key) ?? createBreaker()
      breakers.set(key, breaker)

      /** Attempts in sequence: only a query may be retried, because a mutation may have been executed. */
      async function attempt(request: SubgraphRequest): Promise<RawAnswer> {
        const started = performance.now()
        for (let retries = request.mutation ? 0 : maxRetries, wait = RETRY_MS; ; retries--, wait *= 2) {
          const began = performance.now()
          const left = timeoutMs - (began - started)
          const pause = wait * (0.5 + Math.random() / 2)
          const isLate = () => performance.now() - started + pause >= timeoutMs
          try {
            const answer = await (request.sign
              ? sendSigned(send, request, request.sign, maxRetries - retries + 1, left)
              : send(request, left))
            const isProcessed = !NOT_PROCESSED.has(answer.status)
            // The subgraph is healthy but overloaded, and says when to retry, so there is no retry now.
            const isShed = answer.status === 503 && answer.headers['retry-after'] !== undefined
            if (isProcessed || isShed || retries === 0 || isLate() || !breaker.isClosed()) {
              if (isProcessed) breaker.succeeded()
              else if (!isShed) breaker.failed(began)
              const milliseconds = performance.now() - started
              observe?.(name, isProcessed ? 'answered' : 'failed', milliseconds)
              const { status, text, headers } = answer
              return { status, text, headers, milliseconds }
            }
          } catch (error) {
            if (error instanceof Cancelled || error instanceof PluginError) {
              observe?.(name, error instanceof Cancelled ? 'cancelled' : 'refused', performance.now() - started)
              throw error
            }
            if (error instanceof AnswerTooLarge || error instanceof BadEncoding) {
              // The subgraph is available, and a retry would fail in the same way.
              breaker.succeeded()
              observe?.(name, 'failed', performance.now() - started)
              const limit = `sent an answer of more than ${maxAnswerBytes} bytes (SUBGRAPH_ANSWER_LIMIT_BYTES)`
              throw unavailable(name, error instanceof BadEncoding ? error.message : limit, error)
            }
            breaker.failed(began)
            if (error instanceof TimedOut || retries === 0 || isLate() || !breaker.isClosed()) {
              observe?.(name, 'failed', performance.now() - started)
              const what = error instanceof TimedOut ? `did not answer within ${timeoutMs} ms` : 'is not available'
              throw unavailable(name, what, error)
            }
          }
          await delay(pause)
          if (request.cancellation?.isCancelled) {
            observe?.(name, 'cancelled', performance.now() - started)
            throw new Cancelled()
          }
        }
      }

      const call: SubgraphClient = (asked) => {
        const request = own.length === 0 ? asked : { ...asked, headers: [...asked.headers, ...own] }
        if (!breaker.tries()) {
          observe?.(name, 'refused', 0)
          return Promise.reject(unavailable(name, 'is not available', new Error('It has failed too often recently.')))
        }
        if (!isTracing()) return attempt(request)
        const { span, headers } = tracedCall(name, request.mutation, request.headers)
        return endWith(span, attempt({ ...request, headers }))
      }
      const shared = share(call, () => onShared?.(name))
      return withoutHeaders(options.droppedFor?.(name), options.hasHooks ? withHooks(name, shared) : shared)
    },
    keep: (subgraphs) => {
      const origins = new Set(subgraphs.map(({ url }) => (URL.canParse(url) ? new URL(url).origin : '')))
      for (const [key, pool] of pools) {
        const [origin = ''] = key.split(' ')
        if (origins.has(origin)) continue
        // A request of the supergraph before may still call it: then it gets another pool, which the next swap closes.
        pools.delete(key)
        void pool.close()
      }
      const keys = new Set(subgraphs.map(breakerKey))
      for (const key of breakers.keys()) if (!keys.has(key)) breakers.delete(key)
    },
    close: async () => {
      await Promise.all([...pools.values()].map((pool) => pool.close()))
    },
  }
}

/** A subgraph that has moved starts anew: the failures were those of another server. */
const breakerKey = ({ name, url }: SubgraphAddress): string => `${name} ${url}`

type Send = (request: SubgraphRequest, limitMs: number) => Promise<SentAnswer>

/** Asks the plugins before each call. */
function withHooks(name: string, client: SubgraphClient): SubgraphClient {
  return async (request) => client((await request.hooks?.onSubgraphRequest(name, request)) ?? request)
}

/** Leaves headers out of each call. */
function withoutHeaders(dropped: ReadonlySet<string> | undefined, client: SubgraphClient): SubgraphClient {
  if (dropped === undefined) return client
  return (request) => client({ ...request, headers: keptHeaders(dropped, request.headers) })
}

/** Names and values in turn, without those of some names. */
export function keptHeaders(dropped: ReadonlySet<string> | undefined, headers: readonly string[]): readonly string[] {
  return dropped ? headers.filter((_, index) => !dropped.has(headers[index - (index % 2)] as string)) : headers
}

/** Sends an attempt with its signature; the time for both is limited. */
async function sendSigned(
  send: Send,
  request: SubgraphRequest,
  sign: NonNullable<SubgraphRequest['sign']>,
  attempt: number,
  limitMs: number,
): Promise<SentAnswer> {
  const began = performance.now()
  const headers = await sign(request.headers, attempt)
  const left = limitMs - (performance.now() - began)
  if (left <= 0) throw new TimedOut()
  return send({ ...request, headers }, left)
}

/** The call's span, and the headers with it as their traceparent. */
function tracedCall(
  name: string,
  mutation: boolean,
  headers: readonly string[],
): { readonly span: TracedSpan; readonly headers: readonly string[] } {
  const at = headers.lastIndexOf('traceparent')
  const span = startSpan(`subgraph ${name}`, {
    kind: 'client',
    parent: at < 0 ? undefined : headers[at + 1],
    attributes: { 'subgraph.name': name, 'graphql.operation.type': mutation ? 'mutation' : 'query' },
  })
  return {
    span,
    headers: at < 0 ? [...headers, 'traceparent', span.traceparent] : headers.with(at + 1, span.traceparent),
  }
}

function unavailable(service: string, what: string, cause?: unknown): SubgraphUnavailable {
  return new SubgraphUnavailable(service, `The "${service}" service ${what}.`, { cause })
}

class TimedOut extends Error {
  readonly code = 'GTW_ERR_SUBGRAPH_TIMEOUT'
}

/** In UTF-8. A character takes three bytes at most. */
export const isLongerThan = (text: string, bytes: number): boolean =>
  text.length > bytes || (text.length * 3 > bytes && Buffer.byteLength(text) > bytes)

function limited<T>(work: Promise<T>, limitMs: number, cancellation: Cancellation | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new TimedOut()), limitMs)
    const waiting = { abort: () => reject(new Cancelled()) }
    cancellation?.onCancel(waiting)
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer)
      cancellation?.off(waiting)
    })
  })
}

/** One POST. undici's dispatch avoids the stream and the promises that request() creates for each answer. */
function post(
  pool: Pool,
  path: string,
  { headers, body, mutation, cancellation }: SubgraphRequest,
  limitMs: number,
  maxBytes: number,
): Promise<SentAnswer> {
  return new Promise((resolve, reject) => {
    const call = new Post(resolve, reject, cancellation, limitMs, maxBytes)
    pool.dispatch({ path, method: 'POST', headers: headers as string[], body, idempotent: !mutation }, call)
  })
}

/** Receives the answer to a POST until it is complete, too late, too large, or cancelled. */
class Post implements Dispatcher.DispatchHandler, Abortable {
  readonly #resolve: (answer: SentAnswer) => void
  readonly #reject: (error: Error) => void
  readonly #cancellation: Cancellation | undefined
  readonly #maxBytes: number
  readonly #timer: NodeJS.Timeout
  readonly #chunks: Buffer[] = []
  #controller: Dispatcher.DispatchController | undefined
  #ended: Error | undefined
  #status = 0
  #headers: Returned = {}
  #received = 0

  constructor(
    resolve: (answer: SentAnswer) => void,
    reject: (error: Error) => void,
    cancellation: Cancellation | undefined,
    limitMs: number,
    maxBytes: number,
  ) {
    this.#resolve = resolve
    this.#reject = reject
    this.#cancellation = cancellation
    this.#maxBytes = maxBytes
    this.#timer = setTimeout(Post.#timeOut, limitMs, this)
    cancellation?.onCancel(this)
  }

  static #timeOut(call: Post): void {
    call.#end(new TimedOut())
  }

  abort(): void {
    this.#end(new Cancelled())
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#ended) controller.abort(this.#ended)
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: Returned): void {
    this.#status = status
    this.#headers = headers
    if (Number(headers['content-length']) > this.#maxBytes) this.#end(new AnswerTooLarge())
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#received += chunk.length
    if (this.#received > this.#maxBytes) this.#end(new AnswerTooLarge())
  }

  onResponseEnd(): void {
    this.#settle()
    const [first] = this.#chunks
    const whole = first && this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks)
    const encoding = this.#headers['content-encoding']
    if (encoding === undefined || whole.length === 0) this.#answer(whole)
    else this.#decompress(whole, String(encoding))
  }

  #answer(whole: Buffer): void {
    const answer = { status: this.#status, text: whole.toString('utf8'), headers: this.#headers }
    // Once all answers of this turn of the event loop are read: their requests then go on one after the other.
    setImmediate(this.#resolve, answer)
  }

  #decompress(whole: Buffer, encoding: string): void {
    const hasFailed = this.#status < 200 || this.#status > 299
    decompress(whole, encoding, this.#maxBytes).then(
      (text) => this.#answer(text),
      // Of a failure, the status counts: a proxy's page may come in any encoding.
      (error: Error) => (hasFailed ? this.#answer(Buffer.alloc(0)) : this.#reject(error)),
    )
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#settle()
    this.#reject(error)
  }

  #end(error: Error): void {
    this.#ended = error
    this.#controller?.abort(error)
    this.#settle()
    this.#reject(error)
  }

  #settle(): void {
    clearTimeout(this.#timer)
    this.#cancellation?.off(this)
  }
}

/**
 * Parses a subgraph's answer.
 * @param keepsDigits whether it may have numbers that must be kept exactly: see exact-numbers.ts
 * @throws SubgraphUnavailable for an answer that is not GraphQL
 */
export function readAnswer(name: string, { status, text }: SentAnswer, keepsDigits = false): SubgraphAnswer {
  let answer: unknown
  try {
    answer = keepsDigits ? parseKeepingDigits(text) : JSON.parse(text)
  } catch (error) {
    if (status < 200 || status > 299) throw unavailable(name, `answered with HTTP status ${status}`)
    throw unavailable(name, 'sent an answer that is not JSON', error)
  }
  const { data, errors } = (isObject(answer) ? answer : {}) as { data?: unknown; errors?: unknown }
  const usable =
    (data === undefined || data === null || isObject(data)) &&
    (errors === undefined || errors === null || (Array.isArray(errors) && errors.every(isError))) &&
    (data !== undefined || (Array.isArray(errors) && errors.length > 0))
  if (!usable) {
    const what =
      status < 200 || status > 299 ? `answered with HTTP status ${status}` : 'sent an answer that is not GraphQL'
    throw unavailable(name, what)
  }
  const read = answer as SubgraphAnswer
  // The type of a number in an error's extensions is unknown.
  if (read.errors?.length && !keepsDigits && mayLoseDigits(text)) {
    read.errors = (parseExactly(text) as Required<SubgraphAnswer>).errors
  }
  return read
}

const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value)
const isError = (value: unknown) => isObject(value) && typeof (value as { message?: unknown }).message === 'string'
