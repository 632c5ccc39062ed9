/**
 * deploy/kubernetes without a cluster: each object is valid by Kubernetes' published schemas, keeps to the restricted Pod
 * Security Standard, and names only what is there: in the program, and among the other objects. What kubectl renders is
 * skipped where there is none that can.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { CONSOLE_VARIABLES, loadConsoleConfiguration } from '../../console/configuration.ts'
import { GATEWAY_VARIABLES, loadGatewayConfiguration } from '../../gateway/configuration.ts'
import { loadConfiguration, SHARED_VARIABLES } from '../../runtime/configuration.ts'
import { temporaryFolder } from '../support/graph.ts'
import { commandOf } from './commands.ts'
import {
  CANNOT_RENDER,
  type Container,
  FOLDER,
  find,
  get,
  type Manifest,
  manifestsOf,
  OVERLAYS,
  type PodTemplate,
  podOf,
  rendered,
  schemaErrors,
  sources,
} from './manifests.ts'

const root = join(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const readme = readFileSync(join(FOLDER, 'README.md'), 'utf8')
const OURS = { 'app.kubernetes.io/name': 'customers' }

/** What would be applied, by overlay; without kubectl, what the files say. */
const SETS: ReadonlyMap<string, readonly Manifest[]> = CANNOT_RENDER
  ? new Map([['files', sources()]])
  : new Map([
      ['base', rendered('base')],
      ...OVERLAYS.map((overlay) => [overlay, rendered(`overlays/${overlay}`)] as const),
    ])

const isSelected = (labels: Readonly<Record<string, string>>, selector: Readonly<Record<string, string>> = {}) =>
  Object.entries(selector).every(([label, value]) => labels[label] === value)

interface Workload {
  readonly name: string
  readonly manifest: Manifest
  readonly pod: PodTemplate
  readonly container: Container
}
/** Those that run the service's image. */
function workloadsOf(set: readonly Manifest[]): Workload[] {
  return set.flatMap((manifest) => {
    const pod = podOf(manifest)
    const [container] = pod?.spec.containers ?? []
    if (!pod || !container?.image.startsWith('customer-subgraph')) return []
    return [{ name: manifest.metadata.name, manifest, pod, container }]
  })
}
const forEachSet = async (t: Test, check: (t: Test, set: readonly Manifest[]) => unknown) => {
  for (const [name, set] of SETS) await t.test(name, async (t) => void (await check(t, set)))
}

t.test('each object is valid by its published schema, and has no field that it does not know', async (t) => {
  const objects = [...sources(), ...[...SETS.values()].flat()]
  t.ok(objects.length > 30)
  const wrong = new Set<string>()
  for (const manifest of objects) {
    for (const error of await schemaErrors(manifest)) wrong.add(`${manifest.kind} ${manifest.metadata.name}${error}`)
  }
  t.same([...wrong], [])

  const broken = (path: string, change: (text: string) => string) =>
    manifestsOf(change(readFileSync(join(FOLDER, path), 'utf8')))[0] as Manifest
  const rename = (from: string, to: string) => (text: string) => text.replace(from, to)
  for (const [path, change, expected] of [
    [
      'base/gateway.yaml',
      rename('failureThreshold: 60', 'failureThreshold: many'),
      /startupProbe\/failureThreshold: type/,
    ],
    ['base/gateway.yaml', rename('periodSeconds', 'period'), /startupProbe\/period: unknown/],
    ['base/gateway.yaml', rename('maxSurge', 'surge'), /rollingUpdate\/surge: unknown/],
    ['base/jobs.yaml', rename('schedule:', 'cron:'), /required .*schedule/],
    ['components/group-keda/scaled-object.yaml', rename('failureThreshold', 'failures'), /fallback/],
  ] as const) {
    t.match((await schemaErrors(broken(path, change))).join('\n'), expected, path)
  }
})

t.test('each overlay renders, in one namespace, with the image of this release', { skip: CANNOT_RENDER }, async (t) => {
  const { version } = JSON.parse(read('package.json'))
  await forEachSet(t, (t, set) => {
    for (const { kind, metadata } of set) {
      t.equal(kind === 'Namespace' ? metadata.name : metadata.namespace, 'customers', `${kind} ${metadata.name}`)
    }
    for (const { container } of workloadsOf(set)) t.equal(container.image, `customer-subgraph:${version}`)
    const supergraph = get(set, 'ConfigMap', 'supergraph')
    t.equal(supergraph.data?.['supergraph.graphql'], read('schema/supergraph.graphql'), 'the composed one')
  })
})

