/** What ports tell in production: the schema, the metrics, and to which pages of other sites. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadGatewayConfiguration } from '../../gateway/configuration.ts'
import { buildGateway } from '../../gateway/server.ts'
import { injector, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { freePort } from '../support/ports.ts'
import { startProcess, untilReady } from '../support/processes.ts'

const SECRET = 'the secret of the subgraph'
const supergraph = join(import.meta.dirname, '../../schema/supergraph.graphql')

const INTROSPECTION = [
  '{ __schema { queryType { name } } }',
  '{ __type(name: "Customer") { name } }',
  'query Q { a: __schema { types { name } } countries { id } }',
  'query Q { ...F } fragment F on Query { ... on Query { __schema { queryType { name } } } }',
]
const SDL = ['{ _service { sdl } }', '{ x: _service { sdl } }', '{ ...F } fragment F on Query { _service { sdl } }']

t.test('the subgraph: no introspection in production, and the SDL only for who has the secret', async (t) => {
  const open = await startSubgraph(t, { introspection: false, projection: false })
  const guarded = await startSubgraph(t, { introspection: false, projection: false, secret: SECRET })
  const development = await startSubgraph(t, { projection: false })
  const headers = { 'x-subgraph-secret': SECRET }
  /** As a request of any kind: traced ones go another way through the subgraph. */
  for (const more of [{}, { 'apollo-federation-include-trace': 'ftv1' }] as Record<string, string>[]) {
    for (const query of INTROSPECTION) {
      for (const [name, answer] of Object.entries({
        open: await open.send(query, { headers: more }),
        guarded: await guarded.send(query, { headers: { ...headers, ...more } }),
      })) {
        t.match(answer.errors?.[0].message, /introspection/i, `${name}: ${query}`)
        t.notOk(answer.data)
      }
      t.equal((await development.send(query, { headers: more })).errors, undefined)
    }
    for (const query of SDL) {
      t.match((await open.send(query, { headers: more })).errors, [{ message: /secret/ }], query)
      t.match((await guarded.send(query, { headers: more })).errors, [{ extensions: { code: 'FORBIDDEN' } }])
      t.equal((await guarded.send(query, { headers: { ...headers, ...more } })).errors, undefined)
      t.equal((await development.send(query, { headers: more })).errors, undefined)
    }
    t.equal((await open.send('{ __typename countries { __typename id } }', { headers: more })).errors, undefined)
  }
  const get = await open.app.inject({
    method: 'GET',
    url: '/graphql',
    query: { query: '{ __schema { queryType { name } } }' },
  })
  t.match(get.json().errors, [{ message: /introspection/i }], 'by GET')
})

t.test('no suggestions in production: they would tell the schema name by name', async (t) => {
  const input = 'mutation($input: CustomerUpdateInput!) { updateCustomerV2(input: $input) { customer { id } } }'
  const asked: [string, object?][] = [
    ['{ custome { id } }'],
    ['{ customer { firstnam } }'],
    ['{ customer }'],
    ['{ country(i: "US") { id } }'],
    ['{ customer { ... on Custome { id } } }'],
    ['{ __typename @includ(if: true) }'],
    ['query($id: Strin) { country(id: $id) { id } }'],
    ['mutation { createCustome }'],
    ['mutation { createCustomer(input: { firstnam: "Ann" }) { customer { id } } }'],
    ['mutation { createCustomerAddress(input: { country_code: UX }) { id } }'],
    [input, { input: { firstnam: 'Ann' } }],
    [
      'mutation($input: CustomerAddressInput!) { createCustomerAddress(input: $input) { id } }',
      { input: { country_code: 'UX' } },
    ],
  ]
  const build = async (introspection: boolean) => {
    const { send } = await startSubgraph(t, { introspection, projection: false })
    const gateway = await buildGateway({ supergraph, introspection })
    t.teardown(() => gateway.close())
    return { subgraph: send, gateway: injector(gateway) }
  }
  const [closed, open] = [await build(false), await build(true)]
  for (const [query, variables = {}] of asked) {
    for (const where of ['subgraph', 'gateway'] as const) {
      for (const headers of [{}, { 'apollo-federation-include-trace': 'ftv1' }] as Record<string, string>[]) {
        const refused = await closed[where](query, { variables, headers })
        t.ok(refused.errors?.length, `${where}: ${query}`)
        t.notMatch(JSON.stringify(refused.errors), /Did you mean/i)
      }
      t.match(JSON.stringify(await open[where](query, { variables })), /Did you mean|Unknown directive/)
    }
  }
  const text = 'x Did you mean y'.repeat(2)
  const echoed = await closed.subgraph(input, { variables: { input: { gender: text } } })
  t.match(echoed.errors?.[0].message, `non-integer value: "${text}"`, 'what the client itself has sent')
})

