/** HTTP calls to subgraphs, over connections that stay open. */
import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import { type Dispatcher, Pool } from 'undici'
import { endWith, isTracing, startSpan, type TracedSpan } from '../schema/tracing.ts'

/** A subgraph's answer, as it came; nothing in it is trusted but its outline. */
export type SubgraphAnswer = {
  data?: Record<string, unknown> | null
  errors?: GraphQLFormattedError[]
  extensions?: Record<string, unknown>
}

export type SubgraphRequest = {
  /** JSON with `query`, and where there are some `variables` and `operationName`. */
  readonly body: string
  /** Header names and values in turn, as `subgraphHeaders` makes them. */
  readonly headers: readonly string[]
  /** A mutation is never sent while another answer is awaited on its connection: it could not tell whether it was done. */
  readonly mutation: boolean
}

/** What came back, unread: calls that are the same share it, and each reads its own copy. */
export type RawAnswer = { readonly status: number; readonly text: string }

/** Calls one subgraph; {@link readAnswer} reads what came. @throws SubgraphUnavailable when nothing came */
export type SubgraphClient = (request: SubgraphRequest) => Promise<RawAnswer>

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

export type SubgraphClients = {
  /** @throws Error when the URL is none */
  readonly client: (name: string, url: string) => SubgraphClient
  /** Waits for the answers that are under way, then closes the connections. */
  readonly close: () => Promise<void>
}

export type SubgraphClientsOptions = {
  /** How long a subgraph may take for its whole answer, in milliseconds. */
  readonly timeoutMs: number
  /** How many connections are kept to one origin at most. */
  readonly connections: number
  /** How many queries may be under way on one connection. */
  readonly pipelining: number
}

/** Clients share the connections to one origin, and keep them when the supergraph changes. */
export function createSubgraphClients({ timeoutMs, connections, pipelining }: SubgraphClientsOptions): SubgraphClients {
  const pools = new Map<string, Pool>()

  function poolOf(origin: string): Pool {
    let pool = pools.get(origin)
    if (!pool) {
      pool = new Pool(origin, { connections, pipelining, allowH2: false })
      pools.set(origin, pool)
    }
    return pool
  }

  return {
    client: (name, url) => {
      if (!URL.canParse(url))
        throw new Error(`the URL of the subgraph "${name}" can't be used: ${url || 'it is empty'}`)
      const { origin, pathname, search } = new URL(url)
      const path = pathname + search
      return ({ body, headers, mutation }) => {
        const traced = isTracing() ? tracedCall(name, mutation, headers) : undefined
        const sent = (traced?.headers ?? headers) as string[]
        const call = post(poolOf(origin), path, sent, body, !mutation, timeoutMs)
        return (traced ? endWith(traced.span, call) : call).catch((error: Error) => {
          const what = error instanceof TimedOut ? `did not answer within ${timeoutMs} ms` : 'is not available'
          throw unavailable(name, what, error)
        })
      }
    },
    close: async () => {
      await Promise.all([...pools.values()].map((pool) => pool.close()))
    },
  }
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

class TimedOut extends Error {}

/** One POST. undici's dispatch spares the stream and the promises that its request() makes for each answer. */
function post(
  pool: Pool,
  path: string,
  headers: string[],
  body: string,
  idempotent: boolean,
  timeoutMs: number,
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController | undefined
    let expired: TimedOut | undefined
    let status = 0
    const chunks: Buffer[] = []
    const timer = setTimeout(() => {
      expired = new TimedOut()
      controller?.abort(expired)
      reject(expired)
    }, timeoutMs)
    pool.dispatch(
      { path, method: 'POST', headers, body, idempotent },
      {
        onRequestStart: (started) => {
          controller = started
          if (expired) started.abort(expired)
        },
        onResponseStart: (_controller, statusCode) => {
          status = statusCode
        },
        onResponseData: (_controller, chunk) => {
          chunks.push(chunk)
        },
        onResponseEnd: () => {
          clearTimeout(timer)
          const [first] = chunks
          const whole = first && chunks.length === 1 ? first : Buffer.concat(chunks)
          resolve({ status, text: whole.toString('utf8') })
        },
        onResponseError: (_controller, error) => {
          clearTimeout(timer)
          reject(error)
        },
      },
    )
  })
}

/** A subgraph's answer. @throws SubgraphUnavailable for what is not GraphQL */
export function readAnswer(name: string, { status, text }: RawAnswer): SubgraphAnswer {
  let answer: unknown
  try {
    answer = JSON.parse(text)
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
  return answer as SubgraphAnswer
}

const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value)
const isError = (value: unknown) => isObject(value) && typeof (value as { message?: unknown }).message === 'string'
