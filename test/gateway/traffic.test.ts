/** Calls to subgraphs: further tries, the breaker, headers both ways, tokens, subgraphs in the same process. */
import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import type { GatewayOptions } from '../../gateway/server.ts'
import { createBreaker } from '../../gateway/subgraphs/circuit-breaker.ts'
import { until } from '../support/until.ts'
import { compose, createTokens, listen, post, startGateway } from './support.ts'

const sdl = 'type Query { hello: String } type Mutation { change: String }'
const otherSdl = 'type Query { other: String }'

function answerWith(response: ServerResponse, data: object, headers: Record<string, string | string[]> = {}): void {
  response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify({ data }))
}

/** A gateway over one subgraph that answers as `listener` does, and another that is well. */
async function start(t: Test, listener: RequestListener, options: Partial<GatewayOptions> = {}) {
  const servers = [
    createServer((request, response) => request.resume().on('end', () => listener(request, response))),
    createServer((request, response) => request.resume().on('end', () => answerWith(response, { other: 'fine' }))),
  ]
  const [hello, other] = await Promise.all(
    servers.map(async (server) => {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      t.teardown(() => {
        server.closeAllConnections()
        server.close()
      })
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`
    }),
  )
  const supergraph = compose(t, { hello: { sdl, url: hello ?? '' }, other: { sdl: otherSdl, url: other ?? '' } })
  return startGateway(t, { supergraph, ...options })
}

t.test('a query is sent again where nobody has taken it up; a mutation never', async (t) => {
  let calls = 0
  let failures = 2
  let fail: (response: ServerResponse) => void = () => {}
  const { url } = await start(t, (_request, response) => {
    calls++
    if (failures-- > 0) fail(response)
    else answerWith(response, { hello: 'again', change: 'again' })
  })
  const ways: ((response: ServerResponse) => void)[] = [
    (response) => response.writeHead(503).end('busy'),
    (response) => response.writeHead(502).end(),
    (response) => void response.socket?.destroy(),
  ]
  for (fail of ways) {
    ;[calls, failures] = [0, 2]
    t.same((await post(url, { query: '{ hello }' })).body, { data: { hello: 'again' } })
    t.equal(calls, 3)
    ;[calls, failures] = [0, 1]
    const { body } = await post(url, { query: 'mutation { change }' })
    t.same(body.data, { change: null })
    t.match(body.errors, [{ path: ['change'], extensions: { code: 'SERVICE_UNAVAILABLE', service: 'hello' } }])
    t.equal(calls, 1)
    await post(url, { query: '{ hello }' })
  }
  ;[calls, failures] = [0, 1]
  fail = (response) =>
    response.writeHead(500, { 'content-type': 'application/json' }).end('{"errors":[{"message":"no"}]}')
  t.match((await post(url, { query: '{ hello }' })).body.errors, [{ message: 'no' }])
  t.equal(calls, 1, 'an answer is an answer')
})

t.test('a query is not sent again where no time is left for an answer', async (t) => {
  const { random } = Math
  t.teardown(() => {
    Math.random = random
  })
  Math.random = () => 0.5 // of the waits between two tries: 38, 75, 150 and 300 ms
  let calls = 0
  const busy = (_: unknown, response: ServerResponse) =>
    void setTimeout(() => response.writeHead(503).end(), ++calls === 4 ? 600 : 0)
  const { url } = await start(t, busy, {
    subgraphTimeoutMs: 1_100,
    subgraphSettings: { all: { retries: 5 }, subgraphs: new Map() },
  })
  const { body } = await post(url, { query: '{ hello }' })
  t.match(body.errors, [{ message: 'The "hello" service answered with HTTP status 503.', path: ['hello'] }])
  t.equal(calls, 4)
})

t.test('a subgraph that keeps failing is left alone; the rest of the graph is served', async (t) => {
  let calls = 0
  const { url, base } = await start(t, (_request, response) => {
    calls++
    response.writeHead(503).end()
  })
  for (let i = 0; i < 6; i++) await post(url, { query: '{ hello }' })
  const before = calls
  const { body } = await post(url, { query: '{ hello other }' })
  t.equal(calls, before, 'it is not called')
  t.same(body.data, { hello: null, other: 'fine' })
  t.match(body.errors, [{ message: 'The "hello" service is not available.', path: ['hello'] }])
  const metrics = await (await fetch(`${base}/metrics`)).text()
  t.match(metrics, /gateway_subgraph_duration_seconds_count\{service="hello",outcome="refused"\} [1-9]/)
  t.match(metrics, /gateway_subgraph_duration_seconds_count\{service="other",outcome="answered"\} 1/)
})

t.test('the breaker: five failures in a row, then one try each five seconds', (t) => {
  let now = 0
  const breaker = createBreaker(() => now)
  for (let i = 0; i < 4; i++) breaker.failed(now)
  t.ok(breaker.tries())
  breaker.succeeded()
  for (let i = 0; i < 5; i++) breaker.failed(now)
  t.notOk(breaker.isClosed())
  t.notOk(breaker.tries())
  now = 5_000
  t.ok(breaker.tries(), 'one')
  t.notOk(breaker.tries(), 'and no other')
  breaker.failed(now)
  now = 9_999
  t.notOk(breaker.tries())
  now = 10_000
  t.ok(breaker.tries())
  breaker.succeeded()
  t.ok(breaker.tries() && breaker.isClosed())
  now = 20_000
  breaker.succeeded()
  for (let i = 0; i < 50; i++) breaker.failed(19_999)
  t.ok(breaker.isClosed(), 'a slow call is no failure of a subgraph that has answered another one since')
  t.end()
})

t.test('slow operations of one client do not take a subgraph from the others', async (t) => {
  let isSlow = false
  let slow = 0
  const { url } = await start(
    t,
    (_, response) => {
      if (isSlow) slow++
      else answerWith(response, { hello: 'x' })
    },
    { subgraphTimeoutMs: 3_000, sharedCalls: 'off' },
  )
  const ask = () => post(url, { query: '{ hello }' })
  await ask()
  isSlow = true
  const all = Array.from({ length: 6 }, ask)
  await until('all are asked', () => slow >= 6)
  isSlow = false
  t.same((await ask()).body, { data: { hello: 'x' } })
  for (const { body } of await Promise.all(all)) t.match(body.errors, [{ message: /did not answer within 3000 ms/ }])
  t.same((await ask()).body, { data: { hello: 'x' } }, 'it is called at once')
})

t.test('headers: which go down, and which come back', async (t) => {
  let seen: Record<string, unknown> = {}
  const options = { forwardHeaders: ['X-Shop', 'authorization'], returnHeaders: ['x-served-by', 'set-cookie'] }
  const { url } = await start(
    t,
    ({ headers }, response) => {
      seen = headers
      answerWith(response, { hello: 'x' }, { 'x-served-by': 'one', 'set-cookie': ['a=1', 'b=2'], 'x-secret': 'no' })
    },
    options,
  )
  const sent = {
    'x-shop': 'b2b',
    authorization: 'Basic x',
    store: 'de',
    cookie: 'c=1',
    traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`,
  }
  const { headers } = await post(url, { query: '{ hello }' }, sent)
  t.match(seen, { 'x-shop': 'b2b', authorization: 'Basic x', traceparent: sent.traceparent })
  t.notOk('store' in seen || 'cookie' in seen || 'x-subgraph-secret' in seen)
  t.equal(seen['x-correlation-id'], headers.get('x-correlation-id'))
  t.equal(headers.get('x-served-by'), 'one')
  t.same(headers.getSetCookie(), ['a=1', 'b=2'])
  t.equal(headers.get('x-secret'), null)
  for (const name of ['Content-Length', 'x-subgraph-secret', 'a b', '']) {
    await t.rejects(
      start(t, () => {}, { forwardHeaders: [name] }),
      /can't be passed on/,
      JSON.stringify(name),
    )
  }
})

t.test('SUBGRAPH_SECRET goes to those subgraphs only that it is for', async (t) => {
  const seen: unknown[] = []
  const listener: RequestListener = ({ headers }, response) => {
    seen.push(headers['x-subgraph-secret'])
    answerWith(response, { hello: 'x' })
  }
  const secret = { subgraphSecret: 'a secret of sixteen' }
  await post((await start(t, listener, secret)).url, { query: '{ hello }' })
  await post((await start(t, listener, { ...secret, subgraphSecretFor: ['hello'] })).url, { query: '{ hello }' })
  t.same(seen, [undefined, 'a secret of sixteen'])
})

t.test('tokens are verified at the gateway', async (t) => {
  const tokens = createTokens('one')
  const keys = Fastify()
  let served = 0
  keys.get('/jwks.json', () => {
    served++
    return { keys: [tokens.jwk] }
  })
  const jwksUrl = `${await listen(t, keys)}/jwks.json`
  let calls = 0
  const listener: RequestListener = (_request, response) => {
    calls++
    answerWith(response, { hello: 'x' })
  }
  const { url } = await start(t, listener, { tokenKeys: { jwksUrl } })
  const ask = (authorization?: string) => post(url, { query: '{ hello }' }, authorization ? { authorization } : {})
  const good = `Bearer ${tokens.sign('1')}`
  for (const authorization of [
    undefined,
    good,
    good,
    good.replace('Bearer', 'bEARER'),
    'Basic abc',
    'Bearer',
    'Bearer a b',
  ]) {
    t.equal((await ask(authorization)).status, 200, String(authorization))
  }
  t.equal(calls, 7)
  const forged = `${good.slice(0, -6)}AAAAAA`
  for (const [authorization, message] of [
    [forged, 'Token does not exist'],
    ['Bearer abc', 'Token does not exist'],
    [`Bearer ${tokens.sign('1', -60_000)}`, 'Consumer key has expired'],
    [`Bearer ${createTokens('two').sign('1')}`, 'Token does not exist'],
  ] as const) {
    const { status, body } = await ask(authorization)
    t.equal(status, 401)
    t.match(body.errors, [{ message, extensions: { code: 'UNAUTHENTICATED' } }])
    t.notOk('data' in body)
  }
  t.equal(calls, 7, 'without a subgraph call')
  t.equal(served, 1, 'and the keys are fetched once')

  const tokenKeys = { jwksUrl: 'http://127.0.0.1:1/jwks.json' }
  const away = await start(t, listener, { tokenKeys })
  const refused = await post(away.url, { query: '{ hello }' }, { authorization: good })
  t.match([refused.status, refused.body.errors[0].extensions.code], [503, 'TOKEN_UNCHECKED'])
  t.ok(refused.headers.get('retry-after'))
  t.equal((await post(away.url, { query: '{ hello }' })).status, 200, 'a guest goes on')
  const passing = await start(t, listener, { tokenKeys, uncheckedTokens: 'pass' })
  const passed = await post(passing.url, { query: '{ hello }' }, { authorization: good })
  t.equal(passed.status, 200, 'where the subgraphs verify, too')
})

t.test('a subgraph of the same process is called without a socket', async (t) => {
  const bodies: string[] = []
  const transports = {
    hello: async (body: string, headers: readonly string[]) => {
      bodies.push(body)
      t.ok(headers.includes('x-correlation-id'))
      if (bodies.length === 2) throw new Error('It is closed.')
      if (bodies.length > 5) await delay(60_000, undefined, { ref: false })
      return { status: 200, text: '{"data":{"hello":"from within","change":null}}', headers: {} }
    },
  }
  const { url } = await start(t, () => t.fail('the socket'), { transports, subgraphTimeoutMs: 300 })
  t.same((await post(url, { query: '{ hello }' })).body, { data: { hello: 'from within' } })
  t.same(
    (await post(url, { query: 'mutation { change }' })).body.errors?.[0].message,
    'The "hello" service is not available.',
  )
  bodies.push('', '', '')
  t.match((await post(url, { query: '{ hello }' })).body.errors[0].message, /did not answer within 300 ms/)
})

t.test('the plan of an operation: by a header where it is allowed, by the command line always', async (t) => {
  const listener: RequestListener = (_request, response) => answerWith(response, { hello: 'x' })
  const shown = await start(t, listener, { showPlans: true })
  const { body } = await post(shown.url, { query: '{ hello }' }, { 'x-query-plan': '1' })
  t.same(body.data, { hello: 'x' })
  t.match(body.extensions.queryPlan, /Fetch\(service: "hello"\)/)
  const hidden = await start(t, listener)
  t.notOk((await post(hidden.url, { query: '{ hello }' }, { 'x-query-plan': '1' })).body.extensions)
})

t.test('the access log: operation, times and id, and nothing of the data', async (t) => {
  const lines: string[] = []
  const logger = { level: 'info', stream: { write: (line: string) => void lines.push(line) } }
  const { url, base } = await start(t, (_request, response) => answerWith(response, { hello: 'hunter2' }), { logger })
  const { headers } = await post(url, { query: 'query Greeting { hello }' }, { authorization: 'Bearer hunter3' })
  const line = JSON.parse(lines.find((each) => each.includes('"msg":"request"')) ?? '{}')
  t.match(line, { operation: 'Greeting', type: 'query', outcome: 'success', reqId: headers.get('x-correlation-id') })
  for (const time of ['ms', 'planMs', 'subgraphMs']) t.ok(line[time] > 0, time)
  t.notMatch(lines.join(''), /hunter/)
  for (let i = 0; i < 250; i++) await post(url, { query: `query N${i} { hello }` })
  const metrics = await (await fetch(`${base}/metrics`)).text()
  t.match(metrics, 'gateway_requests_total{operation="Greeting",type="query",outcome="success"} 1')
  t.match(metrics, /gateway_requests_total\{operation="other",type="query",outcome="success"\} [45]\d/)
})
