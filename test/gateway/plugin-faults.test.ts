/** Plugins that do what their types forbid: it closes their own request, and reaches no other. */
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import type { GatewayPlugin } from '../../gateway/plugin.ts'
import type { GatewayOptions } from '../../gateway/server.ts'
import { compose, createTokens, listen, post, startGateway } from './support.ts'

const supergraph = compose(t, { main: { sdl: 'type Query { hello: String }', url: 'http://127.0.0.1:1/' } })
const GREETING = '{"data":{"hello":"x"}}'
const FAILING =
  '{"data":{"hello":null},"errors":[{"message":"row of ann","path":["hello"],"extensions":{"n":12345678901234567890123}}]}'

interface Call {
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A gateway with plugins over one real subgraph. @param answer decides what the subgraph sends */
async function start(
  t: Test,
  plugins: readonly object[],
  {
    answer = () => GREETING,
    ...own
  }: Partial<GatewayOptions> & { answer?: (call: Call) => string | Promise<string> } = {},
) {
  const calls: Call[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const call = { headers: request.headers, body }
    calls.push(call)
    response.writeHead(200, { 'content-type': 'application/json' }).end(await answer(call))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const lines: string[] = []
  const stream = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk))
      done()
    },
  })
  const gateway = await startGateway(t, {
    supergraph,
    subgraphUrls: { main: `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql` },
    plugins: plugins as GatewayPlugin[],
    logger: { level: 'info', stream },
    ...own,
  })
  return { ...gateway, calls, lines }
}

const SECRET = 'token-of-ann@example.com'
const trap = () => {
  throw new Error(SECRET)
}

t.test('whatever a plugin throws is a failure of that plugin, and the log quotes nothing of it', async (t) => {
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const changed = Object.assign(new Error(`first\n    at ${SECRET}`), { message: 'second' })
  const thrown: [string, unknown][] = [
    ['nothing', undefined],
    ['a symbol', Symbol(SECRET)],
    ['a proxy', new Proxy(new Error(), { get: trap, getPrototypeOf: trap })],
    ['a revoked proxy', revoked.proxy],
    ['an error without a stack', Object.assign(new Error(SECRET), { stack: 5 })],
    ['an error with another message', changed],
    ['an error whose message is no text', Object.assign(new Error(`\n    at ${SECRET}`), { message: { length: 0 } })],
    ['an error that can’t be read', Object.defineProperty(new Error(), 'message', { get: trap })],
  ]
  let current: unknown
  let hook = ''
  const fail = (name: string) => () => {
    if (name === hook) throw current
  }
  const later = (name: string) => async () => fail(name)()
  const hooks = ['onRequest', 'onOperation', 'onSubgraphRequest', 'onResponse']
  for (const make of [fail, later]) {
    const { url, lines } = await start(t, [Object.fromEntries(hooks.map((name) => [name, make(name)]))])
    for (const name of hooks) {
      for (const [what, value] of thrown) {
        ;[current, hook] = [value, name]
        lines.length = 0
        const { body } = await post(url, { query: '{ hello }' })
        t.equal(body.errors?.[0].extensions.code, 'PLUGIN_FAILED', `${name} throws ${what}`)
        t.match(lines.join(''), `"hook":"${name}"`)
        t.notMatch(lines.join(''), SECRET, what)
      }
    }
  }
})

t.test('a refusal that reaches another request refuses that one as well', async (t) => {
  let verdict: Promise<void> | undefined
  const kept: { reject?: () => void } = {}
  const { url, calls } = await start(t, [
    {
      // One check for all requests that wait for it: its `reject` is that of the first.
      onRequest: ({ headers, reject }: { headers: IncomingHttpHeaders; reject: (why: object) => never }) => {
        kept.reject ??= () => reject({ message: 'Late.', code: 'LATE' })
        if (headers['x-late']) return kept.reject()
        verdict ??= delay(20).then(() => reject({ message: 'No.', code: 'UNKNOWN_TENANT', status: 404 }))
        return verdict
      },
    },
  ])
  const answers = await Promise.all([1, 2, 3].map(() => post(url, { query: '{ hello }' })))
  for (const { status, body } of answers) {
    t.equal(status, 404)
    t.equal(body.errors[0].extensions.code, 'UNKNOWN_TENANT')
  }
  t.equal((await post(url, { query: '{ hello }' }, { 'x-late': '1' })).status, 403)
  t.equal(calls.length, 0)
})

