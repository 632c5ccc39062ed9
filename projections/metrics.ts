/** What a projection tells of itself, as Prometheus metrics, and how far it is behind. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import { comparePositions, type EventStore, type Position, type RecordedEvent } from '../eventstore/port.ts'
import { customerOf } from './fold.ts'
import type { ReadModel } from './read-model.ts'
import { FILTER, type ProjectionObserver } from './worker.ts'

/** How far the documents are behind the log. */
interface Lag {
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
/** Customers whose documents are read together. */
const PAGE = 500

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
    help: "From an event's time to its document; without those that fill a read model.",
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

  /**
   * What was handled is the read model's checkpoint. Of a group it is what the server counts as acknowledged, and of what
   * comes after it what is in the documents: the server does not tell which events wait and which are in somebody's hands.
   */
  async function measure(): Promise<Lag> {
    const checkpoint = await readModel.getCheckpoint()
    if (!checkpoint?.complete || group === undefined) return lagOf(eventsAfter(checkpoint?.position))
    const acknowledged = (await eventStore.persistentSubscriptions?.info(group))?.checkpoint
    const isLater = acknowledged !== undefined && comparePositions(acknowledged, checkpoint.position) > 0
    return lagOf(lacking(eventsAfter(isLater ? acknowledged : checkpoint.position)))
  }

  async function lagOf(missing: AsyncIterable<RecordedEvent>): Promise<Lag> {
    let events = 0
    let oldest: Date | undefined
    for await (const { created } of missing) {
      oldest ??= created
      events++
    }
    return { events, seconds: oldest ? Math.max(0, (Date.now() - oldest.getTime()) / 1000) : 0 }
  }

  async function* eventsAfter(position: Position | undefined): AsyncGenerator<RecordedEvent> {
    const options = position ? { from: position } : {}
    for await (const event of eventStore.readAll({ ...options, filter: FILTER, maxCount: MOST_COUNTED + 1 })) {
      if (position && comparePositions(event.position, position) <= 0) continue
      yield event
    }
  }

  /** Those that are not in the documents. Of a stuck customer none: it is counted as parked. */
  async function* lacking(events: AsyncIterable<RecordedEvent>): AsyncGenerator<RecordedEvent> {
    const stuck = new Set((await readModel.parked()).map(({ customerId }) => customerId))
    for await (const page of pages(events)) {
      const ids = [...new Set(page.flatMap(({ stream }) => customerOf(stream) ?? []))]
      const documents = await readModel.documents(ids)
      const revisions = new Map(ids.map((id, index) => [id, documents[index]?.revision ?? -1]))
      for (const event of page) {
        const id = customerOf(event.stream)
        if (id !== undefined && !stuck.has(id) && event.revision > (revisions.get(id) ?? -1)) yield event
      }
    }
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
      applied(applied, _caughtUp, isRefill) {
        if (applied.length === 0) return
        const now = Date.now()
        events.inc(applied.length)
        batch.observe(applied.length)
        if (isRefill) return // the age of what is filled in again is no delay
        for (const { created } of applied) toDocument.observe(Math.max(0, (now - created.getTime()) / 1000))
      },
      interrupted: () => interruptions.inc(),
      stuck: () => stuck.inc(),
    },
    dropped: () => reconnects.inc(),
    lag,
  }
}

async function* pages<T>(items: AsyncIterable<T>): AsyncGenerator<readonly T[]> {
  let page: T[] = []
  for await (const item of items) {
    page.push(item)
    if (page.length < PAGE) continue
    yield page
    page = []
  }
  if (page.length > 0) yield page
}
