/**
 * The processes of deploy/kubernetes, each run with the command, environment, files and probes of its manifest, watched by a
 * real Prometheus with the rules of deploy/prometheus: what rules and dashboards name is served, and faults that are
 * provoked make alerts fire and resolve. Skipped where Prometheus is not installed.
 */
import '../support/needs-redis.ts'
import { spawn, spawnSync } from 'node:child_process'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { keysOf } from '../../eventstore/encryption/customer-keys.ts'
import { startSmtp } from '../mail/support.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { client, openTestLog, signUp, temporaryFolder } from '../support/graph.ts'
import { KEYS } from '../support/keys.ts'
import { freePort } from '../support/ports.ts'
import { type Started, untilReady } from '../support/processes.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { createContainers } from './containers.ts'
import { FOLDER, podOf, sources } from './manifests.ts'
import { expressions, metricsIn, RULES, type Rules, rulesOf } from './promql.ts'

const PROMETHEUS = join(FOLDER, '../prometheus')
const skip = spawnSync('prometheus', ['--version']).error
  ? 'prometheus is not installed'
  : builtIn('it stops the server').skip
const SUPERGRAPH = 'supergraph.graphql'

/** A ConfigMap as the kubelet mounts it, and changes it: by one link that is replaced atomically. */
function mountConfigMap(folder: string, text: string) {
  let version = 0
  function write(next: string): void {
    const current = `..${++version}`
    mkdirSync(join(folder, current), { recursive: true })
    writeFileSync(join(folder, current, SUPERGRAPH), next)
    symlinkSync(current, join(folder, '..data_tmp'))
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
    if (version > 1) rmSync(join(folder, `..${version - 1}`), { recursive: true })
  }
  write(text)
  symlinkSync(join('..data', SUPERGRAPH), join(folder, SUPERGRAPH))
  return { write }
}

/** The literals of a ConfigMap that Kustomize generates. */
function settingsOf(name: string): Record<string, string> {
  const { configMapGenerator } = parse(readFileSync(join(FOLDER, 'base/kustomization.yaml'), 'utf8'))
  const generated = configMapGenerator.find((each: { readonly name: string }) => each.name === name)
  return Object.fromEntries(
    generated.literals.map((literal: string) => [
      literal.slice(0, literal.indexOf('=')),
      literal.slice(literal.indexOf('=') + 1),
    ]),
  )
}

/** The rules with shorter times: of minutes and hours, seconds are left. */
function hurried({ groups }: Rules): object {
  return {
    groups: groups.map(({ name, rules }) => ({
      name,
      rules: rules.map((rule) => ({
        ...rule,
        expr: rule.expr.replaceAll(/\[\d+[mhd]\]/g, '[6s]'),
        ...(rule.alert && { for: '1s' }),
      })),
    })),
  }
}

