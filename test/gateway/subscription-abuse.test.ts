/** Clients of subscriptions that break the rules: none of them may stop the gateway or leave anything behind. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import { stopClock } from '../support/clock.ts'
import { until } from '../support/until.ts'
import { listen, ON_CHANGE, order, start, startStreaming, Topic } from './streaming-subgraph.ts'
import { compose, startGateway, type Test } from './support.ts'

const UPGRADE = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Protocol: graphql-transport-ws',
].join('\r\n')

/** Sends bytes. @returns what comes back until the pattern does, or the connection closes */
function exchange(url: string, bytes: string, expected: RegExp): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  let received = ''
  return new Promise((resolve, reject) => {
    socket.setTimeout(60_000, () => socket.destroy(new Error(`Only this came back: ${received}`)))
    socket.on('data', (data) => {
      received += data
      if (expected.test(received)) socket.destroy()
    })
    socket.on('error', reject).on('close', () => resolve(received))
    socket.write(bytes)
  })
}

const connectionsOf = ({ server }: FastifyInstance): Promise<number> =>
  promisify<number>((done) => server.getConnections(done))()

async function opened(t: Test, url: string): Promise<WebSocket> {
  const socket = new WebSocket(url.replace('http', 'ws'), 'graphql-transport-ws')
  t.teardown(() => socket.terminate())
  await new Promise((resolve) => socket.once('open', resolve))
  return socket
}

/** A WebSocket after `connection_init`. */
async function initialised(t: Test, url: string): Promise<WebSocket> {
  const socket = await opened(t, url)
  socket.send('{"type":"connection_init"}')
  await new Promise((resolve) => socket.once('message', resolve))
  return socket
}

async function closed(socket: WebSocket): Promise<{ readonly code: number; readonly reason: string }> {
  const [code, reason] = await new Promise<[number, string]>((resolve) =>
    socket.once('close', (...[code, reason]) => resolve([code, String(reason)])),
  )
  return { code, reason }
}

const subscribe = (id: string, query: string) => JSON.stringify({ id, type: 'subscribe', payload: { query } })

t.test('an upgrade that is pipelined behind a request that is not answered yet', async (t) => {
  const { url, topic } = await start(t)
  const body = JSON.stringify({ query: '{ orders { id } }' })
  const head = ['POST /graphql HTTP/1.1', 'Host: x', 'Content-Type: application/json', `Content-Length: ${body.length}`]
  const request = `${head.join('\r\n')}\r\n\r\n${body}`
  const upgrade = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n${UPGRADE}\r\n\r\n`
  const answers = await exchange(url, request + upgrade('/graphql'), /BAD_REQUEST/)
  t.match(answers, /^HTTP\/1.1 200 OK[\s\S]*"orders"[\s\S]*HTTP\/1.1 400/, 'both are answered')
  t.match(await exchange(url, request + upgrade('/healthz'), /"ok"/), /"orders"[\s\S]*"status":"ok"/)
  t.match(await exchange(url, upgrade('/graphql'), /\r\n\r\n/), /^HTTP\/1.1 101/)
  t.equal(topic.size, 0)
})

t.test('after too many open files there are subscriptions again, and a new supergraph is noticed', async (t) => {
  const sdl = 'type Query { x: String } type Subscription { y: String }'
  const supergraph = compose(t, { a: { sdl, url: 'http://127.0.0.1:9/' } })
  const script = join(import.meta.dirname, 'open-files-process.ts')
  const limited = ['-c', 'ulimit -n 100; exec "$@"', 'sh', process.execPath, script, supergraph]
  const { stdout } = await promisify(execFile)('sh', limited)
  const [first, second, text, failures] = JSON.parse(stdout)
  t.equal(first, 500)
  t.equal(second, 200)
  t.match(text, '{"data":{"__typename":"Query"}}')
  t.equal(failures, 1, 'it says once that the file can not be read')
})

t.test('the connection of an upgrade that is refused ends, whatever its client does', async (t) => {
  const { url, app } = await start(t)
  const { hostname, port } = new URL(url)
  const client = connect({ host: hostname, port: Number(port), allowHalfOpen: true })
  t.teardown(() => client.destroy())
  client.on('error', () => {}).resume()
  client.write(`GET /graphql HTTP/1.1\r\nHost: x\r\nOrigin: https://elsewhere.example\r\n${UPGRADE}\r\n\r\n`)
  await once(client, 'end')
  await until('it is closed', async () => (await connectionsOf(app)) === 0)
})

