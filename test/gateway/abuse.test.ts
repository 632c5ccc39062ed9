/** Clients and subgraphs that misbehave: each gets its proper answer, and the others are served meanwhile. */
import { createServer, type RequestListener, request } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { until } from '../support/until.ts'
import { compose, post, startGateway, startSubgraph } from './support.ts'

const sdl = `
  type Query { hello: String thing: Thing things: [Thing!]! }
  type Thing { id: ID! name: String next: Thing kind: Kind number: Int }
  enum Kind { A B }
`
const resolvers = { Query: { hello: () => 'hello', thing: () => ({ id: '1' }), things: () => [] } }

async function strange(t: Test, listener: RequestListener): Promise<string> {
  const server = createServer((request, response) => request.resume().on('end', () => listener(request, response)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`
}

t.test('requests that are too much', async (t) => {
  const supergraph = compose(t, { a: { sdl, url: await startSubgraph(t, sdl, resolvers) } })
  const { url } = await startGateway(t, { supergraph })
  const isWell = async () => t.same((await post(url, { query: '{ hello }' })).body, { data: { hello: 'hello' } })
  const deep = `{ thing ${'{ next '.repeat(10_000)}{ id }${' }'.repeat(10_000)} }`
  const cyclic = 'query { thing { ...A } } fragment A on Thing { next { ...B } } fragment B on Thing { next { ...A } }'
  const laughs = `{ thing { ...F0 } } ${Array.from(
    { length: 40 },
    (_, index) =>
      `fragment F${index} on Thing { ${index < 39 ? `a: next { ...F${index + 1} } b: next { ...F${index + 1} }` : 'id'} }`,
  ).join(' ')}`
  const overlapping = `{ thing { ${'name '.repeat(20_000)} } }`
  const spread = `{ ${'...F '.repeat(20_000)} } fragment F on Query { hello }`
  const directives = `{ hello ${'@include(if: true) '.repeat(10_000)} }`
  for (const [what, body, status] of [
    ['a body of 10 MB', { query: `{ hello } #${'x'.repeat(10_000_000)}` }, 413],
    ['malformed JSON', '{"query":"{ hello }"', 400],
    ['half a number of brackets', '['.repeat(500_000), 413],
    ['lists in lists', `{"query":"{ hello }","variables":{"a":${'['.repeat(240_000)}${']'.repeat(240_000)}}}`, 413],
    ['lists of nothing', `{"query":"{ hello }","extensions":{"a":[${'[],'.repeat(300_000)}1]}}`, 413],
    ['many numbers', `{"query":"{ hello }","variables":{"a":[${'1.10,'.repeat(200_000)}1]}}`, 413],
    ['many members', `{"query":"{ hello }",${'"a":1,'.repeat(160_000)}"b":1}`, 413],
    ['25,000 values', `{"query":"{ hello }","variables":{"a":[${'1,'.repeat(24_900)}1]}}`, 200],
    ['a text that looks like values', { query: '{ hello }', variables: { a: '\\"[,{'.repeat(100_000) } }, 200],
    ['depth 10,000', { query: deep }, 400],
    ['a million aliases', { query: `{ ${'a:hello '.repeat(120_000)} }` }, 400],
    ['many aliases', { query: `{ ${Array.from({ length: 5_000 }, (_, n) => `a${n}: hello`).join(' ')} }` }, 400],
    ['cyclic fragments', { query: cyclic }, 400],
    ['fragments that double forty times', { query: laughs }, 400],
    ['fields that overlap', { query: overlapping }, 400],
    ['fragments that repeat', { query: spread }, 400],
    ['directives that repeat', { query: directives }, 400],
    ['a string without an end', { query: `{ hello(a: "${'x'.repeat(500_000)}` }, 400],
    ['deep variables', `{"query":"{ hello }","variables":${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}}`, 200],
  ] as const) {
    const started = process.cpuUsage()
    const answer = await post(url, body)
    t.equal(answer.status, status, what)
    if (status !== 200) t.match(answer.body.errors[0].message, /./, answer.body.errors[0].message.slice(0, 100))
    const { user } = process.cpuUsage(started)
    t.ok(user < 3_000_000, `${what}: ${Math.round(user / 1_000)} ms of the processor`)
    await isWell()
  }
})

