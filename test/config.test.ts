/** Wrong settings are said in one line before anything is written, and `customers config` shows all of them. */
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { loadGatewayConfiguration } from '../gateway/configuration.ts'
import { gatewayOptions } from '../gateway/options.ts'
import { loadConfiguration } from '../runtime/configuration.ts'
import { runCommand } from './support/commands.ts'
import { temporaryFolder } from './support/graph.ts'

const NOT_SET = { EVENTSTORE_URL: '', READMODEL_URL: '', DATA_DIR: '', MASTER_KEY: '' }
const KEYS = { EMAIL_HASH_KEY: '', TOKEN_SIGNING_KEY: '', AUDIT_SIGNING_KEY: '' }

/** Runs a command in a folder of its own, in an environment with only the given variables. */
const run = (folder: string, command: string, env: Record<string, string>, ...args: string[]) =>
  runCommand(folder, [command, ...args], { ...NOT_SET, ...KEYS, ...PORTS, ...env })
const PORTS = { GATEWAY_PORT: '', SUBGRAPH_PORT: '', SAMPLES_PORT: '', LOG_LEVEL: '', HOST: '' }

interface Row {
  readonly name: string
  readonly value: string | null
  readonly source: string
  readonly problem?: string
}

async function config(folder: string, env: Record<string, string>, ...args: string[]) {
  const { code, output } = await run(folder, 'config', env, '--json', ...args)
  const { ok, variables } = JSON.parse(output) as { ok: boolean; variables: Row[] }
  return { code, ok, output, row: (name: string) => variables.find((each) => each.name === name) }
}

t.test('gateway: what can not be used', async (t) => {
  for (const [name, value, accepted] of [
    ['TRUST_PROXY', 'foo', 'addresses or networks of proxies'],
    ['TRUST_PROXY', '0.0.0.0/0', 'addresses or networks of proxies'],
    ['TRUST_PROXY', '::/00', 'addresses or networks of proxies'],
    ['TRUST_PROXY', '10.0.0.0/33', 'addresses or networks of proxies'],
    ['TRUST_PROXY', '10.0.0.0/8,,10.0.0.0/8/8', 'addresses or networks of proxies'],
    ['CORS_ORIGINS', 'foo', 'origins'],
    ['OVERRIDE_LABELS', 'percent(200)', 'labels of @override, percent'],
    ['OVERRIDE_LABELS', 'percent(-1)', 'labels of @override, percent'],
    ['OVERRIDE_LABELS', '5', 'labels of @override, percent'],
    ['FORWARD_HEADERS', 'x-a x-b', 'header names'],
    ['RETURN_HEADERS', 'x:y', 'header names'],
    ['SUBGRAPH_SECRET_FOR', 'a b', "subgraphs' names"],
    ['SUBGRAPH_TIMEOUT_MS', '1e3', 'a whole number, 1 or more'],
    ['SUBGRAPH_TIMEOUT_MS', '0', 'a whole number, 1 or more'],
    ['BATCH_LIMIT', ' ', 'a whole number'],
    ['LIMIT_COST', '0x10', 'a whole number'],
    ['PERSISTED_QUERIES_MANIFEST', ' ', "a manifest file's path"],
  ] as const) {
    t.throws(
      () => loadGatewayConfiguration({ [name]: value }),
      {
        name: 'ConfigurationError',
        message: `${name}: ${JSON.stringify(value)} can't be used; accepted: ${accepted}`,
      },
      `${name}=${value}`,
    )
  }
  t.match(
    loadGatewayConfiguration({
      TRUST_PROXY: '10.0.0.0/8, 2001:db8::/32, 192.0.2.1, loopback',
      OVERRIDE_LABELS: 'orders-v2,percent(5),percent(0.5)',
    }),
    {
      TRUST_PROXY: ['10.0.0.0/8', '2001:db8::/32', '192.0.2.1', 'loopback'],
      OVERRIDE_LABELS: ['orders-v2', /5/, /0\.5/],
    },
  )
})

