/**
 * OpenTelemetry traces. The context is passed on explicitly as a `traceparent` (W3C trace context), also through
 * events, so there is no ambient context. Without an endpoint the SDK is not loaded and no spans are created.
 */
import {
  type Attributes,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import type { Configuration } from './configuration.ts'
import type { Running } from './process.ts'
import { VERSION } from './version.ts'

/** How long a process that ends waits for the endpoint to accept its last spans, in milliseconds. */
const FLUSH_LIMIT_MS = 2_000

let tracer: Tracer | undefined

/** Whether spans are created. Check it before doing any work for one. */
export const isTracing = (): boolean => tracer !== undefined

/** A traced piece of work. */
export interface TracedSpan {
  /** The traceparent that names this span as the parent. */
  readonly traceparent: string
  /** @param failed whether the work has failed */
  end(failed?: boolean): void
}

export interface SpanOptions {
  readonly kind?: 'server' | 'client' | 'consumer' | 'internal'
  /** The traceparent of the parent; a malformed one is ignored. */
  readonly parent?: string | undefined
  /** Other spans that led to this one. */
  readonly links?: readonly string[]
  /** Never personal data. */
  readonly attributes?: Attributes
  /** Default: now. */
  readonly startTime?: Date
}

const NONE: TracedSpan = { traceparent: '', end() {} }
const KINDS = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  consumer: SpanKind.CONSUMER,
  internal: SpanKind.INTERNAL,
} as const

/** Begins a span. It does nothing if tracing is off. */
export function startSpan(
  name: string,
  { kind = 'internal', parent, links = [], attributes, startTime }: SpanOptions = {},
): TracedSpan {
  if (tracer === undefined) return NONE
  const parentContext = spanContext(parent)
  const span = tracer.startSpan(
    name,
    {
      kind: KINDS[kind],
      links: links.flatMap((link) => {
        const context = spanContext(link)
        return context ? [{ context }] : []
      }),
      ...(attributes && { attributes }),
      ...(startTime && { startTime }),
    },
    parentContext ? trace.setSpanContext(ROOT_CONTEXT, parentContext) : ROOT_CONTEXT,
  )
  return {
    traceparent: traceparentOf(span),
    end(failed = false) {
      if (failed) span.setStatus({ code: SpanStatusCode.ERROR })
      span.end()
    },
  }
}

/** Ends the span when the work settles, as failed if the work is rejected. @returns the work */
export function endWith<T>(span: TracedSpan, work: Promise<T>): Promise<T> {
  if (span !== NONE)
    work.then(
      () => span.end(),
      () => span.end(true),
    )
  return work
}

/** Whether a traceparent's spans are recorded. */
export function isSampled(traceparent: string | undefined): boolean {
  return ((spanContext(traceparent)?.traceFlags ?? 0) & 1) === 1
}

function traceparentOf(span: Span): string {
  const { traceId, spanId, traceFlags } = span.spanContext()
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
}

const FORM = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/

/**
 * The traceparent of a request if it is valid W3C Trace Context. One of a later version is passed on as version 00, the
 * part that we understand. Anything else is untrusted input and is dropped.
 * @returns 55 characters, or undefined
 */
export function parseTraceparent(header: unknown): string | undefined {
  if (typeof header !== 'string' || !FORM.test(header)) return undefined
  return header.startsWith('00') ? header : `00${header.slice(2)}`
}

/** A request's trace in a log line, by OpenTelemetry's names. */
export interface TraceIds {
  readonly trace_id: string
  readonly span_id: string
  readonly trace_flags: string
}

/**
 * The ids that link a log line to its trace.
 * @param traceparent of the span that the line belongs to, or the one that came with the request
 * @returns undefined if it is not valid; spreading that adds nothing
 */
export function traceIds(traceparent: unknown): TraceIds | undefined {
  const parts = typeof traceparent === 'string' ? FORM.exec(traceparent) : null
  if (parts === null) return undefined
  const [, trace_id = '', span_id = '', trace_flags = ''] = parts
  return { trace_id, span_id, trace_flags }
}

function spanContext(traceparent: string | undefined): SpanContext | undefined {
  const parts = traceparent === undefined ? null : FORM.exec(traceparent)
  if (parts === null) return undefined
  const [, traceId = '', spanId = '', flags = ''] = parts
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true }
}

/**
 * Exports spans to the configured OTLP endpoint (HTTP, JSON), if there is one.
 * @param service the process's name in the traces, unless OTEL_SERVICE_NAME gives another
 * @returns a handle whose close() exports the rest, within two seconds
 */
export async function startTracing(
  configuration: Pick<
    Configuration,
    'OTEL_EXPORTER_OTLP_ENDPOINT' | 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT' | 'OTEL_SERVICE_NAME'
  >,
  service: string,
): Promise<Running> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: base, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: traces } = configuration
  const url = traces ?? (base === undefined ? undefined : `${base.replace(/\/+$/, '')}/v1/traces`)
  if (url === undefined) return { close: async () => {} }
  const [{ NodeTracerProvider, BatchSpanProcessor }, { OTLPTraceExporter }, { resourceFromAttributes }] =
    await Promise.all([
      import('@opentelemetry/sdk-trace-node'),
      import('@opentelemetry/exporter-trace-otlp-http'),
      import('@opentelemetry/resources'),
    ])
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({
      'service.name': configuration.OTEL_SERVICE_NAME ?? service,
      'service.version': VERSION,
    }),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url }), { scheduledDelayMillis: 1_000 })],
  })
  tracer = provider.getTracer('customer-subgraph')
  return {
    async close() {
      tracer = undefined
      // The SDK would try for ten seconds, which is the whole shutdown time of a process.
      let timer: NodeJS.Timeout | undefined
      const limit = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, FLUSH_LIMIT_MS)
      })
      await Promise.race([provider.shutdown().catch(() => {}), limit])
      clearTimeout(timer)
    },
  }
}