t.test('a HEAD opens no stream', async (t) => {
  const { url, orders } = await start(t)
  const query = encodeURIComponent('subscription { orderChanged { id } }')
  const headers = { accept: 'text/event-stream', 'apollo-require-preflight': '1' }
  const { status } = await fetch(`${url}?query=${query}`, { method: 'HEAD', headers })
  t.equal(status, 406)
  t.equal(orders.opened.length, 0)
})

t.test('an id that is used again while its operation is being opened', async (t) => {
  const { url, topic, app } = await start(t, 'sse', { subscriptions: { perClient: 5 } })
  const socket = await initialised(t, url)
  const closed = new Promise((resolve) => socket.once('close', resolve))
  for (let round = 0; round < 4; round++) {
    socket.send(subscribe('1', 'subscription { orderChanged { id } }'))
    socket.send('{"id":"1","type":"complete"}')
  }
  t.equal(await closed, 4409)
  await until('nobody listens', () => topic.size === 0)
  const metrics = () => app.inject('/metrics').then(({ body }) => body)
  t.notMatch(await metrics(), /gateway_subscriptions{transport="websocket"} [1-9]/)
})

t.test('a client that sends queries and reads nothing is not read either', async (t) => {
  const { url, app } = await start(t)
  const socket = await initialised(t, url)
  socket.pause()
  const names = Array.from({ length: 15 }, (_, index) => `${'a'.repeat(250)}${index}`)
  const query = `{ ${names.map((name) => `${name}: orders { id }`).join(' ')} }`
  const count = 4_000
  for (let id = 0; id < count; id++) socket.send(subscribe(String(id), query))
  const answered = async () => {
    const { body } = await app.inject('/metrics')
    return Number(/^gateway_requests_total\{[^}]*type="query"[^}]*\} (\d+)$/m.exec(body)?.[1] ?? 0)
  }
  let before = -1
  for (let now = await answered(); now !== before || now === 0; now = await answered()) {
    before = now
    await delay(500)
  }
  t.ok(before > 0 && before < count / 2, `${before} of ${count} were answered`)
  let results = 0
  const all = new Promise<void>((resolve) => {
    socket.on('message', (message) => {
      if (/"type":"next"/.test(String(message)) && ++results === count) resolve()
    })
  })
  socket.resume()
  await all
  t.equal(results, count, 'once it reads, it gets all of them')
})

t.test('operations over a connection that is gone leave nothing behind', async (t) => {
  const { url, topic } = await start(t)
  for (let round = 0; round < 20; round++) {
    const socket = await initialised(t, url)
    for (let id = 0; id < 5; id++) socket.send(subscribe(String(id), ON_CHANGE))
    if (round % 2) await delay(round)
    socket.terminate()
  }
  await until('nobody listens', () => topic.size === 0)
  const socket = await initialised(t, url)
  socket.send(subscribe('1', ON_CHANGE))
  await until('one listens', () => topic.size === 1)
  const message = new Promise((resolve) => socket.once('message', (data) => resolve(String(data))))
  topic.publish(order('1'))
  t.match(await message, /"next"/)
})

for (const to of ['sse', 'websocket'] as const) {
  t.test(`by ${to}: a gateway that closes finishes a mutation under way`, async (t) => {
    const sdl = 'type Query { one: Int } type Mutation { pay: Int } type Subscription { changed: Int }'
    let isPaying = false
    const pay = async () => {
      isPaying = true
      // Longer than the gateway waits for its connections to close.
      await delay(1_500)
      return 3
    }
    const changed = { subscribe: () => new Topic<number>().subscribe() }
    const { url: subgraph } = await startStreaming(t, sdl, { Mutation: { pay }, Subscription: { changed } })
    const { app, url } = await startGateway(t, { supergraph: compose(t, { one: { sdl, url: subgraph } }) })
    const paying = listen(url, to, 'mutation { pay }')
    await until('it pays', () => isPaying)
    const closed = app.close()
    t.same(await paying.rest(), [{ data: { pay: 3 } }])
    await closed
  })
}