t.test('the URL of a subgraph that there is not', async (t) => {
  const supergraph = join(import.meta.dirname, '../examples/commerce/supergraph.graphql')
  const options = (env: Record<string, string>) =>
    gatewayOptions(loadConfiguration({ SUPERGRAPH: supergraph }), loadGatewayConfiguration(env))
  t.throws(() => options({ SUBGRAPH_URL_CUSTOMER: 'http://x/' }), {
    name: 'ConfigurationError',
    message:
      /^SUBGRAPH_URL_CUSTOMER: .* has no such subgraph; accepted: SUBGRAPH_URL_CATALOG, SUBGRAPH_URL_CUSTOMERS, /,
  })
  t.match(options({ SUBGRAPH_URL_CATALOG: 'http://x/' }), { subgraphUrls: { CATALOG: 'http://x/' } })
  t.throws(() => options({ SUBSCRIPTION_URLS: 'catalogue=ws://x/' }), {
    name: 'ConfigurationError',
    message: /^SUBSCRIPTION_URLS: .* has no subgraph "catalogue"; accepted: catalog, customers, orders\./,
  })
  t.throws(() => options({ SUBSCRIPTION_URLS: 'catalog' }), { message: /^SUBSCRIPTION_URLS: "catalog" can't be used/ })
  t.throws(() => options({ SUBSCRIPTION_URLS: 'catalog=ws://x/,catalog=ws://y/' }), {
    message:
      /^SUBSCRIPTION_URLS: "catalog=ws:\/\/x\/,catalog=ws:\/\/y\/" can't be used; accepted: one pair for each subgraph, .* or none\.$/,
  })
  t.match(options({ SUBSCRIPTION_URLS: 'catalog=ws://x/a?b=c, orders=https://y/' }), {
    subscriptions: { urls: { catalog: 'ws://x/a?b=c', orders: 'https://y/' } },
  })
})

t.test('`none` stands alone in a list', (t) => {
  for (const [name, value] of [
    ['ANSWER_ENCODINGS', 'none,br'],
    ['SUBGRAPH_ENCODINGS', 'gzip, none'],
    ['TRUST_PROXY', 'none,loopback'],
    ['GATEWAY_PLUGIN', './a.ts,none'],
  ] as const) {
    const message = new RegExp(`^${name}: "${value}" can't be used; accepted: .* or none\\.$`)
    t.throws(() => loadGatewayConfiguration({ [name]: value }), { name: 'ConfigurationError', message })
    t.same(loadGatewayConfiguration({ [name]: ' none ' })[name], [])
  }
  t.end()
})

t.test('every process: one line, before anything is written', async (t) => {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, 'broken.yaml'), 'account:\n  groups: [\n')
  const cases = [
    ['start', { NODE_ENV: 'staging' }, /^error: NODE_ENV: "staging" can't be used; accepted: production, /],
    ['start', { EVENTSTOREDB_URL: 'esdb://u:hunter2@h' }, /^error: EVENTSTOREDB_URL .*did you mean EVENTSTORE_URL\?$/],
    ['mail', { EVENT_STORE_URL: 'esdb://h' }, /did you mean EVENTSTORE_URL\?$/],
    ['projections', { REDMODEL_URL: 'redis://h' }, /did you mean READMODEL_URL\?$/],
    ['rebuild', { MASTER_KEYS: 'x' }, /did you mean MASTER_KEY\?$/],
    ['gateway', { CORS_ORIGIN: 'https://x.example' }, /did you mean CORS_ORIGINS\?$/],
    ['subgraph', { STORE_CONFIG_FILE: 'x' }, /only secrets are read from files; set STORE_CONFIG itself\.$/],
    ['start', { NODE_ENV: 'production' }, /^error: EVENTSTORE_URL is set but empty; accepted in production: sqlite:/],
    ['subgraph', { NODE_ENV: 'production' }, /^error: EVENTSTORE_URL is set but empty/],
    ['start', { STORE_CONFIG: 'broken.yaml' }, /^error: STORE_CONFIG: "broken\.yaml" can't be read \(.* at line \d+, /],
    ['start', { SUBGRAPH_URL_X: 'http://x/' }, /^error: SUBGRAPH_URL_X: .* has no such subgraph/],
    ['start', { HOST: ' ' }, /^error: HOST: " " can't be used/],
    ['start', { GATEWAY_PLUGIN: 'none.ts' }, /^error: GATEWAY_PLUGIN: none\.ts does not exist\.$/],
    ['compose', {}, /broken\.yaml: .* at line \d+, /],
  ] as const
  for (const [index, [command, env, message]] of cases.entries()) {
    const own = join(folder, String(index))
    await mkdir(own)
    await writeFile(join(own, 'broken.yaml'), 'account:\n  groups: [\n')
    const { code, output } = await run(own, command, env, ...(command === 'compose' ? ['broken.yaml'] : []))
    t.equal(code, 1, output)
    const [line = '', ...more] = output.trim().split('\n')
    t.match(line, message)
    if (command !== 'compose') t.same(more, [])
    t.notMatch(output, /hunter2/)
    t.same(await readdir(own), ['broken.yaml'], 'nothing is written')
  }
})

t.test('config: where each value comes from; nothing is made or hidden wrongly', async (t) => {
  const folder = await temporaryFolder(t)
  const fresh = await config(folder, {})
  t.match(fresh, { code: 0, ok: true })
  t.match(fresh.row('EVENTSTORE_URL'), { value: 'sqlite:data/events.db', source: /^default/ })
  t.match(fresh.row('MASTER_KEY'), { value: null, source: /data\/master-key, which npm start makes/ })
  t.match(fresh.row('LIMIT_DEPTH'), { value: '20', source: 'default' })
  t.match((await config(folder, {}, '--for', 'mail')).row('MASTER_KEY'), { problem: /^MASTER_KEY is not set/ })
  t.same(await readdir(folder), [])

  await mkdir(join(folder, 'own'))
  await writeFile(join(folder, 'own', 'email-hash-key'), 'x'.repeat(40))
  await writeFile(join(folder, 'secret'), 'hunter2hunter2hunter2\n')
  await writeFile(
    join(folder, 'subgraphs.yaml'),
    'all: { retries: 1 }\nsubgraphs: { catalog: { timeout: 2s, headers: [store] } }',
  )
  const set = await config(folder, {
    DATA_DIR: 'own',
    SUBGRAPH_SECRET_FILE: 'secret',
    SMTP_URL: 'smtp://ann:hun/ter2@mail.example:587',
    READMODEL_URL: 'redis://:hunter2@redis.example:6379/1',
    SUBGRAPH_URL_CUSTOMERS: 'https://customers.example/graphql?key=hunter2',
    SUBGRAPH_SETTINGS: 'subgraphs.yaml',
  })
  t.match(set.row('EVENTSTORE_URL'), { value: 'sqlite:own/events.db' })
  t.match(set.row('EMAIL_HASH_KEY'), { value: '(hidden)', source: 'generated file own/email-hash-key' })
  t.match(set.row('SUBGRAPH_SECRET'), { value: '(hidden)', source: 'file secret' })
  t.match(set.row('READMODEL_URL'), { value: 'redis://redis.example:6379/…', source: 'environment' })
  t.match(set.row('SUBGRAPH_URL_CUSTOMERS'), { value: 'https://customers.example/…' })
  t.match(set.row('subgraph catalog'), {
    value: 'timeout 2000 ms; retries 1; connections 64; headers store',
    source: 'subgraphs.yaml: catalog',
  })
  t.match(set.row('subgraph orders'), { value: /^timeout 10000 ms; retries 1; /, source: 'subgraphs.yaml: all' })
  t.match(set.row('MASTER_KEY'), { problem: /own\/master-key is missing: put it back/ }, 'a key that was lost')
  t.equal(set.code, 1)
  t.notMatch(set.output, /hunter2|hun\/ter2|x{40}/)
})

t.test('config: all that is wrong, at once', async (t) => {
  const folder = await temporaryFolder(t)
  const env = {
    NODE_ENV: 'prod',
    GATEWAY_PORT: 'http',
    TRUST_PROXY: 'foo',
    EVENTSTOREDB_URL: 'esdb://u:hunter2@h',
    SUBGRAPH_URL_CUSTOMERS: 'nonsense',
    TOKEN_SIGNING_KEY: 'hunter2',
    KEYS_URL: 'esdb://u:hunter2@h?tls=maybe',
    STORE_CONFIG: 'none.yaml',
    SUPERGRAPH: 'none.graphql',
    PERSISTED_QUERIES: 'safelist',
    GATEWAY_PLUGIN: 'none.ts',
    SUBGRAPH_SETTINGS: 'none.yaml',
  }
  const wrong = await config(folder, env)
  t.match(wrong, { code: 1, ok: false })
  for (const name of Object.keys(env)) t.type(wrong.row(name)?.problem, 'string', name)
  t.equal(wrong.output.match(/"problem"/g)?.length, Object.keys(env).length)
  const { code, output } = await run(folder, 'config', env)
  t.equal(code, 1)
  t.match(output, /^! GATEWAY_PORT +http +\(environment\)$/m)
  t.match(output, /^error: GATEWAY_PORT: "http" can't be used; accepted: a port/m)
  t.match(output, /^12 settings are wrong\.$/m)
  t.notMatch(output + wrong.output, /hunter2/)
  t.same(await readdir(folder), [])
})
