/**
 * What the subgraph reads off a request: its secret, who sends it and from where, and the ids that lead through the
 * logs.
 */
import { randomUUID, timingSafeEqual } from 'node:crypto'
import { Socket } from 'node:net'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { CustomerDocument } from '../../projections/customer.ts'
import { isTracing, parseTraceparent, startSpan, type TracedSpan } from '../../runtime/tracing.ts'
import { type Store, viewOf } from '../../schema/store.ts'
import { type Admission, GUEST } from '../identity/token-gate.ts'
import type { RequestContext } from './request-context.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who sends the request; undefined before that is known. */
    admission?: Admission
    /** The request's own, where traces are exported. */
    span?: TracedSpan
    /** Leads through the logs and the events; undefined before it is asked for. */
    correlationId?: string
  }
}

export interface RequestReader {
  /** Whether the request carries the secret, if there is one. */
  isAllowed(request: FastifyRequest): boolean
  /** The parent of what the request leads to: its own span, or the caller's where nothing is traced here. */
  traceparentOf(request: FastifyRequest): string | undefined
  /** Keeps who sends the request, for its context. */
  admit(request: FastifyRequest, admission: Admission): void
  contextOf(request: FastifyRequest): RequestContext
}

const MAX_USER_AGENT = 256
/** The forms that gateways and proxies use: UUIDs, ULIDs, counters with a prefix. */
const CORRELATION_ID = /^[\w.:-]{1,128}$/

/**
 * @param app ends the requests' spans
 * @param secret when set, requests are allowed only with it, and `x-forwarded-for` is believed
 */
export function createRequestReader(app: FastifyInstance, store: Store, secret: string | undefined): RequestReader {
  // Not in a WeakMap, where young objects survive until a full collection, each with its customer's document.
  app.decorateRequest('admission')
  app.decorateRequest('span')
  app.decorateRequest('correlationId')
  if (isTracing()) {
    app.addHook('onResponse', async (request, { statusCode }) => request.span?.end(statusCode >= 500))
  }

  function traceparentOf(request: FastifyRequest): string | undefined {
    const parent = parseTraceparent(request.headers.traceparent)
    if (!isTracing()) return parent
    request.span ??= startSpan('graphql', { kind: 'server', parent })
    return request.span.traceparent
  }

  return {
    isAllowed: (request) => secret === undefined || carries(request, secret),
    traceparentOf,
    admit(request, admission) {
      request.admission = admission
    },

    contextOf(request) {
      const view = viewOf(store, request.headers.store) ?? store.view
      return new ContextOfRequest(request, traceparentOf(request), view, secret !== undefined)
    },
  }
}

/** A plain query needs little of it, so what costs something is read when it is asked for. */
class ContextOfRequest implements RequestContext {
  readonly caller: RequestContext['caller']
  readonly service: RequestContext['service']
  readonly document: RequestContext['document']
  waitedMs: number | undefined
  readonly traceparent: string | undefined
  readonly view: Store['view']
  customer?: Promise<CustomerDocument>
  listed: number | undefined
  reply?: NonNullable<RequestContext['reply']>
  readonly request: FastifyRequest
  readonly hasSecret: boolean

  constructor(request: FastifyRequest, traceparent: string | undefined, view: Store['view'], hasSecret: boolean) {
    const { caller, service, customer, waitedMs } = request.admission ?? GUEST
    this.caller = caller
    this.service = service
    this.document = customer
    this.waitedMs = waitedMs
    this.traceparent = traceparent
    this.view = view
    this.request = request
    this.hasSecret = hasSecret
  }

  get client(): RequestContext['client'] {
    const userAgent = text(this.request.headers['user-agent'])?.slice(0, MAX_USER_AGENT)
    return { address: clientAddress(this.request, this.hasSecret), userAgent }
  }

  get correlationId(): string {
    this.request.correlationId ??= correlationIdOf(this.request.headers['x-correlation-id'])
    return this.request.correlationId
  }

  get idempotencyKey(): string | undefined {
    return text(this.request.headers['idempotency-key'])
  }

  get captcha(): string | undefined {
    const { headers } = this.request
    return text(headers['x-recaptcha']) ?? text(headers['x-captcha'])
  }

  isGone(): boolean {
    return isGone(this.request)
  }
}

/** Whether the client has disconnected before the answer. */
export const isGone = ({ raw }: FastifyRequest): boolean => raw.destroyed && raw.socket?.destroyed === true

/**
 * The client address that the gateway reports, if it is certain that the gateway sent it: by the secret (a request
 * without it is refused), or because the request comes from this process. Otherwise the address of the peer.
 */
function clientAddress({ headers, ip, raw }: FastifyRequest, hasSecret: boolean): string {
  const isTrusted = hasSecret || !(raw.socket instanceof Socket)
  const [forwarded] = isTrusted ? (text(headers['x-forwarded-for'])?.split(',') ?? []) : []
  return forwarded ?? ip
}

function carries(request: FastifyRequest, secret: string): boolean {
  const given = Buffer.from(text(request.headers['x-subgraph-secret']) ?? '')
  const expected = Buffer.from(secret)
  return given.length === expected.length && timingSafeEqual(given, expected)
}

/**
 * The caller's correlation id if it has the form of one. It is stored in every event in clear text, so it must be short
 * and can't be arbitrary text.
 */
function correlationIdOf(header: string | string[] | undefined): string {
  return typeof header === 'string' && CORRELATION_ID.test(header) ? header : randomUUID()
}

function text(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' && header !== '' ? header : undefined
}