t.test('what a plugin changes in its arguments reaches nobody else', async (t) => {
  const tokens = createTokens()
  const keys = Fastify()
  keys.get('/jwks', () => ({ keys: [tokens.jwk] }))
  const seen: unknown[] = []
  const swallow = (work: () => void) => {
    try {
      work()
    } catch {
      // frozen
    }
  }
  const { url, calls } = await start(
    t,
    [
      {
        // biome-ignore lint/suspicious/noExplicitAny: it does what the types forbid
        onOperation({ claims, fields, headers }: any) {
          seen.push([claims.scope, [...fields]])
          if (headers['x-change'] === undefined) return
          swallow(() => {
            claims.scope = 'admin'
          })
          swallow(() => fields.splice(0))
        },
        // biome-ignore lint/suspicious/noExplicitAny: the same
        onSubgraphRequest: ({ body }: any) => void body.fill(32),
      },
    ],
    { tokenKeys: { jwksUrl: `${await listen(t, keys)}/jwks` } },
  )
  const authorization = `Bearer ${tokens.sign('1')}`
  const ask = (more: Record<string, string>) => post(url, { query: '{ hello }' }, { authorization, ...more })
  await ask({ 'x-change': '1' })
  await ask({})
  t.same(seen, Array(2).fill([undefined, ['Query.hello']]))
  for (const { body } of calls) t.match(JSON.parse(body), { query: /hello/ }, 'the body stays as it was planned')
})

t.test('errors that onResponse changes in place, or that are no JSON', async (t) => {
  type Response = Parameters<NonNullable<GatewayPlugin['onResponse']>>[0]
  // biome-ignore lint/suspicious/noExplicitAny: plugins do what the types forbid
  const answerWith = async (change: (errors: any, response: Response) => void) => {
    const plugin: GatewayPlugin = { onResponse: (response) => change(response.errors, response) }
    const { url, lines } = await start(t, [plugin], { answer: () => FAILING })
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"query":"{ hello }"}',
    })
    return { text: await response.text(), log: lines.join('') }
  }
  const changed = await answerWith((errors, { setErrors }) => {
    errors[0].message = 'Hidden.'
    setErrors(errors)
  })
  t.equal(changed.text, FAILING.replace('row of ann', 'Hidden.'), 'digits stay as well')
  const added = await answerWith((errors, { setErrors }) => {
    errors.push({ message: 'More.' })
    setErrors(errors)
  })
  t.equal(added.text, FAILING.replace('}}]', '}},{"message":"More."}]'))
  const ignored = await answerWith((errors) => errors.pop())
  t.equal(ignored.text, FAILING, 'errors are replaced by setErrors alone')
  const wrong: unknown[] = [
    [{ message: 'a', extensions: { n: 1n } }],
    [{ message: 'a', extensions: { toJSON: trap } }],
    [{ message: 'a', extensions: 'x' }],
    [{ message: 'a', path: 'hello' }],
    [{ message: 'a', locations: 5 }],
    new Proxy([], { get: trap }),
  ]
  for (const errors of wrong) {
    const { text, log } = await answerWith((_, { setErrors }) => setErrors(errors as []))
    t.match(text, '"code":"PLUGIN_FAILED"')
    t.match(log, '"hook":"onResponse"')
    t.notMatch(log, SECRET)
  }
})

t.test('the headers of an answer that is replaced are not sent with its replacement', async (t) => {
  const generous: GatewayPlugin = {
    onResponse({ outcome, setHeader }) {
      if (outcome !== 'success') return
      setHeader('cache-control', 'public, max-age=60')
      setHeader('set-cookie', 'session=1')
    },
  }
  const get = async (url: string, query: string) => {
    const { status, headers } = await fetch(`${url}?${new URLSearchParams({ query })}`)
    return [status, headers.get('cache-control'), headers.get('set-cookie')]
  }
  const failing = await start(t, [generous, { onResponse: trap }])
  t.same(await get(failing.url, '{ hello }'), [500, 'no-store', null])
  const whole = await start(t, [generous])
  t.same(await get(whole.url, '{ hello }'), [200, 'public, max-age=60', 'session=1'])
  const large = await start(t, [generous], { answerLimit: 30, batchLimit: 2 })
  const { body, headers } = await post(large.url, [{ query: '{ hello }' }, { query: '{ hello }' }])
  t.match(body, { errors: [{}] })
  t.equal(headers.get('cache-control'), 'no-store', 'a batch that is too large')
})

t.test('an answer to a cookie that a plugin may read is not compressed', async (t) => {
  const plugin: GatewayPlugin = {
    onRequest({ headers, setHeader }) {
      if (headers.cookie) setHeader('authorization', `Bearer ${headers.cookie}`)
    },
  }
  const { url, calls } = await start(t, [plugin], {
    answer: () => JSON.stringify({ data: { hello: 'x'.repeat(4000) } }),
  })
  const encoding = async (headers: Record<string, string>) => {
    const response = await fetch(`${url}?query={hello}`, { headers: { 'accept-encoding': 'gzip', ...headers } })
    await response.arrayBuffer()
    return response.headers.get('content-encoding')
  }
  t.equal(await encoding({ cookie: 'session' }), null)
  t.equal(calls[0]?.headers.authorization, 'Bearer session')
  t.equal(await encoding({}), 'gzip')
})
