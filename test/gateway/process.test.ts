import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import t from 'tap'
import { loadGatewayConfiguration } from '../../gateway/configuration.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'

/** Runs the gateway's main; `ready` resolves to its address, `end` to how it ended. */
function run(env: Record<string, string>) {
  const child = spawn(process.execPath, ['bin/customers.js', 'gateway'], {
    // Not about the load of the machine that runs the tests.
    env: { PATH: process.env.PATH ?? '', GATEWAY_PORT: '0', MAX_EVENT_LOOP_DELAY_MS: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stderr.on('data', (data) => {
    stderr += data
  })
  const ready = new Promise<string>((resolve) => {
    child.stdout.on('data', (data) => {
      stdout += data
      const url = /listening at (http:\/\/[\d.:]+)/.exec(stdout)?.[1]
      if (url) resolve(url)
    })
  })
  const end = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
  return { child, ready, end }
}

t.test('starts, serves and drains on SIGTERM', async (t) => {
  const { child, ready, end } = run({ NODE_ENV: 'production', SUBGRAPH_URL_CUSTOMERS: 'http://127.0.0.1:1/graphql' })
  t.teardown(() => child.kill('SIGKILL'))
  const url = await ready
  const answer = await fetch(`${url}/graphql?query={customer{id}}`)
  t.match(await answer.json(), { data: { customer: null }, errors: [{ extensions: { code: 'SERVICE_UNAVAILABLE' } }] })
  t.equal(
    (await fetch(`${url}/graphql?query={__schema{queryType{name}}}`)).status,
    400,
    'no introspection in production',
  )
  t.equal((await fetch(url, { headers: { accept: 'text/html' } })).status, 404, 'no editor in production')
  t.equal((await fetch(`${url}/metrics`)).status, 404, 'no metrics, where no port is given for them')
  const asked = { origin: 'http://localhost:5173', 'access-control-request-method': 'POST' }
  const { headers } = await fetch(`${url}/graphql`, { method: 'OPTIONS', headers: asked })
  t.equal(headers.get('access-control-allow-origin'), null, 'pages of this machine may not read answers')
  child.kill('SIGTERM')
  const { code, stdout } = await end
  t.equal(code, 0)
  t.match(stdout, /"service.name":"gateway","service.version":"[^"]+","signal":"SIGTERM","msg":"stopping: /)
  t.match(stdout, /"signal":"SIGTERM","ms":\d+,"msg":"stopped"/)
})

t.test('what stops it is said in one line', async (t) => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as { port: number }
  const bad = `${t.testdir({ 'bad.graphql': 'type Query {' })}/bad.graphql`
  const cases: [Record<string, string>, RegExp][] = [
    [{ GATEWAY_PORT: String(port) }, new RegExp(`port ${port} .*GATEWAY_PORT`)],
    [{ SUPERGRAPH: bad }, /bad\.graphql can't be served: Syntax Error/],
  ]
  for (const [env, line] of cases) {
    const { code, stderr } = await run(env).end
    t.equal(code, 1)
    t.match(stderr, line)
    t.equal(stderr.trim().split('\n').length, 1, stderr)
  }
  // What a process says of a ConfigurationError, and how it ends, is in production.test.ts.
  for (const [load, message] of [
    [() => loadConfiguration({ GATEWAY_PORT: 'x' }), /^GATEWAY_PORT: "x" can't be used.*$/],
    [
      () => loadGatewayConfiguration({ SUBGRAPH_URL_CUSTOMERS: 'ftp://x' }),
      /^SUBGRAPH_URL_CUSTOMERS: "ftp:\/\/x" can't be used.*$/,
    ],
    [() => loadConfiguration({ SUBGRAPH_SECRET: 'short' }), /^SUBGRAPH_SECRET: its value can't be used.*$/],
  ] as const) {
    t.throws(load, { name: 'ConfigurationError', message })
  }
})
