/** `npm start` as a newcomer meets it, and what it says when it can't start. */
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { client, signIn, temporaryFolder } from './support/graph.ts'
import { freePort, startProcess, untilReady } from './support/processes.ts'

const command = 'start'

t.test('prints what there is, serves it, keeps the data over a restart', async (t) => {
  const folder = await temporaryFolder(t)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const start = async () => {
    const started = startProcess(t, command, folder, { GATEWAY_PORT: String(port) })
    await untilReady(started, `${url}/readyz`)
    while (!started.output().includes('Sign in:')) await new Promise((resolve) => setTimeout(resolve, 10))
    return started
  }
  const first = await start()
  t.match(first.output(), `${url}/graphql`)
  t.match(first.output(), join(folder, 'events.db'))
  const [, email = '', password = ''] = /customer (\S+), password (\S+)/.exec(first.output()) ?? []
  const [, signInQuery = ''] = /(mutation \{ generateCustomerToken.*)/.exec(first.output()) ?? []
  const [, query = ''] = /(\{ customer \{.*)/.exec(first.output()) ?? []
  t.notMatch(first.output(), /Warning|Deprecat/, 'no noise')

  const send = client(`${url}/graphql`)
  const { data } = await send(signInQuery)
  const { token } = data.generateCustomerToken
  const answer = await send(query, { token })
  t.equal(answer.errors, undefined)
  t.match(answer.data.customer, { firstname: 'Veronica', email })
  t.ok(answer.data.customer.orders.length > 0, 'has orders')
  t.type(answer.data.customer.orders[0].items[0].product.name, 'string', 'customer -> orders -> products')

  const page = await fetch(url, { headers: { accept: 'text/html' } })
  t.match(page.headers.get('content-type'), /text\/html/)
  t.notMatch(await page.text(), /<(script|link)[^>]+(src|href)="?https?:/, 'the editor needs no network')

  await send('mutation { updateCustomer(input: { firstname: "Vera" }) { customer { id } } }', { token })
  t.equal(await first.end('SIGTERM'), 0)
  const second = await start()
  t.match(
    (await send('{ customer { firstname } }', { token })).data,
    { customer: { firstname: 'Vera' } },
    'the token holds too',
  )
  t.ok(await signIn(send, email, password))
  t.equal(await second.end('SIGINT'), 0)
})

t.test('in production: no samples, no editor, no introspection', async (t) => {
  const folder = await temporaryFolder(t)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const started = startProcess(t, command, folder, { GATEWAY_PORT: String(port), NODE_ENV: 'production' })
  await untilReady(started, `${url}/readyz`)
  t.notMatch(started.output(), /Sample/)
  t.equal((await fetch(url, { headers: { accept: 'text/html' } })).status, 404)
  const send = client(`${url}/graphql`)
  t.ok((await send('{ __schema { types { name } } }')).errors)
  t.match((await send('{ customer { orders { number } } }')).errors, [{ message: /Cannot query field "orders"/ }])
})

t.test('what keeps it from starting is said in one line, with exit code 1', async (t) => {
  const busy = createServer()
  await new Promise<void>((resolve) => busy.listen(0, '127.0.0.1', resolve))
  t.teardown(() => busy.close())
  const { port } = busy.address() as { port: number }
  const folder = await temporaryFolder(t)
  const file = join(folder, 'file')
  await writeFile(file, 'not a database, and long enough to be told apart from an empty file'.repeat(20))
  const cases: [Record<string, string>, RegExp][] = [
    ...['GATEWAY_PORT', 'SUBGRAPH_PORT', 'SAMPLES_PORT'].map((variable): [Record<string, string>, RegExp] => [
      { [variable]: String(port) },
      new RegExp(`^error: port ${port} on 127.0.0.1 is in use: .*${variable}`),
    ]),
    [{ HOST: '203.0.113.1' }, /^error: HOST: "203.0.113.1" is not an address of this machine/],
    [{ EVENTSTORE_URL: `sqlite:${file}` }, /^error: .*file is not an event store/],
    [{ READMODEL_URL: `sqlite:${file}` }, /^error: .*file is not a read model/],
    [{ EVENTSTORE_URL: `sqlite:${file}/events.db` }, /^error: .*events\.db can't be opened/],
    [{ DATA_DIR: `${file}/data` }, /^error: .*file/],
    [{ GATEWAY_PORT: 'http' }, /^error: GATEWAY_PORT: "http" can't be used; accepted: a port/],
    [{ SUPERGRAPH: join(folder, 'none.graphql') }, /^error: .*none\.graphql/],
    [{ TOKEN_SIGNING_KEY: 'nonsense' }, /^error: TOKEN_SIGNING_KEY: .*Ed25519/],
  ]
  await Promise.all(
    cases.map(async ([env, message], index) => {
      const own = join(folder, String(index))
      await mkdir(own)
      const started = startProcess(t, command, own, env)
      t.equal(await started.ended, 1, Object.keys(env).join())
      const lines = started.output().trim().split('\n')
      t.match(lines, [message])
      t.equal(lines.length, 1, lines.join('\n'))
    }),
  )
})
