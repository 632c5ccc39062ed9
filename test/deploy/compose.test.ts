/**
 * docker-compose.yml and Dockerfile, without a container engine: the file is valid by the compose schema, and each command,
 * health check and path in it is run here as a container would run it.
 */
import '../support/needs-redis.ts'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { connect } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { DCLinter } from 'dclint'
import t from 'tap'
import { parse } from 'yaml'
import { openKurrentEventStore } from '../../eventstore/kurrentdb/event-store.ts'
import { KEY_VARIABLES } from '../../runtime/service-keys.ts'
import { STREAM_PREFIXES } from '../../schema/streams.ts'
import { runCommand } from '../support/commands.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import { client, signUp, temporaryFolder } from '../support/graph.ts'
import { KEYS } from '../support/keys.ts'
import { startProcess, untilReady } from '../support/processes.ts'
import { startRedis } from '../support/redis.ts'
import { createContainers } from './containers.ts'

const root = join(import.meta.dirname, '../..')
const file = join(root, 'docker-compose.yml')

interface Service {
  readonly image: string
  readonly build?: { readonly context: string }
  readonly command: readonly string[]
  readonly entrypoint?: readonly string[]
  readonly working_dir?: string
  readonly environment?: Readonly<Record<string, string>>
  readonly healthcheck?: { readonly test: readonly string[] }
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
  readonly deploy?: { readonly replicas: number }
  readonly ports?: readonly string[]
  readonly profiles?: readonly string[]
  readonly user?: string
  readonly read_only?: boolean
  readonly secrets?: readonly string[]
  readonly volumes?: readonly string[]
}
const compose = parse(readFileSync(file, 'utf8'), { merge: true }) as {
  readonly services: Readonly<Record<string, Service>>
  readonly secrets: Readonly<Record<string, { readonly file: string }>>
}
const probeOf = (name: string): readonly string[] => service(name).healthcheck?.test ?? []
const service = (name: string): Service => {
  const found = compose.services[name]
  if (!found) throw new Error(`docker-compose.yml has no service ${name}`)
  return found
}
const IMPORT = /(?:\bfrom |^import |\bimport\()'([^']+)'/gm
const OURS = ['gateway', 'subgraph', 'projections', 'mail', 'samples', 'console']

interface LintMessage {
  readonly type: string
  readonly message: string
}

function schemaErrors(path: string): string[] {
  const linter = new DCLinter({ rules: {}, quiet: true, debug: false, exclude: [] })
  const results = linter.lintFiles([path], false)
  return results
    .flatMap(({ messages }: { readonly messages: readonly LintMessage[] }) => messages)
    .filter(({ type }: LintMessage) => type === 'error')
    .map(({ message }: LintMessage) => message)
}

t.test('the compose file is valid by the schema, and a broken one is not', async (t) => {
  t.same(schemaErrors(file), [])
  const folder = await temporaryFolder(t)
  const broken = join(folder, 'docker-compose.yml')
  writeFileSync(broken, readFileSync(file, 'utf8').replace('start_period: 20s', 'start_when: 20s'))
  t.not(schemaErrors(broken).length, 0)
})

t.test('our services run as nobody special, in an order, several where they can be', async (t) => {
  for (const name of OURS) {
    const { user, read_only, build, command } = service(name)
    t.match({ user, read_only, build }, { user: 'node', read_only: true, build: { context: '.' } }, name)
    t.ok(existsSync(join(root, command[1] as string)), command.join(' '))
  }
  t.equal(service('subgraph').deploy?.replicas, 2)
  t.equal(service('projections').deploy?.replicas, 2)
  t.same(service('projections').command.slice(3), ['--mode', 'group'])
  t.equal(service('mail').deploy, undefined, 'one')
  t.same(service('samples').profiles, ['samples'])
  t.same(service('console').profiles, ['console'], 'it needs a sign-in first')
  for (const name of ['gateway', 'console']) {
    for (const port of service(name).ports ?? []) t.match(port, /^127\.0\.0\.1:/, `${name}: of this host alone`)
  }
  for (const [name, { depends_on = {}, secrets = [] }] of Object.entries(compose.services)) {
    for (const [dependency, { condition }] of Object.entries(depends_on)) {
      t.equal(condition, 'service_healthy', `${name} waits for ${dependency}`)
      t.ok(service(dependency).healthcheck)
    }
    for (const secret of secrets) t.ok(compose.secrets[secret], `${name}: ${secret}`)
  }
})