t.test('CORS with credentials is for origins that are named', async (t) => {
  for (const origins of [
    '*',
    'https://shop.example,*',
    'https://*.example',
    'https://shop.example/',
    'https://shop.example/path',
    'https://shop.example:443',
    'https://user@shop.example',
    'HTTPS://shop.example',
    'shop.example',
    'null',
    '//shop.example',
    '.*',
  ]) {
    t.throws(
      () => loadGatewayConfiguration({ CORS_ORIGINS: origins }),
      { name: 'ConfigurationError', message: /^CORS_ORIGINS: .* accepted: origins .*not \*\.$/ },
      origins,
    )
    await t.rejects(buildGateway({ supergraph, corsOrigins: origins.split(',') }), /is not an origin/)
  }
  const accepted = ['https://shop.example', 'http://127.0.0.1:3000', 'http://[::1]:3000', 'capacitor://localhost']
  t.same(loadGatewayConfiguration({ CORS_ORIGINS: accepted.join(', ') }).CORS_ORIGINS, accepted)
  t.same(loadGatewayConfiguration({ CORS_ORIGINS: 'none' }).CORS_ORIGINS, [])
})

async function allowedOrigin(url: string, origin: string): Promise<string | null> {
  const asked = { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' }
  const { headers } = await fetch(url, { method: 'OPTIONS', headers: asked })
  return headers.get('access-control-allow-origin')
}

t.test('the processes in production', async (t) => {
  const folder = await temporaryFolder(t)
  const [port, subgraphPort, metricsPort] = [await freePort(), await freePort(), await freePort()]
  const env = { NODE_ENV: 'production', GATEWAY_PORT: String(port), SUBGRAPH_PORT: String(subgraphPort) }
  const status = async (url: string, init?: RequestInit) => (await fetch(url, init)).status
  const url = `http://127.0.0.1:${port}`

  const service = startProcess(t, 'start', folder, { ...env, GATEWAY_METRICS_PORT: String(metricsPort) })
  await untilReady(service, `${url}/readyz`)
  t.equal(await status(`${url}/metrics`), 404, 'not on the public port')
  const metrics = await fetch(`http://127.0.0.1:${metricsPort}/metrics`)
  t.match(await metrics.text(), /^gateway_supergraph_info\{hash="/m)
  t.equal(await status(`http://127.0.0.1:${metricsPort}/graphql?query={countries{id}}`), 404, 'nothing else is there')
  t.equal(await status(`http://127.0.0.1:${subgraphPort}/graphql?query={__schema{queryType{name}}}`), 400)
  t.equal(await status(`http://127.0.0.1:${subgraphPort}/graphql?query={_service{sdl}}`), 400)
  t.equal(await service.end('SIGTERM'), 0)

  const wrong = startProcess(t, 'gateway', folder, { ...env, SUPERGRAPH: supergraph, CORS_ORIGINS: '*' })
  t.equal(await wrong.ended, 1)
  t.match(wrong.output(), /^error: CORS_ORIGINS: .*can't be used; accepted: .*\n$/)

  const development = startProcess(t, 'gateway', folder, {
    ...env,
    NODE_ENV: 'development',
    SUPERGRAPH: supergraph,
  })
  await untilReady(development, `${url}/readyz`)
  t.equal(await status(`${url}/metrics`), 200, 'in development on the port of all else')
  for (const origin of [
    'http://localhost:5173',
    'https://localhost:5173',
    'http://shop.localhost:3000',
    'http://127.0.0.1:3000',
    'http://[::1]:3000',
    'http://localhost',
  ]) {
    t.equal(await allowedOrigin(`${url}/graphql`, origin), origin, 'pages of this machine may read answers')
  }
  for (const origin of ['http://localhost.evil.example', 'https://evil.example', 'http://evil.example:3000', 'null']) {
    t.equal(await allowedOrigin(`${url}/graphql`, origin), null, origin)
  }
  t.equal(await development.end('SIGTERM'), 0)
})

t.test('the compose file takes the gateway’s metrics off its public port', async (t) => {
  const compose = readFileSync(new URL('../../docker-compose.yml', import.meta.url), 'utf8')
  t.match(compose, /GATEWAY_METRICS_PORT: "9464"/)
  t.notMatch(compose, /:9464"/)
})
