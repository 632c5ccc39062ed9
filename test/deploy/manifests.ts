/** The manifests of deploy/kubernetes, as files and as kubectl renders them, and checks by Kubernetes' published schemas. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseAllDocuments } from 'yaml'

export const FOLDER = join(import.meta.dirname, '../../deploy/kubernetes')
export const OVERLAYS = readdirSync(join(FOLDER, 'overlays'))

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string }
  readonly timeoutSeconds?: number
}
interface ProjectedSource {
  readonly secret: { readonly name: string; readonly items: readonly { readonly key: string; readonly path: string }[] }
}
interface Volume {
  readonly name: string
  readonly projected?: { readonly defaultMode: number; readonly sources: readonly ProjectedSource[] }
  readonly configMap?: { readonly name: string }
  readonly emptyDir?: { readonly sizeLimit?: string }
}
export interface Container {
  readonly name: string
  readonly image: string
  readonly command: readonly string[]
  readonly env?: readonly { readonly name: string; readonly value: string }[]
  readonly envFrom?: readonly { readonly configMapRef: { readonly name: string } }[]
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[]
  readonly volumeMounts?: readonly {
    readonly name: string
    readonly mountPath: string
    readonly readOnly?: boolean
    readonly subPath?: string
  }[]
  readonly startupProbe?: Probe
  readonly readinessProbe?: Probe
  readonly livenessProbe?: Probe
  readonly lifecycle?: { readonly preStop: { readonly exec: { readonly command: readonly string[] } } }
  readonly resources: {
    readonly requests: Readonly<Record<string, string>>
    readonly limits: Readonly<Record<string, string>>
  }
  readonly securityContext: Readonly<Record<string, unknown>>
}
interface PodSpec {
  readonly automountServiceAccountToken?: boolean
  readonly enableServiceLinks?: boolean
  readonly serviceAccountName?: string
  readonly terminationGracePeriodSeconds: number
  readonly securityContext: Readonly<Record<string, unknown>>
  readonly topologySpreadConstraints?: readonly unknown[]
  readonly containers: readonly Container[]
  readonly initContainers?: readonly Container[]
  readonly volumes?: readonly Volume[]
}
export interface PodTemplate {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> }
  readonly spec: PodSpec
}
export interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
  }
  // biome-ignore lint/suspicious/noExplicitAny: each kind has its own, and the schemas check it
  readonly spec?: any
  readonly data?: Readonly<Record<string, string>>
}

/** The objects of a YAML text. @throws Error for YAML that is broken */
export function manifestsOf(text: string): Manifest[] {
  return parseAllDocuments(text).flatMap((document) => {
    if (document.errors[0]) throw document.errors[0]
    const object = document.toJS() as Manifest | null
    return object === null ? [] : [object]
  })
}