t.test('the gateway reads its supergraph from a folder of the host, so that a new one is picked up', async (t) => {
  const { environment = {}, volumes = [] } = service('gateway')
  const [, folder = '', mounted = ''] = /^\$\{SUPERGRAPH_FOLDER:-\.\/(.+)\}:(.+):ro$/.exec(volumes[0] ?? '') ?? []
  t.ok(environment.SUPERGRAPH?.startsWith(`${mounted}/`), 'the variable names a file in the folder that is mounted')
  for (const each of [folder, 'examples/commerce']) {
    t.ok(existsSync(join(root, each, (environment.SUPERGRAPH ?? '').slice(mounted.length + 1))), each)
  }
})

/** The image goes without these. In production, the query editor is off. */
const NOT_IN_PRODUCTION = ['@graphql-yoga/render-graphiql']

t.test('the image holds all that the processes import, and the packages that it installs', (t) => {
  const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8')
  const sources = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, paths = '']) => paths.split(' '))
  for (const source of sources) t.ok(existsSync(join(root, source)), source)
  const ignored = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n')
  for (const source of sources) t.ok(ignored.includes(`!${source}`), `${source} is in the build's context`)
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const seen = new Set<string>()
  const walk = (path: string): void => {
    if (seen.has(path)) return
    seen.add(path)
    const name = path.slice(root.length + 1)
    t.ok(
      sources.some((source) => name === source || name.startsWith(`${source}/`)),
      `${name} is in the image`,
    )
    if (!path.endsWith('.ts')) return
    for (const [, specifier = ''] of readFileSync(path, 'utf8').matchAll(IMPORT)) {
      if (specifier.startsWith('.')) walk(resolve(dirname(path), specifier))
      else if (!specifier.startsWith('node:') && !builtinModules.includes(specifier)) {
        const [scope = '', bare = ''] = specifier.split('/')
        const dependency = scope.startsWith('@') ? `${scope}/${bare}` : scope
        if (NOT_IN_PRODUCTION.includes(dependency))
          t.notOk(dependencies[dependency], `${dependency} is not in the image`)
        else t.ok(dependencies[dependency], `${name} imports ${dependency}, a dependency`)
      }
    }
  }
  for (const name of ['bin/customers.js', 'bin/customers.ts']) walk(join(root, name))
  t.ok(seen.size > 50)
  t.end()
})

