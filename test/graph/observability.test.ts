/** What operators see: metrics by OTLP, and log lines with their trace, their process, their operation and their outcome. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { openEventStore } from '../../eventstore/open-event-store.ts'
import { createMetrics } from '../../gateway/metrics.ts'
import { loggerOptions } from '../../runtime/log.ts'
import { startMetricsExport } from '../../runtime/metrics-export.ts'
import { logOutages } from '../../runtime/outages.ts'
import { startTracing, traceIds } from '../../runtime/tracing.ts'
import { VERSION } from '../../runtime/version.ts'
import { createMetrics as createSubgraphMetrics } from '../../subgraph/metrics.ts'
import { start as startSubscriptions } from '../gateway/streaming-subgraph.ts'
import { answer, compose, post, serve, startGateway } from '../gateway/support.ts'
import { startClock } from '../support/clock.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import { until } from '../support/until.ts'

const OTEL = {
  OTEL_EXPORTER_OTLP_ENDPOINT: undefined,
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: undefined,
  OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: undefined,
  OTEL_METRICS_EXPORTER: 'otlp',
  OTEL_METRIC_EXPORT_INTERVAL: 60_000,
  OTEL_SERVICE_NAME: undefined,
} as const

interface Point {
  readonly attributes: readonly { readonly key: string; readonly value: { readonly stringValue?: string } }[]
  readonly asDouble?: number
  readonly count?: number
  readonly sum?: number
  readonly bucketCounts?: readonly number[]
  readonly explicitBounds?: readonly number[]
}

/** An OTLP collector that keeps what it gets. */
async function startCollector(t: Test) {
  const received: { url: string; body: string }[] = []
  let status = 200
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    received.push({ url: request.url ?? '', body })
    response.writeHead(status, { 'content-type': 'application/json' }).end('{}')
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => void server.close())
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    refuse: (isRefusing: boolean) => {
      status = isRefusing ? 400 : 200
    },
  }
}

/** A log that keeps its lines. */
function createLog() {
  const lines: { level: string; message: string; [detail: string]: unknown }[] = []
  const at = (level: string) => (details: object, message: string) => void lines.push({ level, message, ...details })
  return { lines, log: { info: at('info'), warn: at('warn'), error: at('error') } }
}

