import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { getHeapSnapshot } from 'node:v8'
import t from 'tap'
import { buildGateway } from '../../gateway/server.ts'
import { watchText } from '../../gateway/watch-file.ts'
import { stopClock } from '../support/clock.ts'
import { until } from '../support/until.ts'
import { compose, post, startGateway, startSubgraph } from './support.ts'

const sdl = (fields: string) => `type Query { ${fields} }`

/**
 * How many objects of each class live after a garbage collection. A snapshot of the heap costs less than two of the
 * queries of `node:v8`, which collect garbage many times.
 */
async function liveObjects(...classes: readonly string[]): Promise<Record<string, number>> {
  const { snapshot, nodes, strings } = (await json(getHeapSnapshot())) as HeapSnapshot
  const { node_fields: fields, node_types: types } = snapshot.meta
  const object = types[0].indexOf('object')
  const counts = new Map(classes.map((name) => [strings.indexOf(name), 0]))
  for (let at = 0; at < nodes.length; at += fields.length) {
    const [type, name] = [nodes[at], nodes[at + 1] as number]
    const count = type === object ? counts.get(name) : undefined
    if (count !== undefined) counts.set(name, count + 1)
  }
  return Object.fromEntries(classes.map((name) => [name, counts.get(strings.indexOf(name)) ?? 0]))
}

/** The part of the format that is needed here: each node begins with its type and its name. */
interface HeapSnapshot {
  readonly snapshot: { readonly meta: { readonly node_fields: readonly string[]; readonly node_types: [string[]] } }
  readonly nodes: readonly number[]
  readonly strings: readonly string[]
}

// The first test of the file, which has a process of its own: no other has left anything in the heap.
t.test('a swap frees what the supergraph before it held: planner, operations, connections, series', async (t) => {
  const SWAPS = 12
  /** A subgraph on a port of its own, so that each supergraph has another URL. It would keep its connections for long. */
  async function origin() {
    const server = createServer((_request, response) => {
      response.setHeader('content-type', 'application/json').end('{"data":{"here":"here"}}')
    })
    server.keepAliveTimeout = 600_000
    let opened = 0
    server.on('connection', () => opened++)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => {
      server.closeAllConnections()
      server.close()
    })
    const connections = () =>
      new Promise<number>((resolve, reject) =>
        server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
      )
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`,
      connections,
      opened: () => opened,
    }
  }
  const origins = await Promise.all(Array.from({ length: SWAPS }, origin))
  const file = compose(t, { part: { sdl: sdl('here: String'), url: 'http://127.0.0.1:1/' } })
  const whole = readFileSync(file, 'utf8')
  const texts = origins.map(({ url }, number) =>
    whole
      .replace('"http://127.0.0.1:1/"', JSON.stringify(url))
      .replaceAll('"part"', `"part${number}"`)
      .replaceAll('PART', `PART${number}`),
  )
  const { url, base } = await startGateway(t, { supergraph: file, watchIntervalMs: 5 })
  const ready = async () => ((await (await fetch(`${base}/readyz`)).json()) as { supergraph: string }).supergraph
  let before = await ready()
  const swap = async (number: number) => {
    writeFileSync(`${file}.new`, texts[number] as string)
    renameSync(`${file}.new`, file)
    await until(`supergraph ${number}`, async () => (await ready()) !== before)
    before = await ready()
    const { body } = await post(url, { query: `query Q${number} { here }` })
    t.same(body, { data: { here: 'here' } })
  }
  for (let number = 0; number < SWAPS; number++) await swap(number)
  const { QueryPlanner, ...held } = await liveObjects('QueryPlanner', 'Schema', 'GraphQLSchema', 'Pool', 'Histogram')
  t.equal(QueryPlanner, 1)
  // One supergraph has several of each, but fewer than there were swaps.
  for (const [name, count] of Object.entries(held)) t.ok(count > 0 && count < SWAPS, `${name}: ${count}`)

  await until('the connections to subgraphs that are gone are closed', async () =>
    (await Promise.all(origins.slice(0, -1).map(({ connections }) => connections()))).every((n) => n === 0),
  )
  // One that stays keeps its connection.
  writeFileSync(`${file}.new`, `${texts.at(-1)}# another text`)
  renameSync(`${file}.new`, file)
  await until('the same subgraphs in another text', async () => (await ready()) !== before)
  t.same((await post(url, { query: '{ here }' })).body, { data: { here: 'here' } })
  t.equal(await origins.at(-1)?.connections(), 1)
  t.equal(origins.at(-1)?.opened(), 1)
  const metrics = await (await fetch(`${base}/metrics`)).text()
  const services = new Set([...metrics.matchAll(/service="(part\d+)"/g)].map(([, name]) => name))
  t.same([...services], [`part${SWAPS - 1}`], 'series of subgraphs that are gone are gone')
})

