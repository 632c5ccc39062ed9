/** Clients that go away, or do not read: what is being done for them alone stops, wherever it is. */
import { once } from 'node:events'
import { type ClientRequest, request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { buildGateway, type GatewayOptions } from '../../gateway/server.ts'
import { until } from '../support/until.ts'
import { type Asked, answer, compose, listen, post, serve, startGateway } from './support.ts'

const JSON_TYPE = { 'content-type': 'application/json' }

/** A gateway over subgraphs that answer when the test has them do so. */
async function start(t: Test, subgraphs: Record<string, string>, options: Partial<GatewayOptions> = {}) {
  const asked: Asked[] = []
  let arrived = () => {}
  const hold = (each: Asked) => {
    asked.push(each)
    arrived()
  }
  const next = () =>
    new Promise<Asked>((resolve) => {
      arrived = () => resolve(asked.at(-1) as Asked)
    })
  const urls = await Promise.all(Object.keys(subgraphs).map(() => serve(t, hold)))
  const services = Object.entries(subgraphs).map(([name, sdl], index) => [name, { sdl, url: urls[index] as string }])
  const gateway = await startGateway(t, { supergraph: compose(t, Object.fromEntries(services)), ...options })
  const send = (body: string | object): ClientRequest => {
    const request = httpRequest(gateway.url, { method: 'POST', headers: JSON_TYPE, agent: false })
    request.on('error', () => {})
    request.end(JSON.stringify(typeof body === 'string' ? { query: body } : body))
    return request
  }
  const cancelled = async () => {
    const metrics = await (await fetch(`${gateway.base}/metrics`)).text()
    const lines = metrics.matchAll(/gateway_requests_total\{operation="",type="[a-z]*",outcome="cancelled"\} (\d+)/g)
    return [...lines].reduce((sum, [, count]) => sum + Number(count), 0)
  }
  return { asked, next, send, cancelled, ...gateway }
}

t.test('a client that goes away just as its answer in parts is sent is no error', async (t) => {
  const lines: string[] = []
  const logger = { level: 'error', stream: { write: (line: string) => void lines.push(line) } }
  const url = await serve(t, ({ response, query }) =>
    answer(response, query.includes('_entities') ? { _entities: [{ slow: 1 }] } : { t: { __typename: 'T', id: '1' } }),
  )
  const a = { sdl: 'type Query { t: T } type T @key(fields: "id") { id: ID! }', url }
  const b = { sdl: 'type T @key(fields: "id") { id: ID! slow: Int }', url }
  const app = await buildGateway({ supergraph: compose(t, { a, b }), logger })
  app.addHook('onSend', async ({ raw }, reply) => {
    raw.socket.destroy()
    await once(reply.raw, 'close')
  })
  const base = await listen(t, app)
  const headers = { ...JSON_TYPE, accept: 'multipart/mixed;deferSpec=20220824, application/json' }
  const asked = fetch(`${base}/graphql`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ query: '{ t { id ... @defer { slow } } }' }),
  })
  await t.rejects(asked)
  await delay(100)
  t.same(lines, [])
})

t.test('a client that is gone before its connection is accepted is no error', async (t) => {
  const lines: string[] = []
  const logger = { level: 'error', stream: { write: (line: string) => void lines.push(line) } }
  const url = await serve(t, ({ response }) => answer(response, { x: 'X' }))
  const sdl = 'type Query { x: String } type Subscription { y: String }'
  const app = await buildGateway({ supergraph: compose(t, { a: { sdl, url } }), logger })
  const { port } = new URL(await listen(t, app))
  const body = '{"query":"{ x }"}'
  const ask = (more: string) =>
    `POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${more}\r\nContent-Length: `
  const sent = [
    `${ask('Accept: application/json')}${body.length}\r\n\r\n${body}`,
    `${ask('Accept: text/event-stream')}${body.length}\r\n\r\n${body}`,
    `${ask('Accept: application/json')}100000\r\n\r\n`,
  ]
  const gone = new SharedArrayBuffer(4)
  const clients = new Worker(
    `const { connect } = require('node:net')
    const { gone, port, sent } = require('node:worker_threads').workerData
    const leave = (text) => new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.write(text, () => socket.resetAndDestroy()))
      socket.on('close', resolve)
    })
    Promise.all(sent.map(leave)).then(() => {
      Atomics.store(new Int32Array(gone), 0, 1)
      Atomics.notify(new Int32Array(gone), 0)
    })`,
    { eval: true, workerData: { gone, port: Number(port), sent } },
  )
  // Meanwhile the gateway accepts nothing.
  Atomics.wait(new Int32Array(gone), 0, 0)
  await clients.terminate()
  await delay(100)
  t.same(lines, [])
})