t.test('metrics by OTLP are those of /metrics, each of them once', async (t) => {
  const collector = await startCollector(t)
  const url = await serve(t, ({ response }) => answer(response, { hello: 'x' }))
  const metrics = createMetrics()
  const subgraph = createSubgraphMetrics()
  subgraph.reads.inc({ source: 'fold' }, 3)
  const supergraph = compose(t, { main: { sdl: 'type Query { hello: String }', url } })
  const gateway = await startGateway(t, { supergraph, metrics })
  const configuration = { ...OTEL, OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/` }
  const { log, lines } = createLog()
  const exporting = await startMetricsExport(configuration, 'test', [metrics.registry, subgraph.registry], log)
  for (let i = 0; i < 3; i++) await post(gateway.url, { query: 'query Greet { hello }' })
  const text = await metrics.text()
  await exporting.close()

  t.same(lines, [])
  t.equal(collector.received.length, 1, 'the last values are exported at the end')
  t.equal(collector.received[0]?.url, '/v1/metrics')
  const [{ resource, scopeMetrics }] = JSON.parse(collector.received[0]?.body ?? '{}').resourceMetrics
  t.match(resource.attributes, [
    { key: 'service.name', value: { stringValue: 'test' } },
    { key: 'service.version', value: { stringValue: VERSION } },
  ])
  const found = scopeMetrics.flatMap((scope: { metrics: { name: string }[] }) => scope.metrics)
  const names = found.map(({ name }: { name: string }) => name)
  t.equal(new Set(names).size, names.length, 'none twice')
  t.ok(names.includes('process_cpu_seconds_total'))
  const metric = (name: string) => found.find((each: { name: string }) => each.name === name)
  const labelsOf = ({ attributes }: Point) =>
    Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue]))
  const { sum } = metric('gateway_requests_total')
  t.match(sum, { isMonotonic: true, aggregationTemporality: 2 })
  t.match(sum.dataPoints, [{ asDouble: 3 }])
  t.same(labelsOf(sum.dataPoints[0]), { operation: 'Greet', type: 'query', outcome: 'success' })
  t.equal(metric('customer_reads_total').sum.dataPoints[0].asDouble, 3)
  t.equal(metric('gateway_supergraph_info').gauge.dataPoints[0].asDouble, 1)

  const [point]: Point[] = metric('gateway_subgraph_duration_seconds').histogram.dataPoints
  t.same(point && labelsOf(point), { service: 'main', outcome: 'answered' })
  t.equal(point?.count, 3)
  t.equal(
    point?.bucketCounts?.reduce((a, b) => a + b),
    3,
  )
  let total = 0
  for (const [index, bound] of (point?.explicitBounds ?? []).entries()) {
    total += point?.bucketCounts?.[index] ?? 0
    const series = `gateway_subgraph_duration_seconds_bucket{le="${bound}",service="main",outcome="answered"} ${total}`
    t.ok(text.includes(series), series)
  }
})

t.test('metrics go where they are sent to, again and again, or nowhere', async (t) => {
  const collector = await startCollector(t)
  const { registry } = createMetrics()
  const { log, lines } = createLog()
  const start = (settings: Partial<Parameters<typeof startMetricsExport>[0]>) =>
    startMetricsExport({ ...OTEL, ...settings }, 'test', [registry], log)
  await (await start({})).close()
  await (await start({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_METRICS_EXPORTER: 'none' })).close()
  t.equal(collector.received.length, 0)
  const exporting = await start({
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: `${collector.url}/own/path`,
    OTEL_METRIC_EXPORT_INTERVAL: 100,
  })
  await until('two exports', () => collector.received.length >= 2)
  t.equal(collector.received.at(-1)?.url, '/own/path')
  collector.refuse(true)
  await until('it is logged', () => lines.length > 0)
  const before = collector.received.length
  await until('two more', () => collector.received.length > before + 1)
  t.match(lines, [{ level: 'warn', message: 'Metrics cannot be exported' }])
  collector.refuse(false)
  await until('its end is logged', () => lines.length > 1)
  t.match(lines.slice(1), [{ level: 'info', message: 'Metrics are exported again' }])
  await exporting.close()
  const away = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' })
  const elapsed = startClock(t)
  await away.close()
  t.ok(elapsed() < 5_000, 'an endpoint that is away does not hold up the end')
})

t.test("every line of a request has its trace; the access log's has its operation, and never its data", async (t) => {
  const lines: string[] = []
  const options = loggerOptions({ LOG_LEVEL: 'info', OTEL_SERVICE_NAME: undefined }, 'gateway')
  const logger = { ...options, stream: { write: (line: string) => void lines.push(line) } }
  const url = await serve(t, ({ query, response }) => {
    if (query.includes('broken')) response.writeHead(500).end('hunter2')
    else if (query.includes('refused')) {
      const errors = [{ message: 'hunter2', extensions: { code: 'OUT_OF_STOCK' } }]
      response.end(JSON.stringify({ data: { refused: null }, errors }))
    } else if (query.includes('odd')) {
      response.end(
        JSON.stringify({ data: { odd: null }, errors: [{ message: 'x', extensions: { code: 'ann@x.example' } }] }),
      )
    } else answer(response, { hello: 'hunter2' })
  })
  const sdl = 'type Query { hello(x: String): String broken: String refused: String odd: String }'
  const { url: gateway } = await startGateway(t, { supergraph: compose(t, { main: { sdl, url } }), logger })
  const trace = 'a'.repeat(32)
  const traceparent = `00-${trace}-00f067aa0ba902b7-01`
  const send = async (query: string, headers = { traceparent }) => {
    lines.length = 0
    await post(gateway, { query, variables: { x: 'hunter2' } }, headers)
    return lines.map((line) => JSON.parse(line))
  }
  const ids = { trace_id: trace, span_id: '00f067aa0ba902b7', trace_flags: '01' }
  const process = { 'service.name': 'gateway', 'service.version': VERSION }
  const [named] = await send('query Greet($x: String) { hello(x: $x) }')
  t.match(named, { ...ids, ...process, operation: 'Greet', hash: /^[0-9a-f]{64}$/, outcome: 'success' })
  t.notOk('code' in named)
  const [first] = await send('query Greet { hello(x: "hunter2") }')
  const [second] = await send('query   Greet { hello(x: "hunter3") } # again')
  t.equal(first.hash, second.hash, 'the hash is of the operation, not of its values')
  t.not(first.hash, named.hash)
  t.match(await send('{ broken }'), [
    { ...ids, ...process, service: 'main' },
    { ...ids, outcome: 'errors', code: 'SERVICE_UNAVAILABLE' },
  ])
  t.match(await send('{ refused }'), [{ ...ids, outcome: 'errors', code: 'OUT_OF_STOCK' }])
  const [odd] = await send('{ odd }')
  t.notOk('code' in odd, 'a code that is not one may be anything')
  t.match(await send('{ nothing }'), [{ ...ids, outcome: 'rejected', code: 'GRAPHQL_VALIDATION_FAILED' }])
  lines.length = 0
  await post(gateway, { query: 7 }, { traceparent })
  t.match(JSON.parse(lines[0] ?? '{}'), { ...ids, outcome: 'rejected', code: 'BAD_REQUEST', msg: 'request' })
  const [untraced] = await send('{ hello }', { traceparent: 'hunter2' })
  t.notOk('trace_id' in untraced)

  const collector = await startCollector(t)
  const tracing = await startTracing({ ...OTEL, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }, 'gateway')
  const [warned, traced] = await send('{ broken }')
  await tracing.close()
  const spans = JSON.parse(collector.received[0]?.body ?? '{}').resourceSpans[0].scopeSpans[0].spans
  const { spanId } = spans.find(({ name }: { name: string }) => name === 'graphql')
  t.match(
    [warned, traced],
    [
      { trace_id: trace, span_id: spanId },
      { trace_id: trace, span_id: spanId },
    ],
  )
  t.equal(traceIds('00-0-0-01'), undefined)
})

t.test('an event store that is not there is logged at once, and so is its return', async (t) => {
  const server = await startEventStoreServer(t, {})
  await server.stop()
  const eventStore = await openEventStore(server.url)
  const { log, lines } = createLog()
  const stop = logOutages(eventStore, log, { away: 'it is away', back: 'it is back' })
  await until('it is logged', () => lines.length > 0)
  t.match(lines, [{ level: 'warn', message: 'it is away', reason: /nothing listens at/ }])
  await server.start()
  await until('its end is logged', () => lines.length > 1)
  t.match(lines.slice(1), [{ level: 'info', message: 'it is back' }])
  stop()
  await eventStore.close()
})

t.test(
  'the end of a subscription is a line of the log, with the hash of the operation and the ids of the trace',
  async (t) => {
    const lines: string[] = []
    const stream = { write: (line: string) => lines.push(line) }
    const { url, topic } = await startSubscriptions(t, 'sse', { logger: { level: 'info', stream } })
    const trace = '0af7651916cd43dd8448eb211c80319c'
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'text/event-stream',
        traceparent: `00-${trace}-b7ad6b7169203331-01`,
      },
      body: JSON.stringify({ query: 'subscription Mine { orderChanged { id } }' }),
    })
    await until('one listens', () => topic.size === 1)
    await response.body?.cancel()
    await until('it is logged', () => lines.some((line) => line.includes('"msg":"subscription"')))
    t.match(JSON.parse(lines.find((line) => line.includes('"msg":"subscription"')) ?? ''), {
      operation: 'Mine',
      type: 'subscription',
      hash: /^[0-9a-f]{64}$/,
      transport: 'sse',
      outcome: 'client',
      events: 0,
      trace_id: trace,
      span_id: 'b7ad6b7169203331',
    })
  },
)
