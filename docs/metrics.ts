/** The metrics of each process, as the processes register them. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Metric, Registry } from 'prom-client'
import { addAuditMetrics } from '../audit/metrics.ts'
import { addReachability } from '../eventstore/encryption/reachability.ts'
import { openEventStore } from '../eventstore/open-event-store.ts'
import { createMetrics } from '../gateway/metrics.ts'
import { createMailMetrics } from '../mail/metrics.ts'
import { openReadModel } from '../projections/open-read-model.ts'
import { createProjectionMetrics } from '../projections/worker/metrics.ts'
import { createRegistry } from '../runtime/metrics.ts'
import { generateSigningKey } from '../runtime/service-keys.ts'
import { buildSubgraph } from '../subgraph/server.ts'

export interface DocumentedMetric {
  readonly name: string
  /** `counter`, `gauge` or `histogram`. */
  readonly type: string
  readonly labels: readonly string[]
  readonly help: string
}

/** Those of prom-client itself. */
const DEFAULT = /^(process|nodejs)_/
/** Those that each process has. */
const COMMON = ['customers_build_info']

/**
 * Starts what registers metrics, on empty embedded stores in a temporary folder, and notes what it registers.
 * @returns the metrics by process, without those that prom-client adds for Node
 */
export async function collectMetrics(): Promise<Readonly<Record<string, readonly DocumentedMetric[]>>> {
  const folder = await mkdtemp(join(tmpdir(), 'customers-docs-'))
  const eventStore = await openEventStore(`sqlite:${join(folder, 'events.db')}`)
  const readModel = await openReadModel(`sqlite:${join(folder, 'readmodel.db')}`)
  try {
    const processes = {
      gateway: await registered(() => createMetrics()),
      subgraph: await registered(async () => {
        const keys = { tokenSigningKey: generateSigningKey(), emailHashKey: 'k'.repeat(32) }
        const app = await buildSubgraph({ eventStore, readModel, keys })
        await app.close()
      }),
      projections: await registered(() => {
        const registry = createRegistry('projections')
        createProjectionMetrics(registry, { eventStore, readModel })
        addAuditMetrics(registry, eventStore)
        addReachability(registry, eventStore)
      }),
      mail: await registered(() => {
        const registry = createRegistry('mail')
        createMailMetrics(registry, () => {
          throw new Error('Nothing is measured here.')
        })
        addReachability(registry, eventStore)
      }),
    }
    const common = processes.gateway.filter(({ name }) => COMMON.includes(name))
    const own = Object.entries(processes).map(([process, metrics]) => [
      process,
      metrics.filter(({ name }) => !COMMON.includes(name)),
    ])
    return { common, ...Object.fromEntries(own) }
  } finally {
    await readModel.close()
    await eventStore.close()
    await rm(folder, { recursive: true, force: true })
  }
}

/** What a metric has that its declared type does not. */
interface Registered {
  readonly name: string
  readonly help: string
  readonly type?: string
  readonly labelNames: string[]
}

/** What is registered meanwhile, in any registry. */
async function registered(start: () => unknown): Promise<readonly DocumentedMetric[]> {
  const metrics: DocumentedMetric[] = []
  const { registerMetric } = Registry.prototype
  Registry.prototype.registerMetric = function register(metric: Metric) {
    // prom-client's own do not have their type yet.
    const { name, help, type = metric.constructor.name.toLowerCase(), labelNames } = metric as unknown as Registered
    if (!DEFAULT.test(name)) metrics.push({ name, type, labels: labelNames, help })
    registerMetric.call(this, metric)
  }
  try {
    await start()
  } finally {
    Registry.prototype.registerMetric = registerMetric
  }
  return metrics
}