/** The objects in the files themselves, without Kustomize's own and without patches. */
export const sources = (): Manifest[] =>
  readdirSync(FOLDER, { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.yaml$/.test(path) && !/(kustomization|store|addresses)\.yaml$/.test(path))
    .flatMap((path) => manifestsOf(readFileSync(join(FOLDER, path), 'utf8')))

/** Why nothing can be rendered here; false where it can. Components came with kubectl 1.21. */
export const CANNOT_RENDER = cannotRender()

function cannotRender(): string | false {
  const { error, stdout } = spawnSync('kubectl', ['version', '--client', '--output=json'], { encoding: 'utf8' })
  if (error) return 'kubectl is not installed'
  const { major, minor } = JSON.parse(stdout || '{}').clientVersion ?? {}
  return major === '1' && Number.parseInt(minor, 10) < 21 ? `kubectl ${major}.${minor} knows no components` : false
}

/** What `kubectl apply -k` would send. @throws Error with kubectl's message */
export function rendered(folder: string): Manifest[] {
  const { status, stdout, stderr } = spawnSync('kubectl', ['kustomize', resolve(FOLDER, folder)], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  if (status !== 0) throw new Error(stderr)
  return manifestsOf(stdout)
}

/** The pods that an object starts; undefined if it starts none. */
export function podOf({ kind, spec }: Manifest): PodTemplate | undefined {
  if (kind === 'Deployment' || kind === 'StatefulSet' || kind === 'Job') return spec.template
  return kind === 'CronJob' ? spec.jobTemplate.spec.template : undefined
}

const PACKAGES = join(import.meta.dirname, '../../node_modules')

/** Where the npm packages have the schema of an object. Not all of them export it. */
const SCHEMAS: Readonly<Record<string, string>> = {
  'v1/Namespace': 'kubernetes-models/_schemas/IoK8sApiCoreV1Namespace',
  'v1/ServiceAccount': 'kubernetes-models/_schemas/IoK8sApiCoreV1ServiceAccount',
  'v1/Service': 'kubernetes-models/_schemas/IoK8sApiCoreV1Service',
  'v1/ConfigMap': 'kubernetes-models/_schemas/IoK8sApiCoreV1ConfigMap',
  'v1/Secret': 'kubernetes-models/_schemas/IoK8sApiCoreV1Secret',
  'v1/PersistentVolumeClaim': 'kubernetes-models/_schemas/IoK8sApiCoreV1PersistentVolumeClaim',
  'apps/v1/Deployment': 'kubernetes-models/_schemas/IoK8sApiAppsV1Deployment',
  'apps/v1/StatefulSet': 'kubernetes-models/_schemas/IoK8sApiAppsV1StatefulSet',
  'batch/v1/CronJob': 'kubernetes-models/_schemas/IoK8sApiBatchV1CronJob',
  'policy/v1/PodDisruptionBudget': 'kubernetes-models/_schemas/IoK8sApiPolicyV1PodDisruptionBudget',
  'autoscaling/v2/HorizontalPodAutoscaler': 'kubernetes-models/_schemas/IoK8sApiAutoscalingV2HorizontalPodAutoscaler',
  'networking.k8s.io/v1/NetworkPolicy': 'kubernetes-models/_schemas/IoK8sApiNetworkingV1NetworkPolicy',
  'keda.sh/v1alpha1/ScaledObject':
    '@kubernetes-models/keda/_schemas/ComGithubKedacoreKedaV2ApisKedaV1alpha1ScaledObject',
  'monitoring.coreos.com/v1/PodMonitor':
    '@kubernetes-models/prometheus-operator/_schemas/ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1PodMonitor',
  'monitoring.coreos.com/v1/PrometheusRule':
    '@kubernetes-models/prometheus-operator/_schemas/ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1PrometheusRule',
}

interface Validate {
  (data: unknown): boolean
  errors?: readonly { readonly instancePath: string; readonly keyword: string; readonly params: object }[] | null
}

/** What is wrong with an object by its published schema, and the fields that the schema does not have. */
export async function schemaErrors(manifest: Manifest): Promise<string[]> {
  const kind = `${manifest.apiVersion}/${manifest.kind}`
  const path = SCHEMAS[kind]
  if (path === undefined) return [`no schema for ${kind}`]
  const { validate } = (await import(join(PACKAGES, `${path}.js`))) as { validate: Validate }
  const { observed, unread } = observe(manifest)
  validate(observed)
  const wrong = (validate.errors ?? []).map(
    ({ instancePath, keyword, params }) => `${instancePath}: ${keyword} ${JSON.stringify(params)}`,
  )
  return [...wrong, ...unread()]
}

/**
 * Kubernetes refuses a field that it does not know; the schemas allow any. Their validators read each field that they
 * know, and no other: what was not read is unknown.
 */
function observe(root: unknown): { readonly observed: unknown; unread(): string[] } {
  const objects: { readonly path: string; readonly keys: readonly string[]; readonly read: Set<string> }[] = []
  function watch(value: unknown, path: string): unknown {
    if (typeof value !== 'object' || value === null) return value
    const isList = Array.isArray(value)
    const read = new Set<string>()
    if (!isList) objects.push({ path, keys: Object.keys(value), read })
    const watched = new Map(Object.entries(value).map(([key, each]) => [key, watch(each, `${path}/${key}`)]))
    return new Proxy(value, {
      get(target, key) {
        if (typeof key === 'string' && watched.has(key)) {
          read.add(key)
          return watched.get(key)
        }
        return Reflect.get(target, key)
      },
    })
  }
  return {
    observed: watch(root, ''),
    unread: () =>
      objects.flatMap(({ path, keys, read }) =>
        keys.filter((key) => !read.has(key)).map((key) => `${path}/${key}: unknown`),
      ),
  }
}

/** The object of a set; undefined if there is none. */
export const find = (set: readonly Manifest[], kind: string, name: string): Manifest | undefined =>
  set.find((each) => each.kind === kind && each.metadata.name === name)

/** The object of a set. @throws Error if there is none */
export function get(set: readonly Manifest[], kind: string, name: string): Manifest {
  const found = find(set, kind, name)
  if (!found) throw new Error(`there is no ${kind} ${name}`)
  return found
}