for (const to of ['sse', 'websocket'] as const) {
  t.test(`by ${to}: plugins see queries whole, and each as a request of its own`, async (t) => {
    const methods = new Set<string>()
    const { url } = await start(t, 'sse', {
      plugins: [
        {
          onRequest: ({ headers, method, setHeader, reject }) => {
            methods.add(method)
            if (headers['x-tenant'] !== undefined) reject({ message: 'Clients may not name their tenant.' })
            setHeader('x-tenant', 'one')
          },
          onResponse: ({ errors, setErrors, setHeader }) => {
            setHeader('vary', 'x-tenant')
            if (errors.length > 0) setErrors([{ message: 'changed', extensions: { code: 'CHANGED' } }])
          },
        },
      ],
    })
    const changed = { message: 'changed', extensions: { code: 'CHANGED' } }
    const refused = await listen(url, to, '{ orderz { id } }').rest()
    t.match(refused, to === 'sse' ? [{ errors: [changed] }] : [{ refused: [changed] }], 'also of what is refused')
    const socket = to === 'websocket' ? await initialised(t, url) : undefined
    for (const id of ['1', '2']) {
      const query = '{ orders { id } }'
      if (socket) {
        const message = new Promise((resolve) => socket.on('message', (data) => resolve(String(data))))
        socket.send(subscribe(id, query))
        t.match(await message, '"data"')
      } else t.same(await listen(url, to, query).rest(), [{ data: { orders: [{ id: '1' }] } }])
    }
    t.same([...methods], ['POST'])
  })
}

t.test('a client that sends pings and reads nothing is not read either', async (t) => {
  const { url } = await start(t)
  const socket = await initialised(t, url)
  socket.pause()
  const count = 100_000
  for (let sent = 1; sent <= count; sent++) socket.ping(String(sent).padStart(125))
  let before = -1
  while (socket.bufferedAmount !== before) {
    before = socket.bufferedAmount
    await delay(300)
  }
  t.ok(before > 0, `${before} bytes wait at the client`)
  const pongs: number[] = []
  socket.on('pong', (data) => pongs.push(Number(data)))
  socket.resume()
  await until('the last one is answered', () => pongs.at(-1) === count)
  t.same(
    pongs,
    pongs.toSorted((a, b) => a - b),
    'in their order',
  )
  t.ok(pongs.length < count / 2, `${pongs.length} answers: one may be for several pings`)
  t.equal(socket.bufferedAmount, 0, 'once it reads, it is read')
  socket.ping('one more')
  t.equal(String(await new Promise((resolve) => socket.once('pong', resolve))), 'one more')
})

/** A frame without content, as a client sends it. */
const frame = (first: number) => Buffer.from([first, 0x80, 0, 0, 0, 0])
/** To send what no library does. */
const connectionOf = (socket: WebSocket) => (socket as unknown as { _socket: Socket })._socket

t.test('pings and pongs are read at a pace, also those of a client that is turned away for its protocol', async (t) => {
  const { url, app } = await start(t)
  const { hostname: host, port } = new URL(url)
  const arrived: Socket[] = []
  app.server.on('connection', (socket: Socket) => arrived.push(socket))
  const move = stopClock(t)
  const size = 6 * 100_000
  const other = UPGRADE.replace('graphql-transport-ws', 'other')
  const floods = [
    { what: 'pings', upgrade: UPGRADE, first: 0x89 },
    { what: 'pongs', upgrade: UPGRADE, first: 0x8a },
    { what: 'pings in another protocol', upgrade: other, first: 0x89 },
    { what: 'pongs in another protocol', upgrade: other, first: 0x8a },
  ]
  for (const [index, { what, upgrade, first }] of floods.entries()) {
    const localAddress = `127.0.0.${10 + index}` // a client of its own
    const socket = connect({ port: Number(port), host, localAddress })
    t.teardown(() => socket.destroy())
    socket.resume().write(`GET /graphql HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n\r\n`)
    socket.write(Buffer.alloc(size, frame(first)))
    const read = () => arrived.find(({ remoteAddress }) => remoteAddress === localAddress)
    await until(`${what} wait or are read`, () => {
      const server = read()
      return server && (server.isPaused() || server.bytesRead >= size)
    })
    t.ok(Number(read()?.bytesRead) < size, `${what} wait`)
    await until(`${what} are read in time`, () => {
      move(1_000)
      return Number(read()?.bytesRead) >= size
    })
  }
})