t.test('a changed supergraph is swapped in under load, and one that is no good is not', async (t) => {
  const resolvers = { Query: { slow: () => sleep(30, 'slow'), added: () => 'added' } }
  const first = await startSubgraph(t, sdl('slow: String'), { Query: { slow: resolvers.Query.slow } })
  const second = await startSubgraph(t, sdl('slow: String added: String'), resolvers)
  const later = readFileSync(compose(t, { a: { sdl: sdl('slow: String added: String'), url: second } }), 'utf8')
  const file = compose(t, { a: { sdl: sdl('slow: String'), url: first } })
  const original = readFileSync(file, 'utf8')
  const log: string[] = []
  const { url, base } = await startGateway(t, {
    supergraph: file,
    watchIntervalMs: 25,
    logger: {
      level: 'info',
      stream: { write: (line: string) => void (line.includes('"msg":"request"') || log.push(line)) },
    },
  })
  const ready = async () => ((await (await fetch(`${base}/readyz`)).json()) as { supergraph: string }).supergraph
  const replace = (text: string) => {
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }

  let running = true
  let answered = 0
  const failed: unknown[] = []
  const load = Array.from({ length: 8 }, async () => {
    while (running) {
      const { status, body } = await post(url, { query: '{ slow }' })
      if (status === 200 && body.data?.slow === 'slow' && !body.errors) answered++
      else failed.push(body)
    }
  })

  const one = await ready()
  t.equal((await post(url, { query: '{ added }' })).status, 400)
  replace(later)
  await until('the new supergraph', async () => (await ready()) !== one)
  const two = await ready()
  t.same((await post(url, { query: '{ added }' })).body, { data: { added: 'added' } })

  for (const [bad, reason] of [
    ['type Query {', /Syntax Error/],
    ['', /./],
    ['type Query { a: Int }', /./],
    [later.replace(second, ''), /URL of the subgraph \\"a\\"/],
  ] as const) {
    const before = log.length
    replace(bad)
    await until('a log line', () => log.length > before)
    t.match(log.at(-1), /cannot be served; the previous one stays/)
    t.match(log.at(-1), reason)
    t.equal(await ready(), two)
  }
  const before = log.length
  rmSync(file)
  await until('a log line for the file that is gone', () => log.length > before)
  t.equal(await ready(), two)
  const metrics = async () => (await fetch(`${base}/metrics`)).text()
  t.match(await metrics(), /gateway_supergraph_load_failures_total 5/)
  t.match(await metrics(), /gateway_supergraph_stale 1/)
  replace(later)
  await until('the file of before, as it was', async () => /gateway_supergraph_stale 0/.test(await metrics()))

  replace(original)
  await until('the first supergraph again', async () => (await ready()) === one)
  t.match(await metrics(), /gateway_supergraph_stale 0/)
  running = false
  await Promise.all(load)
  t.same(failed, [], 'no request failed')
  t.ok(answered > 20, `${answered} requests were answered meanwhile`)
})

t.test('closing lets requests under way finish', async (t) => {
  const called = Promise.withResolvers<void>()
  const slow = () => {
    called.resolve()
    return sleep(500, 'slow')
  }
  const subgraph = await startSubgraph(t, sdl('slow: String'), { Query: { slow } })
  const { app, url } = await startGateway(t, {
    supergraph: compose(t, { a: { sdl: sdl('slow: String'), url: subgraph } }),
  })
  const answer = post(url, { query: '{ slow }' })
  await called.promise
  t.equal((await fetch(new URL('/readyz', url))).status, 200)
  const closed = app.close()
  const ready = await fetch(new URL('/readyz', url))
  t.equal(ready.status, 503, 'a load balancer is told so, instead of refused')
  t.match(await ready.json(), { status: 'draining' })
  await Promise.all([closed, answer])
  t.same((await answer).body, { data: { slow: 'slow' } })
  t.equal((await answer).headers.get('connection'), 'close', 'and its connection ends with it')
  await t.rejects(post(url, { query: '{ slow }' }))
})

