/** What a projection tells of itself, as Prometheus metrics, and how far it is behind. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { comparePositions, type EventStore, type Position } from '../eventstore/port.ts'
import type { ReadModel } from './read-model.ts'
import { FILTER, type ProjectionObserver } from './worker.ts'

/** How far the documents are behind the log. */
export interface Lag {
  /** Events of customers that are not in the documents; counted up to {@link MOST_COUNTED}. */
  readonly events: number
  /** The age of the oldest of them; 0 where there is none. */
  readonly seconds: number
}

export interface ProjectionMetrics {
  readonly observer: ProjectionObserver
  /** Told of the event store's subscriptions. */
  dropped(): void
  /** As of now, or of a second ago. @throws EventStoreUnavailable | ReadModelUnavailable */
  lag(): Promise<Lag>
}

const MOST_COUNTED = 10_000
const FRESH_MS = 1_000

/**
 * @param options.group the persistent subscription's name, where the projection runs as a group
 */
export function createProjectionMetrics(
  registry: Registry,
  {
    eventStore,
    readModel,
    group,
  }: {
    readonly eventStore: EventStore
    readonly readModel: ReadModel
    readonly group?: string | undefined
  },
): ProjectionMetrics {
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
    help: "From an event's time to its document.",
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 300],
    registers,
  })
  const reconnects = new Counter({
    name: 'projection_reconnects_total',
    help: 'Subscriptions to the event store that lost their connection.',
    registers,
  })
  const interruptions = new Counter({
    name: 'projection_interruptions_total',
    help: 'Outages of a store that held the projection up.',
    registers,
  })
  const stuck = new Counter({
    name: 'projection_stuck_total',
    help: 'Events that could not be applied when they came.',
    registers,
  })
  new Gauge({
    name: 'projection_lag_events',
    help: `Events of customers that are not in the documents yet, up to ${MOST_COUNTED}.`,
    registers,
    collect: measured((lag) => lag.events),
  })
  new Gauge({
    name: 'projection_lag_seconds',
    help: 'Age of the oldest event that is not in the documents yet.',
    registers,
    collect: measured((lag) => lag.seconds),
  })

  new Gauge({
    name: 'projection_parked_events',
    help: 'Events that could not be applied and wait for an operator.',
    registers,
    async collect() {
      try {
        this.set((await readModel.parked()).length)
      } catch {
        this.set(Number.NaN)
      }
    },
  })

  let latest: { readonly at: number; readonly lag: Promise<Lag> } | undefined

  function lag(): Promise<Lag> {
    if (latest === undefined || Date.now() - latest.at > FRESH_MS) latest = { at: Date.now(), lag: measure() }
    return latest.lag
  }

  /** What was handled is the read model's checkpoint; of a group what the server has handed out, less what is in flight. */
  async function measure(): Promise<Lag> {
    const checkpoint = await readModel.getCheckpoint()
    let done = checkpoint?.position
    let inFlight = 0
    if (checkpoint?.complete && group !== undefined) {
      const info = await eventStore.persistentSubscriptions?.info(group)
      const known = info?.lastKnown
      if (known && (done === undefined || comparePositions(known, done) > 0)) done = known
      inFlight = info?.inFlight ?? 0
    }
    const after = await eventsAfter(done)
    return { events: inFlight + after.events, seconds: after.seconds }
  }

  async function eventsAfter(position: Position | undefined): Promise<Lag> {
    let events = 0
    let oldest: Date | undefined
    const options = position ? { from: position } : {}
    for await (const event of eventStore.readAll({ ...options, filter: FILTER, maxCount: MOST_COUNTED + 1 })) {
      if (position && comparePositions(event.position, position) <= 0) continue
      oldest ??= event.created
      events++
    }
    return { events, seconds: oldest ? Math.max(0, (Date.now() - oldest.getTime()) / 1000) : 0 }
  }

  function measured(value: (lag: Lag) => number) {
    return async function collect(this: Gauge) {
      try {
        this.set(value(await lag()))
      } catch {
        this.set(Number.NaN) // a store is away: nobody knows
      }
    }
  }

  return {
    observer: {
      applied(applied) {
        if (applied.length === 0) return
        const now = Date.now()
        events.inc(applied.length)
        batch.observe(applied.length)
        for (const { created } of applied) toDocument.observe(Math.max(0, (now - created.getTime()) / 1000))
      },
      interrupted: () => interruptions.inc(),
      stuck: () => stuck.inc(),
    },
    dropped: () => reconnects.inc(),
    lag,
  }
}