t.test('a message of very many fragments closes the connection', async (t) => {
  const { url } = await start(t)
  const socket = await initialised(t, url)
  connectionOf(socket).write(
    Buffer.concat([frame(0x01), ...Array.from({ length: 200 }, () => frame(0x00)), frame(0x80)]),
  )
  t.match(await closed(socket), { code: 1008 })
})

t.test('a message that is too much is refused before it is parsed, and large ones count as requests', async (t) => {
  const { url } = await start(t, 'sse', { rateLimits: { perMinute: 30 }, bodyValueLimit: 1_000 })
  for (const payload of [`{"a":${'['.repeat(2_000)}${']'.repeat(2_000)}}`, `{"a":[${'1,'.repeat(2_000)}1]}`]) {
    for (const type of ['ping', 'subscribe']) {
      const socket = await initialised(t, url)
      socket.send(`{"id":"1","type":"${type}","payload":${payload}}`)
      t.match(await closed(socket), { code: 4400, reason: /too many JSON values/ })
    }
  }
  const socket = await initialised(t, url)
  let pongs = 0
  socket.on('message', (data) => {
    if (String(data).includes('"pong"')) pongs++
  })
  for (let sent = 0; sent < 60; sent++) socket.send(`{"type":"ping","payload":{"a":"${'x'.repeat(100_000)}"}}`)
  t.match(await closed(socket), { code: 1013 })
  t.ok(pongs <= 26, `${pongs} were answered`)
})

t.test('headers of connection_init are no longer than those of a request', async (t) => {
  // Each operation passes them on to the subgraphs, which would hang up on them: that counts as a failure of theirs.
  const { url } = await start(t)
  const many = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`x-header-${index}`, 'x'.repeat(60)]))
  for (const headers of [{ store: 'x'.repeat(17_000) }, { [`x-${'x'.repeat(17_000)}`]: '' }, many]) {
    for (const payload of [headers, { headers }]) {
      const socket = await opened(t, url)
      socket.send(JSON.stringify({ type: 'connection_init', payload }))
      t.match(await closed(socket), { code: 4403 })
    }
  }
  const socket = await opened(t, url)
  socket.send(
    JSON.stringify({
      type: 'connection_init',
      payload: { authorization: 'x'.repeat(8_000), more: [1, 'x'.repeat(20_000)] },
    }),
  )
  const answer = await new Promise((resolve) => socket.once('message', (data) => resolve(String(data))))
  t.equal(answer, '{"type":"connection_ack"}')
})

t.test('a client is read a few messages at a time, of all its connections together', async (t) => {
  const { url } = await start(t)
  const crowd = await Promise.all(Array.from({ length: 20 }, () => initialised(t, url)))
  let ofCrowd = 0
  for (const each of crowd) each.on('message', () => ofCrowd++)
  for (const each of crowd) for (let sent = 0; sent < 1_000; sent++) each.send('{"type":"ping"}')
  const begun = performance.now()
  await Promise.race(crowd.map((each) => new Promise((resolve) => each.once('message', resolve))))
  await delay(300)
  const seconds = (performance.now() - begun) / 1_000
  t.ok(ofCrowd < 2_000 + 2_000 * seconds, `${ofCrowd} of 20,000 were answered`)
  for (const each of crowd) each.terminate()
  const socket = await initialised(t, url)
  let pongs = 0
  socket.on('message', () => pongs++)
  const count = 20_000
  const first = new Promise((resolve) => socket.once('message', resolve))
  for (let sent = 0; sent < count; sent++)
    socket.send('{"type":"ping","payload":{"some":"thing that takes some room"}}')
  await first
  await delay(500)
  t.ok(pongs < count / 2, `${pongs} of ${count} were answered in half a second`)
  const other = await initialised(t, url)
  const answered = new Promise((resolve) => other.once('message', resolve))
  other.send('{"type":"ping"}')
  await answered
})