t.test('a subgraph that has moved is called at once, however often the place before had failed', async (t) => {
  const here = await startSubgraph(t, sdl('here: String'), { Query: { here: () => 'here' } })
  const moved = readFileSync(compose(t, { a: { sdl: sdl('here: String'), url: here } }), 'utf8')
  const file = compose(t, { a: { sdl: sdl('here: String'), url: 'http://127.0.0.1:1/graphql' } })
  const { url } = await startGateway(t, { supergraph: file, watchIntervalMs: 5 })
  const ask = async () => (await post(url, { query: '{ here }' })).body
  stopClock(t) // so that the calls to the place before stay off
  for (let failures = 0; failures < 5; failures++) t.ok((await ask()).errors)
  writeFileSync(`${file}.new`, moved)
  renameSync(`${file}.new`, file)
  await until('calls go to the new place', async () => !(await ask()).errors)
  t.same(await ask(), { data: { here: 'here' } })
})

t.test('what a newcomer names in place of a supergraph is told apart', async (t) => {
  const example = 'examples/own-subgraph'
  for (const [supergraph, reason] of [
    [
      `${example}/supergraph.yaml`,
      /it is a configuration: run `npm run compose -- FILE\.yaml`, and name the \.graphql file/,
    ],
    [`${example}/loyalty.graphql`, /it is the schema of one subgraph: .* `npm run compose/],
    ['examples/commerce/orders.graphql', /it is the schema of one subgraph: /],
    [example, /it is a folder: name the file in it/],
    [`${example}/nothing.graphql`, /ENOENT/],
  ] as const) {
    const { message } = await buildGateway({ supergraph }).catch((error) => error)
    t.match(message, reason)
    t.ok(message.startsWith(`${supergraph} can't be served: `))
    t.notMatch(message, '\n')
  }
})

t.test('documents in use are prepared before a new supergraph is served, and the last file wins', async (t) => {
  const text = (fields: string) =>
    readFileSync(compose(t, { a: { sdl: sdl(fields), url: 'http://127.0.0.1:1/graphql' } }), 'utf8')
  const [two, three] = [text('a: Int b: Int'), text('a: Int c: Int')]
  const file = compose(t, { a: { sdl: sdl('a: Int gone: Int'), url: 'http://127.0.0.1:1/graphql' } })
  const changes: { supergraph: string; prepared: number }[] = []
  const { url, base } = await startGateway(t, {
    supergraph: file,
    watchIntervalMs: 5,
    logger: {
      level: 'info',
      stream: { write: (line: string) => void (line.includes('changed') && changes.push(JSON.parse(line))) },
    },
  })
  const ready = async () => ((await (await fetch(`${base}/readyz`)).json()) as { supergraph: string }).supergraph
  const replace = (sdl: string) => {
    writeFileSync(`${file}.new`, sdl)
    renameSync(`${file}.new`, file)
  }
  for (const query of ['{ a }', '{ a a }', '{ gone }', 'query A { a } query B { a }']) {
    await post(url, { query, ...(query.includes('A') && { operationName: 'B' }) })
  }
  replace(two)
  await until('the second', () => changes.length === 1)
  t.equal(changes[0]?.prepared, 3, 'all but the one that the new graph does not have')
  t.equal(await ready(), changes[0]?.supergraph)

  // Many documents, so that files change while they are being prepared.
  await Promise.all(Array.from({ length: 100 }, (_, number) => post(url, { query: `query N${number} { a }` })))
  const started = changes.length
  for (let round = 0; round < 5; round++) {
    replace(three)
    await sleep(15)
    replace(two)
    await sleep(15)
  }
  replace(three)
  const hash = createHash('sha256').update(three).digest('hex')
  await until('the third', async () => (await ready()) === hash)
  await sleep(50)
  t.equal(await ready(), hash, 'and it stays')
  t.ok(changes.length > started)
})

t.test('a file that changes before it is watched, or while it is read, is not missed', async (t) => {
  const folder = t.testdir()
  const [path, file, fifo] = ['watched', 'file', 'fifo'].map((name) => join(folder, name)) as [string, string, string]
  const redirect = (target: string) => {
    symlinkSync(target, `${path}.new`)
    renameSync(`${path}.new`, path)
  }
  execFileSync('sh', ['-c', 'mkfifo "$1"', 'sh', fifo])
  writeFileSync(file, 'second')
  const seen: string[] = []
  const watch = (known: string) =>
    t.teardown(
      watchText(
        path,
        10,
        known,
        (text) => seen.push(text),
        ({ message }) => seen.push(message),
      ),
    )

  redirect(file)
  watch('first')
  await until('the change from before is seen', () => seen.length > 0)
  t.same(seen, ['second'])

  // What is read from there arrives once it is written.
  redirect(fifo)
  await sleep(100)
  redirect(file)
  writeFileSync(file, 'third')
  await until('the newer text is there first', () => seen.length > 1)
  await writeFile(fifo, 'old')
  await sleep(50)
  t.same(seen, ['second', 'third'], 'the older one does not replace it')
})