t.test('who announces large bodies and does not send them keeps nobody out', async (t) => {
  const supergraph = compose(t, { a: { sdl, url: await startSubgraph(t, sdl, resolvers) } })
  const { url } = await startGateway(t, { supergraph })
  const body = JSON.stringify({ query: `{ hello } # ${'x'.repeat(1_000_000)}` })
  const begin = (localAddress: string) => {
    const headers = { 'content-type': 'application/json', 'content-length': body.length }
    const sent = request(url, { method: 'POST', headers, localAddress, agent: false })
    const status = new Promise<number | undefined>((resolve, reject) =>
      sent.on('response', ({ statusCode }) => resolve(statusCode)).on('error', reject),
    )
    sent.flushHeaders()
    t.teardown(() => sent.destroy())
    return { sent, status }
  }
  const silent = ['127.0.0.3', '127.0.0.3', '127.0.0.4', '127.0.0.4'].map(begin)
  await delay(1_500)
  const other = begin('127.0.0.2')
  other.sent.end(body)
  t.equal(await other.status, 200)
  t.ok((await Promise.all(silent.map(({ status }) => status))).includes(408))
})

t.test('who waits for large bodies of its own hurries nobody else', async (t) => {
  const supergraph = compose(t, { a: { sdl, url: await startSubgraph(t, sdl, resolvers) } })
  const { url } = await startGateway(t, { supergraph })
  const send = (localAddress: string, bytes: number, pace: number) => {
    const body = JSON.stringify({ query: `{ hello } # ${'x'.repeat(bytes)}` })
    const headers = { 'content-type': 'application/json', 'content-length': body.length }
    const sent = request(url, { method: 'POST', headers, localAddress, agent: false })
    let left = body
    const sending = setInterval(() => {
      sent.write(left.slice(0, pace))
      left = left.slice(pace)
      if (left === '') end()
    }, 250)
    const end = () => {
      clearInterval(sending)
      sent.end()
    }
    t.teardown(() => {
      clearInterval(sending)
      sent.destroy()
    })
    return new Promise<number | undefined>((resolve, reject) =>
      sent.on('response', ({ statusCode }) => resolve(statusCode)).on('error', reject),
    )
  }
  const many = Array.from({ length: 3 }, () => send('127.0.0.3', 1_000_000, 80_000))
  t.equal(await send('127.0.0.4', 40_000, 4_000), 200)
  t.same(await Promise.all(many), [200, 200, 200])
})

t.test('a client has so many connections, and a trusted proxy any number', async (t) => {
  const supergraph = compose(t, { a: { sdl, url: await startSubgraph(t, sdl, resolvers) } })
  const { url, app } = await startGateway(t, { supergraph, connectionsPerClient: 20, trustProxy: ['127.0.1.0/24'] })
  const { port } = app.server.address() as AddressInfo
  const open = (localAddress: string, count: number) =>
    Array.from({ length: count }, () => {
      const socket = connect({ host: '127.0.0.1', port, localAddress }).on('error', () => {})
      t.teardown(() => socket.destroy())
      socket.write('POST /graphql HTTP/1.1\r\nHost: x\r\n')
      return socket
    })
  // The server's own sockets tell: a client that has not read an answer does not learn that its connection was closed.
  const arrived: Socket[] = []
  const refused = new Set<Socket>()
  app.server.on('connection', (socket: Socket) => {
    arrived.push(socket)
    if (socket.destroyed) refused.add(socket)
  })
  const from = (address: string) => arrived.filter(({ remoteAddress }) => remoteAddress === address)
  const others = async () => t.same((await post(url, { query: '{ hello }' })).body, { data: { hello: 'hello' } })

  const first = open('127.0.0.3', 50)
  await until('all have arrived', () => from('127.0.0.3').length === 50)
  t.equal(refused.size, 30)
  open('127.0.1.7', 50)
  await until('those of the proxy have arrived', () => from('127.0.1.7').length === 50)
  await others()
  for (const socket of first) socket.destroy()
  await until('they are closed', () => from('127.0.0.3').every(({ closed }) => closed))
  open('127.0.0.3', 20)
  await until('others have arrived', () => from('127.0.0.3').length === 70)
  await others()
  t.equal(refused.size, 30, 'closed ones make room')
})

