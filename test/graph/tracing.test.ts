/** Traces from the gateway through the subgraph and the event into the projection, received as a collector receives them. */

import { createServer } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { RecordedEvent } from '../../eventstore/port.ts'
import { traced } from '../../projections/worker/traced-observer.ts'
import { isTracing, startSpan, startTracing } from '../../runtime/tracing.ts'
import type { EventMetadata } from '../../schema/events.ts'
import { startClock } from '../support/clock.ts'
import { client, openTestLog, signUp, temporaryFolder } from '../support/graph.ts'
import { freePort } from '../support/ports.ts'
import { startProcess, untilReady } from '../support/processes.ts'
import { until } from '../support/until.ts'

interface ReceivedSpan {
  readonly service: string
  readonly name: string
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly links?: readonly { readonly traceId: string; readonly spanId: string }[]
  readonly status?: { readonly code?: number }
  readonly attributes?: readonly { readonly key: string; readonly value: { readonly stringValue?: string } }[]
}

const FAILED = 2

/** An OTLP/HTTP collector that keeps what it is sent. */
async function startCollector(t: Test) {
  const spans: ReceivedSpan[] = []
  const bodies: string[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    bodies.push(body)
    for (const { resource, scopeSpans } of JSON.parse(body).resourceSpans ?? []) {
      const service = resource.attributes.find(({ key }: { key: string }) => key === 'service.name').value.stringValue
      for (const { spans: some } of scopeSpans) for (const span of some) spans.push({ service, ...span })
    }
    response.setHeader('content-type', 'application/json').end('{}')
  })
  const port = await freePort()
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  return { url: `http://127.0.0.1:${port}`, spans, bodies }
}

async function startService(t: Test, env: Record<string, string>) {
  const folder = await temporaryFolder(t)
  const [gatewayPort, subgraphPort, projectionsPort] = [await freePort(), await freePort(), await freePort()]
  const subgraph = startProcess(t, 'subgraph', folder, { ...env, SUBGRAPH_PORT: String(subgraphPort) })
  await untilReady(subgraph, `http://127.0.0.1:${subgraphPort}/readyz`)
  const projections = startProcess(t, 'projections', folder, {
    ...env,
    PROJECTIONS_PORT: String(projectionsPort),
  })
  const gateway = startProcess(t, 'gateway', folder, {
    ...env,
    GATEWAY_PORT: String(gatewayPort),
    SUPERGRAPH: join(import.meta.dirname, '../../schema/supergraph.graphql'),
    SUBGRAPH_URL_CUSTOMERS: `http://127.0.0.1:${subgraphPort}/graphql`,
  })
  await untilReady(gateway, `http://127.0.0.1:${gatewayPort}/readyz`)
  await untilReady(projections, `http://127.0.0.1:${projectionsPort}/readyz`)
  return {
    folder,
    processes: [gateway, subgraph, projections],
    send: client(`http://127.0.0.1:${gatewayPort}/graphql`),
  }
}

/** Has a process print what it loads of the SDK. */
const LOADED = `import { registerHooks } from 'node:module'
  registerHooks({ resolve(specifier, context, next) {
    if (/@opentelemetry\\/(sdk-(trace-node|metrics)|exporter-(trace|metrics)-otlp-http)/.test(specifier)) console.log('LOADED ' + specifier)
    return next(specifier, context)
  } })`
