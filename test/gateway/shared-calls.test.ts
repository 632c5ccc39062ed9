/** Queries of guests that are the same and in flight at the same moment are one subgraph call. */
import { once } from 'node:events'
import { createServer, request as httpRequest, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { GatewayOptions } from '../../gateway/server.ts'
import { until } from '../support/until.ts'
import { compose, post, startGateway } from './support.ts'

const SDL = 'type Query { greeting: String other: String } type Mutation { change: String }'

/** A subgraph that answers when it is told to, and a gateway in front of it. */
async function startHeld(t: Test, options: Partial<GatewayOptions> = {}) {
  const held: ServerResponse[] = []
  const server = createServer((request, response) => {
    request.resume()
    held.push(response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`
  const gateway = await startGateway(t, { supergraph: compose(t, { a: { sdl: SDL, url } }), ...options })

  return {
    ...gateway,
    held,
    ask: (headers: Record<string, string> = {}, query = '{ greeting }') => post(gateway.url, { query }, headers),
    /** Waits for so many calls since the last time, and answers them. */
    async answer(calls: number, data: object = { greeting: 'hello' }): Promise<void> {
      await until(`${calls} calls`, () => held.length >= calls)
      await delay(30) // a further one would have come by now
      t.equal(held.length, calls, 'calls')
      for (const response of held.splice(0)) {
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ data }))
      }
    },
    async shared(): Promise<number> {
      const metrics = await (await fetch(`${gateway.base}/metrics`)).text()
      return Number(/gateway_subgraph_shared_total\{service="a"\} (\d+)/.exec(metrics)?.[1] ?? 0)
    },
  }
}

t.test('guests who ask the same share a call, each with the whole answer', async (t) => {
  const { ask, answer, shared } = await startHeld(t)
  const asked = Array.from({ length: 5 }, () => ask())
  await until('4 shared', async () => (await shared()) === 4)
  await answer(1)
  for (const { status, body } of await Promise.all(asked)) {
    t.equal(status, 200)
    t.same(body, { data: { greeting: 'hello' } })
  }
  const later = ask()
  await answer(1, { greeting: 'later' })
  t.same((await later).body, { data: { greeting: 'later' } }, 'what is over is not kept')
})

t.test('what differs in anything that goes down is a call of its own', async (t) => {
  const { ask, answer, shared } = await startHeld(t, { trustProxy: true })
  const asked = [
    ask(),
    ask({}, '{ other }'),
    ask({ store: 'de' }),
    ask({ 'user-agent': 'another one' }),
    ask({ 'x-forwarded-for': '192.0.2.1' }),
    ask({ authorization: 'Bearer one' }),
    ask({ authorization: 'Bearer one' }),
  ]
  await answer(asked.length)
  await Promise.all(asked)
  t.equal(await shared(), 0)
})

t.test('`guests`: whatever the address and the user agent, but never with a token or a cookie', async (t) => {
  const forwardHeaders = ['authorization', 'cookie', 'store', 'user-agent']
  const { ask, answer, shared } = await startHeld(t, { trustProxy: true, sharedCalls: 'guests', forwardHeaders })
  const asked = [
    ask(),
    ask({ 'user-agent': 'another one' }),
    ask({ 'x-forwarded-for': '192.0.2.1' }),
    ask({ store: 'de' }),
    ask({ cookie: 'PHPSESSID=1' }),
    ask({ cookie: 'PHPSESSID=1' }),
    ask({ authorization: 'Bearer one' }),
  ]
  await until('2 shared', async () => (await shared()) === 2)
  await answer(5)
  await Promise.all(asked)
})

t.test('`off`, and where the cookies of subgraphs come back: none', async (t) => {
  for (const options of [{ sharedCalls: 'off' }, { returnHeaders: ['Set-Cookie'] }] as const) {
    const { ask, answer } = await startHeld(t, options)
    const asked = [ask(), ask()]
    await answer(2)
    await Promise.all(asked)
  }
})

t.test('a query that begins after a mutation was answered does not join one from before it', async (t) => {
  const { ask, held } = await startHeld(t)
  const before = ask()
  await until('call 1', () => held.length === 1)
  const change = ask({}, 'mutation { change }')
  await until('call 2', () => held.length === 2)
  const send = (response: ServerResponse | undefined, data: object) =>
    response?.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ data }))
  send(held[1], { change: 'done' })
  await change
  const after = ask()
  await until('call 3', () => held.length === 3)
  send(held[2], { greeting: 'new' })
  t.same((await after).body, { data: { greeting: 'new' } })
  send(held[0], { greeting: 'old' })
  t.same((await before).body, { data: { greeting: 'old' } })
})

t.test('mutations are never shared', async (t) => {
  const { ask, answer } = await startHeld(t)
  const asked = [ask({}, 'mutation { change }'), ask({}, 'mutation { change }')]
  await answer(2, { change: 'done' })
  await Promise.all(asked)
})

t.test('a call is given up when the last client has gone away, and nobody joins it then', async (t) => {
  const { url, ask, held, shared, answer } = await startHeld(t)
  const leave = () => {
    const request = httpRequest(url, { method: 'POST', headers: { 'content-type': 'application/json' } })
    request.on('error', () => {})
    request.end(JSON.stringify({ query: '{ greeting }' }))
    return request
  }
  const clients = [leave(), leave()]
  await until('1 shared', async () => (await shared()) === 1)
  await until('call 1', () => held.length === 1)
  const [call] = held.splice(0) as [ServerResponse]
  clients[0]?.destroy()
  await delay(50)
  t.notOk(call.destroyed, 'one of two still waits')
  clients[1]?.destroy()
  if (!call.destroyed) await once(call, 'close')
  t.notOk(call.writableEnded)
  const next = ask()
  await answer(1)
  t.same((await next).body, { data: { greeting: 'hello' } })
})

t.test('a batch with the same query several times is one client', async (t) => {
  const { url, held, shared } = await startHeld(t, { batchLimit: 5 })
  const request = httpRequest(url, { method: 'POST', headers: { 'content-type': 'application/json' } })
  request.on('error', () => {})
  request.end(JSON.stringify(Array.from({ length: 4 }, () => ({ query: '{ greeting }' }))))
  await until('3 shared', async () => (await shared()) === 3)
  await until('call 1', () => held.length === 1)
  request.destroy()
  await until('the call is given up', () => held[0]?.destroyed === true)
})

t.test('one client of two goes away: the other one has the answer', async (t) => {
  const { url, ask, held, shared, answer } = await startHeld(t)
  const headers = { 'content-type': 'application/json', 'user-agent': 'one' }
  const request = httpRequest(url, { method: 'POST', headers })
  request.on('error', () => {})
  request.end(JSON.stringify({ query: '{ greeting }' }))
  await until('call 1', () => held.length === 1)
  const staying = ask({ 'user-agent': 'one' })
  await until('1 shared', async () => (await shared()) === 1)
  request.destroy()
  await delay(30)
  await answer(1)
  t.same((await staying).body, { data: { greeting: 'hello' } })
})

t.test('a call that fails fails for each', async (t) => {
  const { ask, held, shared } = await startHeld(t)
  const asked = [ask(), ask()]
  await until('1 shared', async () => (await shared()) === 1)
  await until('call 1', () => held.length === 1)
  held[0]?.writeHead(200, { 'content-type': 'application/json' }).end('not GraphQL')
  for (const { body } of await Promise.all(asked)) {
    t.match(body, { data: { greeting: null }, errors: [{ extensions: { code: 'SERVICE_UNAVAILABLE', service: 'a' } }] })
  }
})
