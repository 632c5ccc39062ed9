/** `npm start` as a newcomer meets it, and what it says when it can't start. */
import { readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { simpleParser } from 'mailparser'
import t from 'tap'
import { filesIn } from './mail/support.ts'
import { runCommand } from './support/commands.ts'
import { client, freshEmail, signIn, signUp, temporaryFolder } from './support/graph.ts'
import { freePort } from './support/ports.ts'
import { startProcess, untilReady } from './support/processes.ts'
import { until } from './support/until.ts'

const command = 'start'
const root = join(import.meta.dirname, '..')

/** Drivers of servers, exporters, and what only some requests need: not loaded on embedded stores. */
const ON_DEMAND = [
  ...['@grpc/grpc-js', '@kurrent/kurrentdb-client', 'google-protobuf', 'redis'],
  ...['@opentelemetry/sdk-trace-node', '@opentelemetry/sdk-metrics', '@opentelemetry/resources'],
  ...['@opentelemetry/exporter-trace-otlp-http', '@opentelemetry/exporter-metrics-otlp-http'],
  ...['@apollo/gateway', '@apollo/composition', '@apollo/usage-reporting-protobuf', '@graphql-yoga/render-graphiql'],
  ...['bcryptjs', 'csv-parse', 'cli-progress'],
]
const PLANNER = ['@apollo/query-planner', '@apollo/federation-internals']
const GRAPHQL = ['graphql', 'mercurius', '@apollo/subgraph']
/** What each process may not import besides. */
const OF_OTHERS: Readonly<Record<string, readonly string[]>> = {
  subgraph: [...PLANNER, 'undici', 'jose', 'nodemailer'],
  projections: [...PLANNER, ...GRAPHQL, 'undici', 'jose', 'nodemailer', 'fast-jwt', 'yaml'],
  mail: [...PLANNER, ...GRAPHQL, 'undici', 'jose', 'fast-jwt'],
  gateway: ['mercurius', '@apollo/subgraph', 'nodemailer', 'fast-jwt', 'libsodium'],
}
/** Imports that are left once types are stripped, and that are not dynamic. */
const IMPORT = /^(?:import|export)(?! type\b)(?:[^'"]*? from)? '([^']+)'/gm
const packageOf = (specifier: string) => /^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? ''

/** The packages that a module of ours imports, and those that it imports, before it runs. */
function importsOf(path: string, seen = new Set<string>()): string[] {
  if (seen.has(path) || !path.endsWith('.ts')) return []
  seen.add(path)
  return [...readFileSync(path, 'utf8').matchAll(IMPORT)].flatMap(([, specifier = '']) => {
    if (specifier.startsWith('.')) return importsOf(resolve(dirname(path), specifier), seen)
    return specifier.startsWith('node:') ? [] : packageOf(specifier)
  })
}

t.test('a process imports what it uses', (t) => {
  t.same([...new Set(importsOf(join(root, 'bin/customers.ts')))], ['commander'], '--help')
  t.same([...new Set(importsOf(join(root, 'bin/environment.ts')))], ['zod'], 'the check of the environment')
  for (const [name, others] of Object.entries(OF_OTHERS)) {
    const imports = importsOf(join(root, `bin/commands/${name}.ts`))
    t.ok(imports.length > 0)
    t.same(
      [...ON_DEMAND, ...others].filter((each) => imports.includes(each)),
      [],
      name,
    )
  }
  t.end()
})

/** Prints each package that the process has loaded, when it ends. */
const PROBE = `
  import { registerHooks } from 'node:module'
  const loaded = new Set()
  registerHooks({
    resolve(specifier, context, next) {
      const found = next(specifier, context)
      const [, name] = /.*node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(found.url) ?? []
      if (name) loaded.add(name)
      return found
    },
  })
  process.on('exit', () => console.log('loaded: ' + [...loaded].join()))`

t.test('prints what there is, serves it, keeps the data over a restart', async (t) => {
  const folder = await temporaryFolder(t)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const start = async () => {
    const started = startProcess(t, command, folder, { GATEWAY_PORT: String(port) })
    await untilReady(started, `${url}/readyz`)
    await until('it says how to sign in', () => started.output().includes('Sign in:'))
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

  await t.test('says where mails go, and sends them', async (t) => {
    t.match(first.output(), `Mail       ${join(folder, 'mail')} (.eml files)`)
    const { email } = await signUp(send, freshEmail())
    await send('mutation($email: String!) { requestPasswordResetEmail(email: $email) }', { variables: { email } })
    const files = () => filesIn(folder, 'reset-password')
    await until('the mail is there', async () => (await files()).length === 1)
    const mail = await simpleParser(readFileSync(join(folder, 'mail', (await files())[0] ?? '')))
    t.match(mail, { to: { value: [{ name: 'Ann Lee', address: email }] } })
    const [, resetPasswordToken = ''] = /token=(\w+)/.exec(mail.text ?? '') ?? []
    const reset = await send(
      'mutation($email: String!, $token: String!) { resetPassword(email: $email, resetPasswordToken: $token, newPassword: "N3w-password") }',
      { variables: { email, token: resetPasswordToken } },
    )
    t.same(reset.data, { resetPassword: true })
  })

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
  const started = startProcess(t, command, folder, {
    GATEWAY_PORT: String(port),
    NODE_ENV: 'production',
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(PROBE)}`,
  })
  await untilReady(started, `${url}/readyz`)
  t.notMatch(started.output(), /Sample/)
  t.equal((await fetch(url, { headers: { accept: 'text/html' } })).status, 404)
  const send = client(`${url}/graphql`)
  t.ok((await send('{ __schema { types { name } } }')).errors)
  t.match((await send('{ customer { orders { number } } }')).errors, [{ message: /Cannot query field "orders"/ }])
  t.equal(await started.end('SIGTERM'), 0)
  const loaded = /^loaded: (.*)$/m.exec(started.output())?.[1]?.split(',') ?? []
  t.ok(loaded.includes('mercurius') && loaded.includes('undici'), 'what it loads is known')
  t.same(
    ON_DEMAND.filter((each) => loaded.includes(each)),
    [],
    'nothing that embedded stores do not need',
  )
})

t.test('what keeps it from starting is said in one line, with exit code 1', async (t) => {
  const busy = createServer()
  await new Promise<void>((resolve) => busy.listen(0, '127.0.0.1', resolve))
  t.teardown(() => busy.close())
  const { port } = busy.address() as { port: number }
  const folder = await temporaryFolder(t)
  const file = join(folder, 'file')
  await writeFile(file, 'not a database, and long enough to be told apart from an empty file'.repeat(20))
  const portInUse = (variable: string): [Record<string, string>, RegExp] => [
    { [variable]: String(port) },
    new RegExp(`^error: port ${port} on 127.0.0.1 is in use: .*${variable}`),
  ]
  const cases: [Record<string, string>, RegExp][] = [
    portInUse('SUBGRAPH_PORT'),
    portInUse('SAMPLES_PORT'),
    [{ HOST: '203.0.113.1' }, /^error: HOST: "203.0.113.1" is not an address of this machine/],
    [{ EVENTSTORE_URL: `sqlite:${file}` }, /^error: .*file is not an event store/],
    [{ READMODEL_URL: `sqlite:${file}` }, /^error: .*file is not a read model/],
    [{ EVENTSTORE_URL: `sqlite:${file}/events.db` }, /^error: .*events\.db can't be opened/],
    [{ DATA_DIR: `${file}/data` }, /^error: .*file/],
    [{ GATEWAY_PORT: 'http' }, /^error: GATEWAY_PORT: "http" can't be used; accepted: a port/],
    [{ SUPERGRAPH: join(folder, 'none.graphql') }, /^error: .*none\.graphql/],
    [{ TOKEN_SIGNING_KEY: 'nonsense' }, /^error: TOKEN_SIGNING_KEY: .*Ed25519/],
  ]
  const assertRefused = (code: unknown, output: string, message: RegExp, name: string) => {
    t.equal(code, 1, name)
    const lines = output.trim().split('\n')
    t.match(lines, [message])
    t.equal(lines.length, 1, lines.join('\n'))
  }
  for (const [index, [env, message]] of cases.entries()) {
    const own = join(folder, String(index))
    await mkdir(own)
    const { code, output } = await runCommand(own, [command], env)
    assertRefused(code, output, message, Object.keys(env).join())
  }
  // As a process: what is open by then, all but the gateway, keeps it no longer than the start.
  const [env, message] = portInUse('GATEWAY_PORT')
  const started = startProcess(t, command, folder, env)
  assertRefused(await started.ended, started.output(), message, 'GATEWAY_PORT')
})
