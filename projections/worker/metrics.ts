/** A projection's Prometheus metrics. */
import { Counter, Histogram, type Registry } from 'prom-client'
import type { EventStore } from '../../eventstore/port.ts'
import { addGauge } from '../../runtime/metrics.ts'
import type { ReadModel } from '../read-model.ts'
import { createLag, type Lag, MOST_COUNTED } from './lag.ts'
import type { ProjectionObserver } from './worker.ts'

export interface ProjectionMetrics {
  readonly observer: ProjectionObserver
  /** A subscription to the event store has lost its connection. */
  dropped(): void
  /** The lag, at most a second old. @throws EventStoreUnavailable | ReadModelUnavailable */
  lag(): Promise<Lag>
}

/**
 * @param options.group the persistent subscription's name, where the projection runs as a group
 */
export function createProjectionMetrics(
  registry: Registry,
  options: {
    readonly eventStore: EventStore
    readonly readModel: ReadModel
    readonly group?: string | undefined
  },
): ProjectionMetrics {
  const lag = createLag(options)
  const registers = [registry]
  const events = new Counter({
    name: 'projection_events_total',
    help: 'Events applied; their rate is events per second.',
    registers,
  })
  const batch = new Histogram({
    name: 'projection_batch_events',
    help: 'Events in one batch.',
    buckets: [1, 5, 20, 100, 500, 2_000],
    registers,
  })
  const toDocument = new Histogram({
    name: 'projection_event_to_document_seconds',
    help: "From an event's time to its document; without those that fill a read model.",
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 30, 300],
    registers,
  })
  const reconnects = new Counter({
    name: 'projection_reconnects_total',
    help: 'Subscriptions to the event store that lost their connection.',
    registers,
  })
  const interruptions = new Counter({
    name: 'projection_interruptions_total',
    help: 'Outages of a store that interrupted the projection.',
    registers,
  })
  const stuck = new Counter({
    name: 'projection_stuck_total',
    help: 'Events that could not be applied when they came.',
    registers,
  })
  const erasures = new Counter({
    name: 'customer_erasures_total',
    help: 'Customers whose deletion was applied, whoever asked for it; without those that fill a read model.',
    registers,
  })
  addGauges(registry, lag, options.readModel)

  return {
    observer: {
      applied(applied, _caughtUp, isRefill) {
        if (applied.length === 0) return
        const now = Date.now()
        events.inc(applied.length)
        batch.observe(applied.length)
        if (isRefill) return // the age of what is filled in again is no delay
        for (const { created, type } of applied) {
          toDocument.observe(Math.max(0, (now - created.getTime()) / 1000))
          if (type === 'CustomerDeleted') erasures.inc()
        }
      },
      interrupted: () => interruptions.inc(),
      stuck: () => stuck.inc(),
    },
    dropped: () => reconnects.inc(),
    lag,
  }
}

/** While a store is unavailable, the gauges are NaN, because nothing is known. */
function addGauges(registry: Registry, lag: () => Promise<Lag>, readModel: ReadModel): void {
  addGauge(
    registry,
    'projection_lag_events',
    `Events of customers that are not in the documents yet; an estimate beyond ${MOST_COUNTED}.`,
    async () => (await lag()).events,
  )
  addGauge(
    registry,
    'projection_lag_seconds',
    'Age of the oldest event that is not in the documents yet.',
    async () => (await lag()).seconds,
  )
  addGauge(
    registry,
    'projection_parked_events',
    'Events that could not be applied and wait for an operator.',
    async () => (await readModel.parked()).length,
  )
  addGauge(
    registry,
    'read_model_generations',
    'Generations of the read model that are stored: more than one while a rebuild runs, and until `rebuild --drop`.',
    async () => (await readModel.generations()).length,
  )
  addGauge(
    registry,
    'read_model_live_generation',
    'The number of the generation that is used. It rises when a rebuild switches.',
    async () => (await readModel.generations()).find(({ live }) => live)?.number ?? Number.NaN,
  )
}