const TELLING = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(LOADED)}` }

t.test('one trace from the gateway into the document', async (t) => {
  const collector = await startCollector(t)
  const { folder, processes, send } = await startService(t, {
    ...TELLING,
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
  })
  const { id, token, email } = await signUp(send)
  const traceId = 'abcdef0123456789abcdef0123456789'
  const traceparent = `00-${traceId}-00f067aa0ba902b7-01`
  await send('mutation { updateCustomer(input: { firstname: "Secretname" }) { customer { firstname } } }', {
    token,
    headers: { traceparent },
  })
  await send('{ customer { firstname } }', { token, headers: { traceparent } })
  const find = (service: string, name: string) =>
    collector.spans.find((span) => span.traceId === traceId && span.service === service && span.name === name)
  await until('it is projected', () => find('projections', 'project CustomerDetailsChanged'))
  const awayId = 'b'.repeat(32)
  for (const started of processes.toReversed()) {
    const isGateway = started === processes[0]
    if (isGateway) {
      // The subgraph has ended.
      const headers = { traceparent: `00-${awayId}-00f067aa0ba902b7-01` }
      const { errors } = await send('{ customer { email } }', { headers })
      t.equal(errors?.[0].extensions.code, 'SERVICE_UNAVAILABLE')
    }
    t.equal(await started.end('SIGTERM'), 0)
    t.match(started.output(), 'LOADED')
  }
  const isAway = ({ traceId }: ReceivedSpan) => traceId === awayId
  t.match(
    collector.spans.filter(isAway),
    [
      { name: 'graphql.plan' },
      { service: 'gateway', name: 'subgraph customers', status: { code: FAILED } },
      { name: 'graphql' },
    ],
    'a call of a subgraph that is away is a failed span',
  )

  const entry = find('gateway', 'graphql')
  const call = find('gateway', 'subgraph customers')
  const request = find('subgraph', 'graphql')
  const append = find('subgraph', 'append customer')
  const projected = find('projections', 'project CustomerDetailsChanged')
  t.equal(entry?.parentSpanId, '00f067aa0ba902b7', "the client's span is the first")
  t.equal(find('gateway', 'graphql.plan')?.parentSpanId, entry?.spanId)
  t.equal(call?.parentSpanId, entry?.spanId)
  t.match(call?.attributes, [
    { key: 'subgraph.name', value: { stringValue: 'customers' } },
    { key: 'graphql.operation.type', value: { stringValue: 'mutation' } },
  ])
  t.equal(request?.parentSpanId, call?.spanId)
  t.equal(append?.parentSpanId, request?.spanId)
  t.equal(projected?.parentSpanId, request?.spanId)
  const queried = collector.spans.filter(({ name, traceId: id }) => name === 'graphql' && id === traceId)
  const read = find('subgraph', 'read document')
  t.ok(read && queried.some(({ spanId, service }) => service === 'subgraph' && spanId === read.parentSpanId))
  t.notOk(collector.spans.some((span) => !isAway(span) && span.status?.code === FAILED))
  const batch = collector.spans.find(
    ({ name, links = [] }) => name === 'apply batch' && links.some((link) => link.traceId === traceId),
  )
  t.equal(batch?.service, 'projections')

  const eventStore = await openTestLog(t, folder)
  let metadata: Partial<EventMetadata> = {}
  for await (const event of eventStore.readStream(`customer-${id}`)) metadata = event.metadata as Partial<EventMetadata>
  t.equal(metadata.traceparent, `00-${traceId}-${request?.spanId}-01`, 'the event tells what led to it')
  const told = collector.bodies.join()
  for (const name of ['gateway_requests_total', 'customer_reads_total', 'projection_events_total']) {
    t.match(told, name, 'metrics are exported, too')
  }
  for (const personal of [email, 'Secretname', token, 'Str0ng-pass']) t.notMatch(told, personal)
})

t.test('without an endpoint nothing of the SDK is loaded, and a traceparent goes through as it came', async (t) => {
  const { folder, processes, send } = await startService(t, TELLING)
  const { id, token } = await signUp(send)
  const traceparent = '00-abcdef0123456789abcdef0123456789-00f067aa0ba902b7-01'
  await send('mutation { updateCustomer(input: { firstname: "Bea" }) { customer { id } } }', {
    token,
    headers: { traceparent },
  })
  for (const started of processes) {
    await started.end('SIGTERM')
    t.notMatch(started.output(), 'LOADED')
  }
  const eventStore = await openTestLog(t, folder)
  let metadata: Partial<EventMetadata> = {}
  for await (const event of eventStore.readStream(`customer-${id}`)) metadata = event.metadata as Partial<EventMetadata>
  t.equal(metadata.traceparent, traceparent)
})

const NOWHERE = {
  OTEL_EXPORTER_OTLP_ENDPOINT: undefined,
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: undefined,
  OTEL_SERVICE_NAME: undefined,
}

t.test('events of long ago, which fill a read model again, are in no trace', async (t) => {
  const collector = await startCollector(t)
  const settings = {
    ...NOWHERE,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/v1/traces`,
    OTEL_SERVICE_NAME: 'filler',
  }
  const tracing = await startTracing(settings, 'test')
  const event = (revision: number, ageMs: number, metadata: unknown) =>
    ({
      type: 'NewsletterSubscribed',
      stream: 'customer-1',
      revision,
      created: new Date(Date.now() - ageMs),
      metadata,
    }) as RecordedEvent
  const traceparent = `00-${'a'.repeat(32)}-00f067aa0ba902b7-01`
  const unsampled = `00-${'b'.repeat(32)}-00f067aa0ba902b7-00`
  let told = 0
  const observer = traced({ applied: () => told++ })
  observer.applied?.([event(0, 3_600_000, { traceparent })], true, false)
  observer.applied?.([event(1, 0, null), event(2, 0, 'not JSON'), event(3, 0, { traceparent: 7 })], true, false)
  observer.applied?.([event(4, 0, { traceparent: unsampled })], true, false)
  observer.applied?.([event(5, 3_600_000, { traceparent }), event(6, 1_000, { traceparent })], true, false)
  await tracing.close()
  t.equal(told, 4, 'the observer itself is told of all')
  t.match(collector.spans, [
    { service: 'filler', name: 'apply batch', links: [{ traceId: 'a'.repeat(32), spanId: '00f067aa0ba902b7' }] },
    { name: 'project NewsletterSubscribed', traceId: 'a'.repeat(32), parentSpanId: '00f067aa0ba902b7' },
  ])
  t.equal(collector.spans.length, 2)
})

t.test('a collector that is away or does not answer does not hold up the end', async (t) => {
  const silent = createTcpServer(() => {})
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void silent.close())
  const { port } = silent.address() as { port: number }
  for (const each of [1, port]) {
    const url = `http://127.0.0.1:${each}`
    const tracing = await startTracing({ ...NOWHERE, OTEL_EXPORTER_OTLP_ENDPOINT: url }, 'test')
    startSpan('lost').end()
    const elapsed = startClock(t)
    await tracing.close()
    t.ok(elapsed() < 4_000, `${elapsed()} ms`)
  }
})

t.test('spans', async (t) => {
  t.equal(isTracing(), false)
  t.equal(startSpan('nothing').traceparent, '')
  await (await startTracing(NOWHERE, 'test')).close()
  t.equal(isTracing(), false)
  const tracing = await startTracing({ ...NOWHERE, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' }, 'test')
  t.equal(isTracing(), true)
  for (const parent of [
    '',
    'x',
    '00-0-0-01',
    `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
    `ff-${'a'.repeat(32)}-00f067aa0ba902b7-01`,
  ]) {
    const span = startSpan('a root', { parent })
    t.match(span.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
    t.notMatch(span.traceparent, 'a'.repeat(32))
    span.end()
  }
  const unsampled = startSpan('not recorded', { parent: `00-${'a'.repeat(32)}-00f067aa0ba902b7-00` })
  t.match(unsampled.traceparent, /^00-a{32}-[0-9a-f]{16}-00$/, 'what the client does not sample is not sampled')
  await tracing.close()
  t.equal(isTracing(), false)
})