t.test('clients that are slow hold nobody up', async (t) => {
  const supergraph = compose(t, { a: { sdl, url: await startSubgraph(t, sdl, resolvers) } })
  const { url, app } = await startGateway(t, { supergraph, requestTimeoutMs: 700 })
  const { port } = app.server.address() as AddressInfo
  let closed = 0
  const sockets = Array.from({ length: 200 }, (_, index) => {
    const socket = connect(port, '127.0.0.1').on('close', () => closed++)
    socket.on('error', () => {}).resume()
    const half =
      index % 2 === 0
        ? 'POST /graphql HTTP/1.1\r\nhost: x\r\n'
        : 'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{'
    socket.write(half)
    return socket
  })
  t.teardown(() => sockets.forEach((socket) => void socket.destroy()))
  t.same((await post(url, { query: '{ hello }' })).body, { data: { hello: 'hello' } })
  await until('they are let go', () => closed === 200)
})

t.test('a subgraph that breaks its own schema', async (t) => {
  let data: unknown
  const broken = await strange(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ data }))
  })
  const other = 'type Query { fine: String }'
  const fine = await startSubgraph(t, other, { Query: { fine: () => 'fine' } })
  const supergraph = compose(t, { a: { sdl, url: broken }, b: { sdl: other, url: fine } })
  const { url } = await startGateway(t, { supergraph })
  const query = '{ fine thing { id name kind number next { id } } hello }'
  const good = { id: '1', name: 'n', kind: 'A', number: 1, next: null }
  for (const [sent, expected, path] of [
    [{ ...good, kind: 'C' }, { ...good, kind: null }, ['thing', 'kind']],
    [{ ...good, number: 1.5 }, { ...good, number: null }, ['thing', 'number']],
    [{ ...good, number: '1' }, { ...good, number: null }, ['thing', 'number']],
    [{ ...good, name: { a: 1 } }, { ...good, name: null }, ['thing', 'name']],
    [{ ...good, next: [] }, { ...good, next: null }, ['thing', 'next']],
    [{ ...good, next: 'x' }, { ...good, next: null }, ['thing', 'next']],
    [{ ...good, id: null }, null, ['thing', 'id']],
    [{ ...good, next: {} }, { ...good, next: null }, ['thing', 'next', 'id']],
    [{ ...good, __typename: 'Other' }, null, ['thing']],
    [{ ...good, id: 7 }, { ...good, id: '7' }, undefined],
    [7, null, ['thing']],
  ] as const) {
    data = { thing: sent, hello: 'x' }
    const { status, body } = await post(url, { query })
    t.equal(status, 200)
    t.same(body.data, { fine: 'fine', thing: expected, hello: 'x' }, JSON.stringify(sent))
    t.same(
      (body.errors ?? []).map((error: { path: unknown }) => error.path),
      path ? [path] : [],
    )
    t.notMatch(JSON.stringify(body.errors ?? []), /"1"|Other/, 'no value in a message')
  }
  data = { things: [{ id: '1' }, null, { id: '3' }] }
  const list = await post(url, { query: '{ fine things { id } }' })
  t.same(list.body.data, null, 'it bubbles to the top')
  t.match(list.body.errors, [{ path: ['things', 1] }])
  data = JSON.parse(
    '{"hello":"x","thing":{"id":"1","__proto__":{"name":"polluted"},"constructor":{"prototype":{"name":"polluted"}}}}',
  )
  const polluted = await post(url, { query: '{ thing { id name toString: name valueOf: name constructor: name } }' })
  t.equal(polluted.body.data.thing.name, null)
  t.equal(polluted.body.data.thing.toString, null)
  t.equal(({} as { name?: string }).name, undefined)
  for (const alias of ['__typename', '__schema', '__proto__', '__x']) {
    const refused = await post(url, { query: `{ thing { ${alias}: name } }` })
    t.equal(refused.status, 400, alias)
    t.match(refused.body.errors, [{ extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } }])
  }
})

t.test('a subgraph that never stops', async (t) => {
  const endless = await strange(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    const chunk = Buffer.alloc(1024 * 1024, 'x')
    const more = () => {
      while (!response.destroyed && response.write(chunk));
    }
    response.on('drain', more)
    more()
  })
  const other = 'type Query { fine: String }'
  const fine = await startSubgraph(t, other, { Query: { fine: () => 'fine' } })
  const supergraph = compose(t, { a: { sdl, url: endless }, b: { sdl: other, url: fine } })
  const { url } = await startGateway(t, { supergraph })
  const { body } = await post(url, { query: '{ fine hello }' })
  t.same(body.data, { fine: 'fine', hello: null })
  t.match(body.errors, [{ path: ['hello'], extensions: { code: 'SERVICE_UNAVAILABLE' } }])
})