/** A Prometheus that looks each second. @param targets where each job's target is */
async function startPrometheus(folder: string, targets: (job: string) => string, teardown: (end: () => void) => void) {
  const config = parse(readFileSync(join(PROMETHEUS, 'prometheus.yml'), 'utf8'))
  config.global = { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' }
  config.scrape_configs = config.scrape_configs.map(({ job_name }: { readonly job_name: string }) => ({
    job_name,
    static_configs: [{ targets: [targets(job_name)], labels: { namespace: 'customers' } }],
  }))
  const file = join(folder, 'prometheus.yml')
  writeFileSync(file, stringify(config))
  for (const name of RULES) writeFileSync(join(folder, name), stringify(hurried(rulesOf(name))))
  const port = await freePort()
  const child = spawn(
    'prometheus',
    [
      `--config.file=${file}`,
      `--storage.tsdb.path=${join(folder, 'series')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { stdio: 'ignore', env: { PATH: process.env.PATH, GOMAXPROCS: '1' } },
  )
  teardown(() => child.kill('SIGKILL'))
  const get = async (path: string) =>
    (await (await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)).json()) as {
      status: string
      data: unknown
      error?: string
    }
  interface Alert {
    readonly state: string
    readonly labels: Readonly<Record<string, string>>
  }
  return {
    get,
    /** The names of the alerts that fire. */
    async firing(): Promise<Set<string>> {
      const { alerts } = (await get('alerts')).data as { readonly alerts: readonly Alert[] }
      return new Set(alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels.alertname ?? ''))
    },
  }
}

t.test('the manifests run, Prometheus reads them, and faults fire alerts and resolve', { skip }, async (t) => {
  const folder = await temporaryFolder(t)
  const at = (name: string) => {
    mkdirSync(join(folder, name), { recursive: true })
    return join(folder, name)
  }
  const [events, keys, redis, smtp] = await Promise.all([
    startEventStoreServer(t),
    startEventStoreServer(t),
    startRedis(t),
    startSmtp(t),
  ])
  const stores = { EVENTSTORE_URL: events.url, KEYS_URL: keys.url, READMODEL_URL: redis.url }
  const values: Record<string, string> = {
    ...KEYS,
    ...stores,
    SUBGRAPH_SECRET: 's'.repeat(32),
    RATE_LIMIT_REDIS_URL: `${redis.url}/1`,
    SMTP_URL: smtp.url,
    CONSOLE_OIDC_CLIENT_SECRET: '',
    CONSOLE_SESSION_KEY: 'c'.repeat(32),
  }
  const audit = createPublicKey(createPrivateKey(KEYS.AUDIT_SIGNING_KEY)).export({ type: 'spki', format: 'pem' })
  writeFileSync(join(at('audit'), 'public.pem'), audit)
  const original = readFileSync(join(FOLDER, 'base', SUPERGRAPH), 'utf8')
  const supergraph = mountConfigMap(at('supergraph'), original)
  const containers = createContainers(t, at('workspace'), {
    '/secrets': at('secrets'),
    '/supergraph': at('supergraph'),
    '/audit': at('audit'),
    '/data': at('data'),
    '/store': join(FOLDER, 'base'),
  })
  const { port } = containers

  /** Starts what a manifest starts, with the secrets that it mounts and no others. */
  async function run(name: string): Promise<{ readonly started: Started; readonly probes: readonly string[] }> {
    const manifest = sources().find((each) => each.metadata.name === name && podOf(each))
    const [container] = (manifest && podOf(manifest)?.spec.containers) ?? []
    if (!container) throw new Error(`there is no ${name}`)
    const settings = (container.envFrom ?? []).map(({ configMapRef }) => settingsOf(configMapRef.name))
    const own = Object.fromEntries((container.env ?? []).map((each) => [each.name, each.value]))
    const env: Record<string, string> = Object.assign({}, ...settings, own)
    for (const [variable, path] of Object.entries(env)) {
      if (!/_FILE$/.test(variable)) continue
      writeFileSync(join(folder, path), values[variable.replace(/_FILE$/, '')] as string)
    }
    const { startupProbe, readinessProbe, livenessProbe } = container
    const probes = [startupProbe, readinessProbe, livenessProbe].flatMap((probe) => probe?.httpGet.path ?? [])
    return { started: await containers.start(name, container.command, env), probes }
  }
  const processes = new Map<string, Started>()
  const begin = async (name: string) => {
    const { started, probes } = await run(name)
    processes.set(name, started)
    for (const path of probes) await untilReady(started, `http://127.0.0.1:${port(name)}${path}`)
  }
  await begin('subgraph')
  await Promise.all(['projections', 'mail', 'gateway', 'console'].map(begin))
  t.pass('each answers the probes of its manifest')
  const send = client(`http://127.0.0.1:${port('gateway')}/graphql`)
  const { id, token } = await signUp(send)
  const query = () => send('query Me { customer { firstname } }', { token })
  t.equal((await query()).data.customer.firstname, 'Ann')

  const jobs = new Map([
    ['customers-gateway', port('metrics')],
    ['customers-subgraph', port('subgraph')],
    ['customers-projections', port('projections')],
    ['customers-mail', port('mail')],
    ['customers-console', port('console')],
  ])
  const prometheus = await startPrometheus(
    at('prometheus'),
    (job) => `127.0.0.1:${jobs.get(job)}`,
    (end) => t.teardown(end),
  )

  await t.test('the job that verifies the log has its result in a metric', async (t) => {
    const { started } = await run('audit-verify')
    t.equal(await started.ended, 0, started.output())
    const { started: rebuilding } = await run('rebuild')
    t.equal(await rebuilding.ended, 0, rebuilding.output())
    await until('the metric', async () => {
      const text = await (await fetch(`http://127.0.0.1:${port('projections')}/metrics`)).text()
      return /^log_verification_faults 0$/m.test(text)
    })
  })

  const served = new Set<string>(['up'])
  await t.test('each metric of rules and dashboards is served by a process', async (t) => {
    for (const each of jobs.values()) {
      const text = await (await fetch(`http://127.0.0.1:${each}/metrics`)).text()
      for (const [, name = '', type] of text.matchAll(/^# TYPE (\S+) (\w+)$/gm)) {
        served.add(name)
        if (type === 'histogram') for (const suffix of ['bucket', 'sum', 'count']) served.add(`${name}_${suffix}`)
      }
      // Each level, of which each needs its bucket.
      for (const [metric] of text.matchAll(/^\w+_bucket\{.*?le="[^"]+"/gm)) served.add(metric.replace(/\{.*le/, '{le'))
    }
    for (const { record } of RULES.flatMap((name) => rulesOf(name).groups.flatMap(({ rules }) => rules))) {
      if (record) served.add(record)
    }
    const named = metricsIn()
    t.ok(named.size > 30)
    t.same(
      [...named].filter((name) => !served.has(name)),
      [],
    )
    for (const [metric, le] of [
      ['gateway_request_duration_seconds', '0.2'],
      ['projection_event_to_document_seconds', '2'],
      ['mail_delivery_seconds', '60'],
    ]) {
      t.ok(served.has(`${metric}_bucket{le="${le}"`), `${metric}: the level of its service is a bucket`)
    }
  })

  await t.test('what the runbooks look at is there', async (t) => {
    const runbooks = join(FOLDER, '../../docs/runbooks')
    const lines = new Set<string>()
    for (const name of readdirSync(runbooks)) {
      const page = readFileSync(join(runbooks, name), 'utf8')
      for (const [line] of page.matchAll(/^(curl|redis-cli) .*$/gm)) lines.add(line)
    }
    t.ok(lines.size > 10)
    const commands = [...lines].map((line) =>
      containers.outside(line.replace('localhost', '127.0.0.1')).replace('redis-cli', `redis-cli -p ${redis.port}`),
    )
    for (const command of commands) {
      const { status } = spawnSync('bash', ['-o', 'pipefail', '-c', command], { encoding: 'utf8' })
      t.equal(status, 0, command)
      if (!command.includes('/metrics')) continue
      const [, start = '', middle = '', end = ''] = /grep -E '\^(\w*)\((.*)\)(\w*)'/.exec(command) ?? []
      for (const each of middle.split('|')) t.ok(served.has(`${start}${each}${end}`), `${start}${each}${end}`)
    }
  })

  await t.test('a changed ConfigMap is picked up: the link that the kubelet replaces', async (t) => {
    const served = async () =>
      ((await (await fetch(`http://127.0.0.1:${port('gateway')}/readyz`)).json()) as { supergraph: string }).supergraph
    const before = await served()
    supergraph.write(original.replace('type Query', '"""Changed."""\ntype Query'))
    await until('the new one', async () => (await served()) !== before)
    t.equal((await query()).data.customer.firstname, 'Ann')
  })

  await t.test('all rules are evaluated, and no alert fires', async (t) => {
    const isScraped = async () => {
      const { data } = await prometheus.get('query?query=count(up == 1)')
      return (data as { result: { value: [number, string] }[] }).result[0]?.value[1] === String(jobs.size)
    }
    await until('series of all', isScraped)
    interface Group {
      readonly rules: readonly { readonly name: string; readonly health: string; readonly lastError?: string }[]
    }
    const rules = async () =>
      ((await prometheus.get('rules')).data as { groups: readonly Group[] }).groups.flatMap((group) => group.rules)
    await until('an evaluation of each', async () => (await rules()).every(({ health }) => health !== 'unknown'))
    for (const { name, health, lastError } of await rules()) t.equal(health, 'ok', `${name}: ${lastError ?? ''}`)
    for (const [where, expression] of expressions()) {
      const answer = await prometheus.get(`query?query=${encodeURIComponent(expression)}`)
      t.equal(answer.status, 'success', `${where}: ${expression} ${answer.error ?? ''}`)
    }
    // Before the first scrape of each, targets are missing.
    await until('no alert fires', async () => (await prometheus.firing()).size === 0)
  })

  /** Provokes a fault until the alerts fire, and mends it until they are over. */
  async function provoke(
    what: string,
    alerts: readonly string[],
    harm: () => unknown,
    mend: () => unknown,
    meanwhile: () => Promise<unknown> = async () => {},
  ): Promise<void> {
    await harm()
    const fire = async () => {
      await meanwhile()
      const firing = await prometheus.firing()
      return alerts.every((alert) => firing.has(alert))
    }
    await until(`${what}: ${alerts.join(', ')} fire`, fire)
    await mend()
    const areOver = async () => {
      await meanwhile()
      const firing = await prometheus.firing()
      return alerts.every((alert) => !firing.has(alert))
    }
    await until(`${what}: ${alerts.join(', ')} are over`, areOver)
    t.pass(`${what}: ${alerts.join(', ')}`)
  }
  const mailWorker = processes.get('mail')?.child
  const log = await openTestLog(t, folder, { ...stores })
  const parked = (...args: string[]) =>
    containers.start('parked', ['node', 'bin/customers.js', 'parked', ...args], {
      ...stores,
      MASTER_KEY: KEYS.MASTER_KEY,
    })
  await provoke(
    'an event that no release knows, a mail worker that hangs, a Redis that is full, and a broken supergraph',
    ['EventsParked', 'TargetDown', 'ReadModelRefusesWrites', 'SupergraphNotLoadable'],
    async () => {
      const at = new Date().toISOString()
      const metadata = { $correlationId: 'x', $causationId: 'x', actor: 'test', at, schemaVersion: 1 }
      const event = { id: crypto.randomUUID(), type: 'CustomerKnighted', data: {}, metadata }
      await keysOf(log).log.append(`customer-${id}`, [event], { expected: 'any' })
      await until('it is parked, as it is not where Redis is full', async () => {
        const text = await (await fetch(`http://127.0.0.1:${port('projections')}/metrics`)).text()
        return /^projection_parked_events 1$/m.test(text)
      })
      mailWorker?.kill('SIGSTOP')
      supergraph.write('type Query {')
      await redis.command('CONFIG', 'SET', 'maxmemory', '1')
    },
    async () => {
      mailWorker?.kill('SIGCONT')
      supergraph.write(original)
      await redis.command('CONFIG', 'SET', 'maxmemory', '0')
      const dropped = await parked('drop', String(id), '--reason', 'a test')
      t.equal(await dropped.ended, 0, dropped.output())
    },
  )
  await provoke(
    'the event store does not answer, and the gateway can not reach the subgraph',
    ['EventStoreAway', 'SubgraphLeftAlone', 'ErrorBudgetBurnFast'],
    async () => {
      await events.stop()
      await processes.get('subgraph')?.end('SIGKILL')
    },
    async () => {
      await events.start()
      await begin('subgraph')
    },
    () => send('query Guest { customer { firstname } }'),
  )
  t.same(readdirSync(at('workspace')), [], 'nothing is written where the image is')
  for (const [name, started] of processes) t.equal(await started.end('SIGTERM'), 0, `${name} drains`)
})