t.test('a client that goes away: its queries stop, its mutation is finished', async (t) => {
  const a =
    'type Query { t: T other: String } type T @key(fields: "id") { id: ID! } type Mutation { first: String second: String }'
  const b = 'type T @key(fields: "id") { id: ID! slow: Int } type Mutation { third: String }'
  const { asked, next, send, url, base, cancelled } = await start(t, { a, b })

  let coming = next()
  let client = send('{ t { slow } }')
  const first = await coming
  client.destroy()
  await once(first.response, 'close')
  t.notOk(first.response.writableEnded, 'its call is aborted')
  await until('and counted', async () => (await cancelled()) === 1)
  t.equal(asked.length, 1, 'no further fetch of its plan starts')

  coming = next()
  client = send('{ t { slow } }')
  const second = await coming
  coming = next()
  answer(second.response, { t: { __typename: 'T', id: '1' } })
  const entities = await coming
  t.match(entities.query, /_entities/)
  client.destroy()
  await once(entities.response, 'close')
  await until('2 cancelled', async () => (await cancelled()) === 2)

  // Of two clients with the same question one goes away.
  coming = next()
  const [leaving] = [send('{ other }'), await coming]
  coming = next()
  const staying = post(url, { query: '{ other }' }, { 'user-agent': 'another one' })
  const its = await coming
  leaving.destroy()
  await until('3 cancelled', async () => (await cancelled()) === 3)
  answer(its.response, { other: 'fine' })
  t.same((await staying).body, { data: { other: 'fine' } })

  coming = next()
  client = send('mutation { first third second }')
  const mutation = await coming
  client.destroy()
  await delay(50)
  t.notOk(mutation.response.destroyed, 'a mutation is finished')
  coming = next()
  answer(mutation.response, { first: 'done' })
  const third = await coming
  t.match(third.query, /third/, 'with what follows')
  coming = next()
  answer(third.response, { third: 'done' })
  const last = await coming
  t.match(last.query, /second/)
  answer(last.response, { second: 'done' })
  const calls = async () => {
    const metrics = await (await fetch(`${base}/metrics`)).text()
    return /gateway_subgraph_duration_seconds_count\{service="b",outcome="cancelled"\} 1/.test(metrics)
  }
  await until('calls that were aborted are counted, too', calls)
})

t.test('a client that goes away: by GET, and with a batch', async (t) => {
  const a = 'type Query { x: String y: String list: [T] } type T @key(fields: "id") { id: ID! }'
  const b = 'type T @key(fields: "id") { id: ID! slow: Int other: Int }'
  const { asked, next, send, url, cancelled } = await start(t, { a, b }, { batchLimit: 5 })
  let coming = next()
  const get = httpRequest(`${url}?query={x}`, { agent: false, headers: { accept: 'application/json', ...JSON_TYPE } })
  get.on('error', () => {})
  get.end()
  const first = await coming
  get.destroy()
  await once(first.response, 'close')
  await until('1 cancelled', async () => (await cancelled()) === 1)

  const before = asked.length
  const batch = send([{ query: '{ x }' }, { query: '{ y }' }, { query: '{ list { slow other } }' }])
  await until('three more calls', () => asked.length === before + 3)
  const all = asked.slice(before)
  const list = all.find(({ query }) => query.includes('list')) as Asked
  coming = next()
  const things = ['1', '2', '3'].map((id) => ({ __typename: 'T', id }))
  answer(list.response, { list: things })
  const entities = await coming
  t.match(entities.query, /_entities/)
  const closed = [...all.filter((each) => each !== list), entities].map(({ response }) => once(response, 'close'))
  batch.destroy()
  await Promise.all(closed)
  await until('each of the batch is counted', async () => (await cancelled()) === 4)
  t.equal(asked.length, before + 4)
})

t.test('a client that goes away while its documents wait to be planned', async (t) => {
  const fields = Array.from({ length: 40 }, (_, index) => `f${index}`)
  const a = `type Query { x: String ${fields.map((name) => `${name}(n: Int): String`).join(' ')} }`
  const { asked, send, url, cancelled } = await start(t, { a })
  const documents = Array.from({ length: 40 }, (_, index) =>
    fields.map((name) => `a${index}${name}: ${name}(n: 1)`).join(' '),
  )
  const clients = documents.map((selection) => send(`{ ${selection} }`))
  await Promise.race(clients.map((each) => once(each, 'finish')))
  for (const each of clients) each.destroy()
  await until('all responses are closed', () => asked.every(({ response }) => response.closed))
  const last = post(url, { query: '{ x }' })
  await until('the queue goes on', () => asked.some(({ query }) => query === '{x}'))
  answer((asked.find(({ query }) => query === '{x}') as Asked).response, { x: 'X' })
  t.same((await last).body, { data: { x: 'X' } })
  const open = asked.filter(({ response, query }) => query !== '{x}' && !response.closed)
  t.same(open, [], 'nothing is asked for who has gone')
  t.ok((await cancelled()) <= documents.length)
})