t.test('each pod keeps to the restricted Pod Security Standard, on a read-only root', async (t) => {
  await forEachSet(t, (t, set) => {
    const pods = set.flatMap((manifest) => {
      const pod = podOf(manifest)
      return pod ? [{ name: manifest.metadata.name, pod }] : []
    })
    t.ok(pods.length >= 6)
    for (const { name, pod } of pods) {
      const { securityContext, containers, initContainers = [], ...spec } = pod.spec
      t.match(
        securityContext,
        { runAsNonRoot: true, runAsUser: Number, fsGroup: Number, seccompProfile: { type: 'RuntimeDefault' } },
        name,
      )
      t.not(securityContext.runAsUser, 0)
      t.match(spec, { automountServiceAccountToken: false, enableServiceLinks: false }, `${name} knows no cluster`)
      for (const key of ['hostNetwork', 'hostPID', 'hostIPC']) t.notOk(key in spec, `${name}: ${key}`)
      for (const container of [...containers, ...initContainers]) {
        t.same(
          container.securityContext,
          { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
          name,
        )
        t.match(container.resources, { requests: { cpu: String, memory: String }, limits: { memory: String } }, name)
      }
      for (const volume of spec.volumes ?? []) {
        const kinds = Object.keys(volume).filter((key) => key !== 'name')
        t.ok(
          ['projected', 'configMap', 'emptyDir', 'persistentVolumeClaim'].includes(kinds.join()),
          `${name}: ${kinds}`,
        )
      }
    }
  })
})

t.test('each command is one of the command line, and only its own process reads a variable or a secret', async (t) => {
  const variables = { ...SHARED_VARIABLES, ...GATEWAY_VARIABLES, ...CONSOLE_VARIABLES }
  /** Node's own. */
  const OF_NODE = ['NODE_EXTRA_CA_CERTS']
  for (const [name, set] of SETS) {
    for (const { name: component, container, pod } of workloadsOf(set)) {
      const [node, script, ...words] = container.command
      t.same([node, script], ['node', 'bin/customers.js'])
      t.equal(
        await commandOf(words),
        `customers ${words
          .filter((word) => /^[a-z]/.test(word))
          .slice(0, words[0] === 'audit' ? 2 : 1)
          .join(' ')}`,
        `${name}: ${words.join(' ')}`,
      )
      const isProcess = container.ports !== undefined
      const reader = isProcess ? component : 'commands'
      const generated = (container.envFrom ?? []).flatMap(({ configMapRef }) =>
        Object.keys(set.find(({ metadata }) => metadata.name === configMapRef.name)?.data ?? {}),
      )
      if (!CANNOT_RENDER && container.envFrom) t.ok(generated.length > 0, `${name}: ${component} has its settings`)
      const given = new Map<string, string>(
        (container.env ?? []).map(({ name, value }) => {
          t.type(value, 'string', `${component} ${name}: Kubernetes takes texts alone`)
          return [name, value]
        }),
      )
      for (const variable of [...given.keys(), ...generated]) {
        if (OF_NODE.includes(variable) || /^SUBGRAPH_URL_/.test(variable)) continue
        const plain = variable.replace(/_FILE$/, '')
        const known = variables[plain]
        t.ok(known, `${name}: ${component}: ${variable} is a variable`)
        const usedBy = SHARED_VARIABLES[plain]?.usedBy ?? [plain in CONSOLE_VARIABLES ? 'console' : 'gateway']
        t.ok((usedBy as readonly string[]).includes(reader), `${name}: ${component} reads ${plain}`)
        t.equal(known?.secret === true, plain !== variable, `${name}: ${component}: ${variable}: secrets are files`)
      }
      const secrets = (pod.spec.volumes ?? []).flatMap(({ projected }) => projected?.sources ?? [])
      const files = secrets.flatMap(({ secret }) => secret.items.map(({ path }) => `/secrets/${path}`))
      const named = [...given].filter(([variable]) => /_FILE$/.test(variable)).map(([, path]) => path)
      t.same(named.toSorted(), files.toSorted(), `${name}: ${component} has the secrets that it reads, and no others`)
    }
  }
})

t.test('ports are those of the program, and probes, services, policies and autoscalers find them', async (t) => {
  const configuration: Record<string, unknown> = {
    ...loadConfiguration({}),
    ...loadGatewayConfiguration({}),
    ...loadConsoleConfiguration({}),
  }
  for (const [overlay, set] of SETS) {
    const workloads = workloadsOf(set)
    const selected = (selector: Readonly<Record<string, string>>) =>
      workloads.filter(({ pod }) => isSelected(pod.metadata.labels, selector))
    for (const { name, manifest, pod, container } of workloads) {
      t.match(pod.metadata.labels, { ...OURS, 'app.kubernetes.io/component': name })
      if (manifest.kind !== 'Deployment') continue
      t.ok(isSelected(pod.metadata.labels, manifest.spec.selector.matchLabels), name)
      const ports = new Map(container.ports?.map((port) => [port.name, port.containerPort]))
      t.equal(ports.get('http'), configuration[`${name.toUpperCase()}_PORT`], `${name} listens there`)
      const { startupProbe, readinessProbe, livenessProbe, env = [] } = container
      t.match(startupProbe?.httpGet, { path: '/healthz', port: 'http' })
      t.match(livenessProbe?.httpGet, { path: '/healthz', port: 'http' })
      t.match(readinessProbe?.httpGet, { path: '/readyz', port: 'http' })
      t.ok((readinessProbe?.timeoutSeconds ?? 1) > 2, `${name}: a store may take two seconds to answer a probe`)
      const metricsPort = env.find((each) => each.name === 'GATEWAY_METRICS_PORT')?.value
      t.equal(String(ports.get('metrics') ?? ''), metricsPort ?? '', name)
    }
    for (const { kind, metadata, spec } of set) {
      if (kind === 'Service' && spec.selector['app.kubernetes.io/name'] === 'customers') {
        const [behind, ...others] = selected(spec.selector)
        t.ok(behind && others.length === 0, `${overlay}: the service ${metadata.name} has one kind of pods`)
        const [{ port, targetPort }] = spec.ports
        t.match(behind?.container.ports, [{ name: targetPort, containerPort: port }])
      }
      if (kind === 'PodDisruptionBudget') t.equal(selected(spec.selector.matchLabels).length, 1, metadata.name)
      if (kind === 'HorizontalPodAutoscaler' || kind === 'ScaledObject') {
        const scaled = get(set, 'Deployment', spec.scaleTargetRef.name)
        t.equal(scaled.spec.replicas, kind === 'ScaledObject' && CANNOT_RENDER ? 2 : undefined, 'nobody else sets them')
        t.ok((spec.minReplicas ?? spec.minReplicaCount) >= 2)
      }
    }
  }
  const urls = workloadsOf(sources()).flatMap(({ container }) => container.env ?? [])
  const url = new URL(urls.find(({ name }) => name === 'SUBGRAPH_URL_CUSTOMERS')?.value ?? '')
  const service = get(sources(), 'Service', url.hostname)
  t.equal(String(service.spec.ports[0].port), url.port, 'the gateway finds the subgraph')
})

t.test('where there are two there is a budget, they are spread, and none is missed during a release', async (t) => {
  await forEachSet(t, (t, set) => {
    for (const { name, manifest, pod } of workloadsOf(set)) {
      if (manifest.kind !== 'Deployment') continue
      const { replicas = 2, strategy } = manifest.spec
      const budget = find(set, 'PodDisruptionBudget', name)
      t.equal(budget !== undefined, replicas > 1, `${name}: ${replicas}`)
      t.equal(pod.spec.topologySpreadConstraints !== undefined, replicas > 1, name)
      if (strategy.type === 'RollingUpdate') t.match(strategy.rollingUpdate, { maxUnavailable: 0, maxSurge: 1 }, name)
      else t.same(strategy, { type: 'Recreate' })
    }
  })
})

t.test('a pod has longer to end than its process takes to drain', async (t) => {
  const [, drain = ''] = /DRAIN_LIMIT_MS = ([\d_]+)/.exec(read('runtime/process.ts')) ?? []
  const drainSeconds = Number(drain.replaceAll('_', '')) / 1000
  t.ok(drainSeconds > 0)
  for (const { name, pod, container } of workloadsOf(sources())) {
    const [sleep, seconds] = container.lifecycle?.preStop.exec.command ?? ['sleep', '0']
    t.equal(sleep, 'sleep', 'the image has it')
    t.equal(Number(seconds) > 0, ['gateway', 'subgraph', 'console'].includes(name), `${name}: requests still arrive`)
    t.ok(pod.spec.terminationGracePeriodSeconds > drainSeconds + Number(seconds), name)
  }
})

t.test('each volume, ConfigMap and secret is there, and mounted as a folder', async (t) => {
  await forEachSet(t, (t, set) => {
    for (const { name, pod, container } of workloadsOf(set)) {
      const volumes = new Map(pod.spec.volumes?.map((volume) => [volume.name, volume]))
      t.same(
        (container.volumeMounts ?? []).map((mount) => mount.name).toSorted(),
        [...volumes.keys()].toSorted(),
        `${name}: each volume is mounted`,
      )
      for (const { name: mount, subPath, readOnly } of container.volumeMounts ?? []) {
        t.equal(subPath, undefined, `${name}: ${mount}: a file alone would not follow a change`)
        const { emptyDir } = volumes.get(mount) ?? {}
        t.equal(readOnly === true, emptyDir === undefined, `${name}: ${mount}`)
        if (emptyDir) t.ok(emptyDir.sizeLimit, `${name}: ${mount} has a limit`)
      }
      for (const { configMap } of volumes.values()) {
        if (!configMap || CANNOT_RENDER) continue
        const isMade = readme.includes(`create configmap ${configMap.name} `)
        t.ok(isMade || find(set, 'ConfigMap', configMap.name), `${name}: ConfigMap ${configMap.name}`)
      }
      const places = (container.volumeMounts ?? []).map(({ mountPath }) => `${mountPath}/`)
      for (const { name: variable, value } of container.env ?? []) {
        if (value.startsWith('/'))
          t.ok(
            places.some((place) => `${value}/`.startsWith(place)),
            `${name}: ${variable}`,
          )
      }
    }
  })
})

t.test('the secrets are those that the commands of the README make', { skip: CANNOT_RENDER }, async (t) => {
  const folder = await temporaryFolder(t)
  const made = spawnSync(process.execPath, [join(root, 'bin/customers.js'), 'secrets'], { cwd: folder })
  t.equal(made.status, 0)
  // What only an operator knows.
  for (const name of ['eventstore-url', 'keys-url', 'readmodel-url', 'rate-limit-redis-url'])
    writeFileSync(join(folder, 'secrets', name), name)
  const commands = [
    ...readme.matchAll(/^ *(openssl .*|for name in [\s\S]*?done|kubectl -n customers create configmap audit.*)$/gm),
  ]
    .map(([, command = '']) =>
      command.replaceAll(/create (secret|configmap) .*/g, '$& --dry-run=client -o yaml; echo ---'),
    )
    .join('\n')
  const { stdout, stderr, status } = spawnSync('bash', ['-euc', commands], { cwd: folder, encoding: 'utf8' })
  t.equal(status, 0, stderr)
  const objects = manifestsOf(stdout.replaceAll(/^writing .*\n/gm, ''))
  const available = new Map(objects.map(({ metadata, data = {} }) => [metadata.name, Object.keys(data)]))
  const needed = new Set<string>()
  for (const { name, pod } of workloadsOf(SETS.get('base') ?? [])) {
    for (const { projected } of pod.spec.volumes ?? []) {
      for (const { secret } of projected?.sources ?? []) {
        needed.add(secret.name)
        t.same(available.get(secret.name), [secret.items[0]?.key], `${name}: ${secret.name}`)
      }
    }
  }
  t.same([...needed].toSorted(), [...available.keys()].filter((name) => name !== 'audit-public-key').toSorted())
  t.same(available.get('audit-public-key'), ['public.pem'])
})

t.test("the README's table of secrets is that of the manifests", async (t) => {
  const rows = [...readme.matchAll(/^\| (`[\w-]+`(?:, `[\w-]+`)*) \|(.*)\|$/gm)].slice(-10)
  const [, head = ''] = /^\| Secret \|(.*)\|$/m.exec(readme) ?? []
  const components = head.split('|').map((cell) => cell.trim())
  const stated = new Set<string>()
  for (const [, names = '', cells = ''] of rows) {
    for (const name of names.replaceAll('`', '').split(', ')) {
      cells.split('|').forEach((cell, at) => {
        if (cell.trim() === 'yes') stated.add(`${components[at]} ${name}`)
      })
    }
  }
  const actual = workloadsOf(sources()).flatMap(({ name, pod }) =>
    (pod.spec.volumes ?? []).flatMap(({ projected }) =>
      (projected?.sources ?? []).map(({ secret }) => `${name} ${secret.name}`),
    ),
  )
  t.same([...stated].toSorted(), actual.toSorted())
})

t.test('network policies: nothing but what each needs', async (t) => {
  await forEachSet(t, (t, set) => {
    const policies = set.filter(({ kind }) => kind === 'NetworkPolicy')
    t.same(
      policies.find(({ metadata }) => metadata.name === 'nothing')?.spec,
      { podSelector: {}, policyTypes: ['Ingress', 'Egress'] },
      'nothing is the default',
    )
    interface Policy {
      readonly podSelector: {
        readonly matchLabels?: Record<string, string>
        readonly matchExpressions?: readonly { readonly key: string; readonly values: readonly string[] }[]
      }
      readonly policyTypes: readonly string[]
      readonly egress?: readonly { readonly ports: readonly { readonly port: number | string }[] }[]
      readonly ingress?: readonly { readonly ports: readonly { readonly port: number | string }[] }[]
    }
    const isFor = ({ podSelector }: Policy, { pod: { metadata } }: Workload) =>
      isSelected(metadata.labels, podSelector.matchLabels) &&
      (podSelector.matchExpressions ?? []).every(({ key, values }) => values.includes(metadata.labels[key] ?? ''))
    for (const workload of workloadsOf(set)) {
      const own = policies.map(({ spec }) => spec as Policy).filter((policy) => isFor(policy, workload))
      const ports = (rules: Policy['egress']) => (rules ?? []).flatMap(({ ports }) => ports.map(({ port }) => port))
      const out = new Set(own.flatMap(({ egress }) => ports(egress)))
      const variables = (workload.container.env ?? []).map(({ name }) => name)
      t.equal(out.has(2113), variables.includes('EVENTSTORE_URL_FILE'), `${workload.name}: event store`)
      const usesRedis = variables.some((name) => /^(READMODEL|RATE_LIMIT_REDIS)_URL_FILE$/.test(name))
      t.equal(out.has(6379), usesRedis, `${workload.name}: Redis`)
      t.equal(out.has(587), variables.includes('SMTP_URL_FILE'), `${workload.name}: mail server`)
      t.ok(out.has(53), `${workload.name}: names`)
      const inside = new Set(own.flatMap(({ ingress }) => ports(ingress)))
      const offered = (workload.container.ports ?? []).map(({ name }) => name)
      t.same([...inside].toSorted(), offered.toSorted(), `${workload.name}: what it serves may be reached`)
    }
  })
})

t.test('what each overlay is for', { skip: CANNOT_RENDER }, async (t) => {
  const of = (overlay: string) => SETS.get(overlay) as readonly Manifest[]
  t.same(get(of('base'), 'Deployment', 'projections').spec.replicas, 2)
  for (const name of ['gateway', 'subgraph']) {
    t.match(get(of('base'), 'HorizontalPodAutoscaler', name).spec, { minReplicas: 2, scaleTargetRef: { name } })
  }
  const scaled = get(of('group-keda'), 'ScaledObject', 'projections').spec
  t.match(scaled.triggers, [{ type: 'prometheus', metadata: { query: /^max\(projection_lag_events\b/ } }])
  t.ok(scaled.fallback.failureThreshold > 0 && scaled.fallback.replicas >= scaled.minReplicaCount)
  const { behavior } = scaled.advanced.horizontalPodAutoscalerConfig
  t.ok(behavior.scaleDown.stabilizationWindowSeconds >= 300, 'slower down')
  t.ok(behavior.scaleUp.stabilizationWindowSeconds < behavior.scaleDown.stabilizationWindowSeconds, 'than up')
  const command = (overlay: string) => podOf(get(of(overlay), 'Deployment', 'projections'))?.spec.containers[0]?.command
  t.same(command('group-keda'), ['node', 'bin/customers.js', 'projections', '--mode', 'group'])

  t.same(command('catch-up'), ['node', 'bin/customers.js', 'projections'])
  const one = get(of('catch-up'), 'Deployment', 'projections').spec
  t.same([one.replicas, one.strategy], [1, { type: 'Recreate' }])

  for (const name of ['kurrentdb', 'keys', 'redis']) {
    const { spec } = get(of('trial'), 'StatefulSet', name)
    t.ok(spec.volumeClaimTemplates[0].spec.resources.requests.storage)
    t.equal(get(of('trial'), 'Service', name).spec.selector['app.kubernetes.io/name'], name)
    for (const { name: variable } of spec.template.spec.containers[0].env ?? []) t.match(variable, /^KURRENTDB_/)
  }
  const decoded = (name: string) => {
    const secret = of('trial').find(({ kind, metadata }) => kind === 'Secret' && metadata.name.startsWith(name))
    return Buffer.from(secret?.data?.value ?? '', 'base64').toString()
  }
  t.match(loadConfiguration({ EVENTSTORE_URL: decoded('eventstore-url') }).EVENTSTORE_URL, /\/\/kurrentdb:2113/)
  t.match(loadConfiguration({ KEYS_URL: decoded('keys-url') }).KEYS_URL, /\/\/keys:2113/)
  t.match(loadConfiguration({ READMODEL_URL: decoded('readmodel-url') }).READMODEL_URL, /\/\/redis:6379/)

  const example = (name: string) => read(`deploy/kubernetes/components/cluster/${name}.example`).trim()
  t.match(loadConfiguration({ EVENTSTORE_URL: example('eventstore-url') }).EVENTSTORE_URL, /(:2113.*){3}tls=true/)
  t.match(loadConfiguration({ KEYS_URL: example('keys-url') }).KEYS_URL, /tls=true/)
  t.match(loadConfiguration({ READMODEL_URL: example('readmodel-url') }).READMODEL_URL, /^rediss-cluster:/)
  const allowed = JSON.stringify(of('cluster').filter(({ kind }) => kind === 'NetworkPolicy'))
  for (const [address] of `${example('eventstore-url')} ${example('keys-url')}`.matchAll(/192\.0\.2\.\d+/g))
    t.ok(allowed.includes(`${address}/32`), address)
  for (const { name, container } of workloadsOf(of('cluster'))) {
    const authority = container.env?.find((each) => each.name === 'NODE_EXTRA_CA_CERTS')?.value
    t.ok(example('eventstore-url').includes(`tlsCaFile=${authority}`), name)
  }
})

t.test('the overlay that the README shows renders', { skip: CANNOT_RENDER }, async (t) => {
  const [, yaml = ''] = /```yaml\n([\s\S]*?)```/.exec(readme) ?? []
  const folder = await temporaryFolder(t)
  spawnSync('cp', ['-r', join(FOLDER, '..'), folder])
  const yours = join(folder, 'deploy/kubernetes/overlays/yours')
  mkdirSync(yours)
  writeFileSync(join(yours, 'kustomization.yaml'), yaml.replaceAll(/^ {3}/gm, ''))
  writeFileSync(join(yours, 'store.yaml'), 'mail: { storeName: Yours }\n')
  writeFileSync(join(yours, 'supergraph.graphql'), 'yours')
  const set = rendered(yours)
  t.equal(get(set, 'ConfigMap', 'supergraph').data?.['supergraph.graphql'], 'yours')
  t.match(
    get(set, 'Deployment', 'gateway').spec.template.spec.containers[0].image,
    /^registry\.example\.com\/.*:0\.2\.0$/,
  )
  t.equal(get(set, 'PrometheusRule', 'customers').metadata.namespace, 'customers')
  t.ok(set.filter(({ metadata }) => metadata.labels?.grafana_dashboard === '1').length === 3)
  for (const manifest of set) t.same(await schemaErrors(manifest), [], `${manifest.kind} ${manifest.metadata.name}`)
  const tokens = set.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name.startsWith('tokens'))
  t.same(tokens?.data, { TOKEN_ISSUER: 'customers', TOKEN_AUDIENCE: 'graph-production', TOKEN_UNNAMED: 'refuse' })
})

t.test('while the master key is changed, whoever has it gets the old one, too', { skip: CANNOT_RENDER }, async (t) => {
  const folder = await temporaryFolder(t)
  spawnSync('cp', ['-r', join(FOLDER, '..'), folder])
  for (const overlay of OVERLAYS) {
    const path = join(folder, 'deploy/kubernetes/overlays', overlay)
    const file = join(path, 'kustomization.yaml')
    writeFileSync(file, `${readFileSync(file, 'utf8').trimEnd()}\n  - ../../components/master-key-previous\n`)
    for (const { name, pod, container } of workloadsOf(rendered(path))) {
      const secrets = pod.spec.volumes?.flatMap(({ projected }) => projected?.sources ?? []) ?? []
      const has = (secret: string) => secrets.some((each) => each.secret?.name === secret)
      const knows = container.env?.some((each) => each.name === 'MASTER_KEY_PREVIOUS_FILE') ?? false
      t.same([has('master-key-previous'), knows], [has('master-key'), has('master-key')], `${overlay}: ${name}`)
    }
  }
})
