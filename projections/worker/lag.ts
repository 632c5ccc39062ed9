/** How far the documents are behind the log. */
import { comparePositions, type EventStore, type Position, type RecordedEvent } from '../../eventstore/port.ts'
import { customerOf } from '../fold.ts'
import type { ReadModel } from '../read-model.ts'
import { FILTER } from './worker.ts'

/** How far the documents are behind the log. */
export interface Lag {
  /** Customer events that are not in the documents yet; counted up to {@link MOST_COUNTED}. */
  readonly events: number
  /** The age of the oldest of them; 0 if there is none. */
  readonly seconds: number
}

export const MOST_COUNTED = 10_000
const FRESH_MS = 1_000
/** How many documents are read together. */
const PAGE = 500

/**
 * @param options.group the name of the persistent subscription, if the projection runs as a group
 * @returns a function that returns the lag, at most a second old. @throws EventStoreUnavailable | ReadModelUnavailable
 */
export function createLag({
  eventStore,
  readModel,
  group,
}: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly group?: string | undefined
}): () => Promise<Lag> {
  let latest: { readonly at: number; readonly lag: Promise<Lag> } | undefined

  /**
   * For a single worker, the read model's checkpoint is what was processed. For a group it is what the server counts as
   * acknowledged, plus later events that are in the documents: the server does not say which events wait and which are
   * being processed.
   */
  async function measure(): Promise<Lag> {
    const checkpoint = await readModel.getCheckpoint()
    if (!checkpoint?.complete || group === undefined) return lagOf(eventsAfter(checkpoint?.position))
    const acknowledged = (await eventStore.persistentSubscriptions?.info(group))?.checkpoint
    const isLater = acknowledged !== undefined && comparePositions(acknowledged, checkpoint.position) > 0
    return lagOf(lacking(eventsAfter(isLater ? acknowledged : checkpoint.position)))
  }

  async function* eventsAfter(position: Position | undefined): AsyncGenerator<RecordedEvent> {
    const options = position ? { from: position } : {}
    for await (const event of eventStore.readAll({ ...options, filter: FILTER, maxCount: MOST_COUNTED + 1 })) {
      if (position && comparePositions(event.position, position) <= 0) continue
      yield event
    }
  }

  /** The events that are not in the documents. Events of a stuck customer are left out: it counts as parked. */
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

  return () => {
    if (latest === undefined || Date.now() - latest.at > FRESH_MS) latest = { at: Date.now(), lag: measure() }
    return latest.lag
  }
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