t.test('a client that goes away before its body is read gives its room back', async (t) => {
  const { asked, url } = await start(t, { a: 'type Query { x: String }' })
  const size = 1024 * 1024 - 1000
  const open = () => {
    const headers = { ...JSON_TYPE, 'content-length': size }
    const request = httpRequest(url, { method: 'POST', headers, agent: false })
    request.on('error', () => {})
    request.write('{"query":"')
    return request
  }
  // Two of them are all that one client may have at once; the third one waits for room.
  const clients = [open(), open(), open()]
  await Promise.all(clients.map((each) => once(each, 'socket')))
  await delay(100)
  for (const each of clients) each.destroy()
  const whole = `{"query":"{ x }"${' '.repeat(size - '{"query":"{ x }"}'.length)}}`
  const answered = post(url, whole)
  await until('the next one is read at once', () => asked.length === 1)
  answer((asked[0] as Asked).response, { x: 'X' })
  t.same((await answered).body, { data: { x: 'X' } })
})

t.test('a client that reads nothing does not fill the memory with answers', async (t) => {
  const sdl =
    'type Query { x: String list: [Item!]! @listSize(assumedSize: 10) } type Item { id: ID! } type Subscription { x: Int }'
  let calls = 0
  // As the gateway calls the aliases there.
  const list = Array.from({ length: 6_000 }, () => ({ id__1: '1', id__2: '1', id__3: '1' }))
  const url = await serve(t, ({ query, response }) => {
    if (!query.includes('list')) return answer(response, { x: 'X' })
    calls++
    answer(response, { list })
  })
  const options = { supergraph: compose(t, { a: { sdl, url } }), sharedCalls: 'off', batchLimit: 3 } as const
  const gateway = await startGateway(t, options)
  const { hostname: host, port } = new URL(gateway.url)
  // 4.5 MB each, of which the kernel takes a part. What is deferred does not matter.
  const query = (n: number, more = '') =>
    `{ list { ${['a', 'b', 'c'].map((name) => `${name}${n}${'x'.repeat(240)}: id`).join(' ')} } ${more} }`
  const begun = 12
  const open = (n: number, accept: string, more: string) => {
    const socket = connect({ host, port: Number(port), localAddress: '127.0.0.3' })
    const body = JSON.stringify({ query: query(n, more) })
    socket.on('error', () => {})
    socket.write(
      `POST /graphql HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nAccept: ${accept}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    return socket
  }
  const answered = async () => {
    const text = (await gateway.app.inject('/metrics')).body
    return Number(/gateway_requests_total\{[^}]*outcome="success"[^}]*\} (\d+)/.exec(text)?.[1] ?? 0)
  }
  for (const [accept, more] of [
    ['application/json', ''],
    ['text/event-stream', ''],
    ['multipart/mixed;deferSpec=20220824, application/json', '... @defer { x }'],
  ] as const) {
    calls = 0
    const before = await answered()
    const sockets = Array.from({ length: begun }, (_, n) => open(n, accept, more))
    await until('the subgraph has answered all', () => calls === begun)
    for (let round = 0; round < 5; round++) {
      t.same((await post(gateway.url, { query: '{ x }' })).body, { data: { x: 'X' } }, 'others are served')
    }
    const made = (await answered()) - before - 5
    t.ok(made <= 3, `${accept}: ${made} answers are made, of ${begun}`)
    const gone = sockets.pop()
    gone?.destroy()
    const lengths = await Promise.all(
      sockets.map(async (socket) => {
        let length = 0
        for await (const chunk of socket) length += chunk.length
        return length
      }),
    )
    t.equal(lengths.filter((length) => length > 4_000_000).length, begun - 1, 'who reads gets them all')
  }
  const batch = await post(
    gateway.url,
    [1, 2, 3].map((n) => ({ query: query(n) })),
  )
  t.match(
    batch.body.errors,
    [{ extensions: { code: 'ANSWER_TOO_LARGE' } }],
    'the entries of a batch do not wait for each other',
  )
})