t.test(
  'each process runs with its command, its environment and secrets from files, and its health check tells',
  async (t) => {
    const folder = await temporaryFolder(t)
    const made = await runCommand(folder, ['secrets'])
    t.equal(made.code, 0, made.stderr)
    t.equal(statSync(join(folder, 'secrets')).mode & 0o777, 0o700)
    const again = await runCommand(folder, ['secrets'])
    t.equal(again.output.match(/left as it is/g)?.length, 8, 'made once')
    const secretFiles = Object.fromEntries(
      Object.entries(compose.secrets).map(([name, { file }]) => [`/run/secrets/${name}`, join(folder, file)]),
    )

    const [events, redis] = await Promise.all([startEventStoreServer(t), startRedis(t)])
    const workspace = join(folder, 'read-only')
    mkdirSync(workspace)
    const mounted = { ...secretFiles, '/supergraph': join(root, 'examples/commerce') }
    const { outside, port, reserve, start } = createContainers(t, workspace, mounted, (text) =>
      text
        .replace(/^kurrentdb:\/\/kurrentdb:2113\?tls=false$/, events.url)
        .replace(/^redis:\/\/redis:6379$/, redis.url)
        .replace(/^\$\{KEYS_URL:-sqlite:\/keys\//, `\${KEYS_URL:-sqlite:${folder}/keys/`)
        .replace(/^\$\{SUPERGRAPH_FOLDER:\+(.*)\}$/, '$1')
        .replace(/^\$\{\w+:-(.*)\}$/, '$1'),
    )
    for (const name of OURS) await reserve(name)
    /** Where its health check asks. */
    const probed = (name: string): string => {
      const [url = '', ...command] = probeOf(name).toReversed()
      t.same(command.toReversed(), ['CMD', 'node', 'bin/customers.js', 'healthcheck'], name)
      return outside(url)
    }
    const check = async (url: string) => {
      const started = startProcess(t, 'healthcheck', folder, {}, [url])
      return { status: await started.ended, output: started.output() }
    }
    const processes = new Map<string, ReturnType<typeof startProcess>>()
    for (const name of ['subgraph', 'projections', 'mail', 'samples', 'gateway', 'console'] as const) {
      const url = probed(name)
      await t.rejects(fetch(url), `${name} is not up`)
      const { command, environment = {} } = service(name)
      // What `.env` says: in production nobody gets in without a sign-in.
      const signIn = { CONSOLE_PROXY_HEADER: 'x-user', CONSOLE_TRUST_PROXY: '127.0.0.1', DATA_DIR: workspace }
      const started = await start(name, command, { ...environment, ...(name === 'console' && signIn) })
      processes.set(name, started)
      await untilReady(started, url)
    }
    const up = await check(probed('gateway'))
    t.equal(up.status, 0, `it is healthy: ${up.output}`)
    const send = client(`http://127.0.0.1:${port('gateway')}/graphql`)
    const { token, email } = await signUp(send)
    const answer = await send('{ customer { email orders { number } } }', { token })
    t.match(answer.data, { customer: { email, orders: Array } })
    t.same(readdirSync(workspace), [], 'nothing is written where the image is')
    const log = openKurrentEventStore(events.url)
    t.teardown(() => log.close())
    const streams = new Set<string>()
    for await (const { stream } of log.readAll({ systemEvents: true })) streams.add(stream)
    t.ok([...streams].some((stream) => stream.startsWith(STREAM_PREFIXES.customer)))
    t.notOk(
      [...streams].some((stream) => stream.startsWith(STREAM_PREFIXES.keys)),
      'no key of a customer is in the log',
    )
    t.ok(existsSync(join(folder, 'keys/keys.db')))

    const output = join(folder, 'output')
    mkdirSync(output)
    const tools = service('tools')
    t.same(tools.entrypoint, ['node', '/app/bin/customers.js'])
    const env = Object.fromEntries(Object.entries(tools.environment ?? {}).map(([key, value]) => [key, outside(value)]))
    const cleared = Object.fromEntries(Object.keys(KEYS).map((name) => [name, '']))
    for (const [line, says] of [
      [`audit history ${email} --reveal --reason test`, /CustomerRegistered[\s\S]*Ann/],
      [`audit subject ${email} --reason test`, /customer-1\.json/],
      ['backup keys', /keys: events-keys\.db/],
    ] as const) {
      const own = { ...cleared, NODE_ENV: 'production', ...env, DATA_DIR: output }
      t.match(await runCommand(output, line.split(' '), own), { code: 0, output: says }, line)
    }
    t.same(
      readdirSync(output).sort(),
      ['customer-1.json', 'keys'],
      'what commands write is in the folder of the output',
    )
    for (const name of processes.keys()) {
      const { port } = new URL(probed(name))
      for (const sent of [
        '',
        'POST /graphql HTTP/1.1\r\n',
        'POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{',
      ]) {
        const client = connect(Number(port), '127.0.0.1').on('error', () => {})
        await once(client, 'connect')
        client.write(sent)
      }
    }
    for (const [name, started] of processes) {
      t.equal(
        await started.end('SIGTERM'),
        0,
        `${name} drains, although clients are connected that send nothing, or a part`,
      )
    }
    t.match(await check(probed('gateway')), { status: 1, output: /does not answer/ })
  },
)

t.test(
  'operators have a service with all keys and a place to write; whoever has the log has the keys, too',
  async (t) => {
    const { profiles, environment = {}, volumes = [], working_dir, user, read_only, secrets = [] } = service('tools')
    t.match({ profiles, user, read_only }, { profiles: ['tools'], user: 'node', read_only: true })
    t.ok(volumes.includes(`output:${working_dir}`))
    for (const variable of KEY_VARIABLES) {
      const name = environment[`${variable}_FILE`]?.slice('/run/secrets/'.length)
      t.ok(name && secrets.includes(name), variable)
    }
    for (const [name, each] of Object.entries(compose.services)) {
      if (each.environment?.EVENTSTORE_URL === undefined) continue
      t.match(each.environment.KEYS_URL, /^\$\{KEYS_URL:-sqlite:\/keys\/keys\.db\}$/, name)
      t.ok(each.volumes?.includes('keys:/keys'), name)
    }
    // A volume takes its owner from the image.
    const [, made = '', owned = ''] =
      /^RUN mkdir -p (.+) && chown node (.+)$/m.exec(readFileSync(join(root, 'Dockerfile'), 'utf8')) ?? []
    t.equal(made, owned)
    for (const each of OURS.concat('tools').flatMap((name) => service(name).volumes ?? [])) {
      const [source = '', target = ''] = each.split(':')
      if (/^\w+$/.test(source)) t.ok(owned.split(' ').includes(target), `${target} is the user's in the image`)
    }
  },
)

// It takes each variable that begins so for an option, and one that it does not know stops it: EVENTSTORE_URL does.
t.test("the event store's own process is given its options and nothing of the service's", async (t) => {
  const { environment = {}, secrets = [] } = service('kurrentdb')
  t.ok(Object.keys(environment).length > 0)
  for (const name of Object.keys(environment)) {
    t.match(name, /^KURRENTDB_/)
    t.notMatch(name, /_(URL|FILE)$/)
  }
  t.same(secrets, [])
})
