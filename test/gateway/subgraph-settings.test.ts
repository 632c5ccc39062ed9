/** SUBGRAPH_SETTINGS: what the file may say, where it is wrong, and what holds for each subgraph. */
import { writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { loadSubgraphSettings } from '../../gateway/subgraphs/settings.ts'
import { compose, post, startGateway } from './support.ts'

/** A subgraph that answers after a while, or 503. */
async function startSubgraph(t: Test, data: object, { waitMs = 0, status = 200 } = {}) {
  const calls: IncomingHttpHeaders[] = []
  let [open, most] = [0, 0]
  const server = createServer(async (request, response) => {
    calls.push(request.headers)
    most = Math.max(most, ++open)
    request.resume()
    await delay(waitMs, undefined, { ref: false })
    open--
    response
      .writeHead(status, { 'content-type': 'application/json' })
      .end(status === 200 ? JSON.stringify({ data }) : '')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { calls, most: () => most, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql` }
}

t.test('each subgraph has its own, before those for all, before the variables', async (t) => {
  const slow = await startSubgraph(t, { slow: 'x' }, { waitMs: 60_000 })
  const down = await startSubgraph(t, { down: 'x' }, { status: 503 })
  const one = await startSubgraph(t, { one: 'x' }, { waitMs: 20 })
  const supergraph = compose(t, {
    slow: { sdl: 'type Query { slow: String }', url: slow.url },
    down: { sdl: 'type Query { down: String }', url: down.url },
    one: { sdl: 'type Query { one: String }', url: one.url },
  })
  const path = join(dirname(supergraph), 'subgraphs.yaml')
  writeFileSync(
    path,
    `
all: { timeout: 10s, headers: [Store, authorization] }
subgraphs:
  slow: { timeout: 800ms }
  down: { retries: 0 }
  one:
    connections: 1
    headers: [x-shop]
`,
  )
  const { url } = await startGateway(t, {
    supergraph,
    subgraphTimeoutMs: 10,
    forwardHeaders: ['user-agent'],
    subgraphSettings: loadSubgraphSettings(path, ['slow', 'down', 'one']),
  })
  const headers = { store: 'de', authorization: 'Basic x', 'x-shop': 'b2b', 'user-agent': 'me' }
  const { body } = await post(url, { query: '{ slow down one }' }, headers)
  t.same(body.data, { slow: null, down: null, one: 'x' }, 'one took longer than SUBGRAPH_TIMEOUT_MS')
  t.match(body.errors, [{ path: ['down'] }, { message: /did not answer within 800 ms/, path: ['slow'] }])
  t.equal(down.calls.length, 1, 'no retry')
  t.match(slow.calls[0], { store: 'de', authorization: 'Basic x', 'x-correlation-id': /./, 'x-forwarded-for': /./ })
  t.notOk('x-shop' in (slow.calls[0] ?? {}) || 'user-agent' in (slow.calls[0] ?? {}))
  t.equal(one.calls[0]?.['x-shop'], 'b2b')
  t.notOk('store' in (one.calls[0] ?? {}) || 'authorization' in (one.calls[0] ?? {}), 'no token where it is not for')
  await Promise.all(['a', 'b', 'c'].map((shop) => post(url, { query: '{ one }' }, { 'x-shop': shop })))
  t.equal(one.most(), 1, 'one connection, so one call at a time')
})

t.test('what is wrong is named with its line', (t) => {
  const path = join(t.testdir({}), 'subgraphs.yaml')
  const cases: [string, RegExp][] = [
    ['all:\n  timeout: 5', /:2: all\.timeout: its value can't be used; accepted: a time from 1ms to 10m/],
    ['all:\n  timeout: 0s', /:2: all\.timeout: /],
    ['all:\n  timeout: 11m', /:2: all\.timeout: /],
    ['all:\n  timeout: 5 s', /:2: all\.timeout: /],
    ['all:\n  retries: 1.5', /:2: all\.retries: .*a whole number, 0 to 10/],
    ['all:\n  retries: -1', /:2: all\.retries: .*a whole number, 0 to 10/],
    ['all:\n  retries: "2"', /:2: all\.retries: .*a whole number, 0 to 10/],
    ['\n\nall:\n  connections: 0', /:4: all\.connections: .*a whole number, 1 to 10000/],
    ['all:\n  headers: store', /:2: all\.headers: .*a list of header names/],
    ['all:\n  headers:\n    - store\n    - a b', /:4: all\.headers\.1: .*a header name/],
    ['all:\n  headers: [Host]', /:2: all\.headers\.0: .*a header that the gateway does not set itself/],
    ['all:\n  headers: [x-subgraph-secret]', /:2: all\.headers\.0: /],
    [
      'all:\n  timout: 5s',
      /:2: all\.timout: there is no such setting; accepted: timeout, retries, connections, headers/,
    ],
    ['timeout: 5s', /:1: timeout: there is no such setting; accepted: all, subgraphs/],
    [
      'subgraphs:\n  catalog: {}\n  catalogue: {}',
      /:3: catalogue: the supergraph has no such subgraph; accepted: catalog/,
    ],
    ['subgraphs:\n  catalog: 5s', /:2: subgraphs\.catalog: .*settings of a subgraph/],
    ['subgraphs:\n  - catalog', /:1: subgraphs: .*settings by subgraph/],
    ['all: [\n', /:\d: /],
    ['all: {}\nall: {}', /:2: Map keys must be unique/],
    ['all: *nothing', /Unresolved alias/],
    ['text', /its value can't be used; accepted: `all` and `subgraphs`/],
  ]
  for (const [text, message] of cases) {
    writeFileSync(path, text)
    t.throws(() => loadSubgraphSettings(path, ['catalog']), { name: 'ConfigurationError', message }, text)
    t.throws(
      () => loadSubgraphSettings(path, ['catalog']),
      { message: /^SUBGRAPH_SETTINGS: .*subgraphs\.yaml[^\n]*$/ },
      text,
    )
  }
  t.throws(() => loadSubgraphSettings(`${path}.none`, []), { message: /can't be read \(ENOENT\)/ })
  for (const text of ['', '# nothing', 'all:\nsubgraphs:\n', 'subgraphs:\n  catalog:\n']) {
    writeFileSync(path, text)
    t.ok(loadSubgraphSettings(path, ['catalog']), text)
  }
  t.end()
})
