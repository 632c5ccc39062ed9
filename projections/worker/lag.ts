/** How far the documents are behind the log. */
import { hasKeys } from '../../eventstore/encryption/customer-keys.ts'
import { comparePositions, type EventStore, type Position, type RecordedEvent } from '../../eventstore/port.ts'
import { logEnd } from '../../eventstore/read.ts'
import { batches } from '../../runtime/in-batches.ts'
import { customerOf } from '../fold.ts'
import type { ReadModel } from '../read-model.ts'
import { FILTER } from './worker.ts'

/** How far the documents are behind the log. */
export interface Lag {
  /**
   * Customer events that are not in the documents yet. Exact while the log has at most {@link MOST_COUNTED} events to look
   * at, else an estimate: it grows with each event that is appended, and falls as documents catch up.
   */
  readonly events: number
  /** The age of the oldest of them; 0 if there is none. */
  readonly seconds: number
}

/** How many events a measurement reads at most. Beyond, events are estimated from how far apart these are in the log. */
export const MOST_COUNTED = 10_000
const FRESH_MS = 1_000
/** How many documents are read together. */
const PAGE = 500

/**
 * @param options.group the name of the persistent subscription, if the projection runs as a group
 * @param options.mostRead how many events a measurement reads. Default {@link MOST_COUNTED}
 * @returns a function that returns the lag, at most a second old. @throws EventStoreUnavailable | ReadModelUnavailable
 */
export function createLag({
  eventStore,
  readModel,
  group,
  mostRead = MOST_COUNTED,
}: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly group?: string | undefined
  readonly mostRead?: number
}): () => Promise<Lag> {
  // Only where events are and when they were written is looked at: they need not be decrypted.
  const log = hasKeys(eventStore) ? eventStore.keys.log : eventStore
  let latest: { readonly lag: Promise<Lag>; until: number } | undefined
  /** When the documents last had all of the log: what they lack after that position was appended since. */
  let complete: { readonly at: number; readonly position: Position } | undefined

  /**
   * For a single worker, the read model's checkpoint is what was processed. For a group it is what the server counts as
   * acknowledged, plus later events that are in the documents: the server does not say which events wait and which are
   * being processed.
   */
  async function measure(): Promise<Lag> {
    const checkpoint = await readModel.getCheckpoint()
    if (!checkpoint?.complete || group === undefined) return lagAfter(checkpoint?.position, (events) => events)
    const acknowledged = (await eventStore.persistentSubscriptions?.info(group))?.checkpoint
    const isLater = acknowledged !== undefined && comparePositions(acknowledged, checkpoint.position) > 0
    return lagAfter(isLater ? acknowledged : checkpoint.position, lacking)
  }

  /** @param missing those of the events that are not in the documents */
  async function lagAfter(
    position: Position | undefined,
    missing: (events: AsyncIterable<RecordedEvent>) => AsyncIterable<RecordedEvent>,
  ): Promise<Lag> {
    const at = performance.now()
    const seen: Seen = { count: 0, first: position, last: position }
    const { events, oldest } = await countOf(missing(eventsAfter(position, seen)))
    const end = seen.count < mostRead ? undefined : await logEnd(log, FILTER)
    if (position && !oldest && !end) complete = { at, position }
    return { events: events + (end ? estimateBetween(seen, end) : 0), seconds: oldest ? ageOf(oldest) / 1000 : 0 }
  }

  /** Milliseconds. The event store's clock may be behind this process's: it can't be longer than since nothing was missing. */
  function ageOf({ created, position }: RecordedEvent): number {
    const age = Math.max(0, Date.now() - created.getTime())
    if (!complete || comparePositions(position, complete.position) <= 0) return age
    return Math.min(age, performance.now() - complete.at)
  }

  async function* eventsAfter(position: Position | undefined, seen: Seen): AsyncGenerator<RecordedEvent> {
    const options = position ? { from: position } : {}
    for await (const event of log.readAll({ ...options, filter: FILTER, maxCount: mostRead + 1 })) {
      if (position && comparePositions(event.position, position) <= 0) continue
      if (seen.count === mostRead) return
      seen.count++
      seen.first ??= event.position
      seen.last = event.position
      yield event
    }
  }

  /** The events that are not in the documents. Events of a stuck customer are left out: it counts as parked. */
  async function* lacking(events: AsyncIterable<RecordedEvent>): AsyncGenerator<RecordedEvent> {
    const stuck = new Set((await readModel.parked()).map(({ customerId }) => customerId))
    for await (const page of batches(events, PAGE)) {
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
    if (latest && performance.now() < latest.until) return latest.lag
    // One measurement at a time, however long a store takes.
    const started = { lag: measure(), until: Number.POSITIVE_INFINITY }
    const settled = () => {
      started.until = performance.now() + FRESH_MS
    }
    started.lag.then(settled, settled)
    latest = started
    return started.lag
  }
}

/** The events that a measurement has read. */
interface Seen {
  count: number
  /** The position that they follow; of a log's first events, the first one's. */
  first: Position | undefined
  last: Position | undefined
}

/** How many events follow those that were seen, if they are as dense in the log as these. */
function estimateBetween({ count, first, last }: Seen, end: Position): number {
  if (!first || !last || comparePositions(end, last) <= 0) return 0
  const span = Number(last.commit - first.commit)
  return Math.max(1, Math.round((Number(end.commit - last.commit) * count) / Math.max(1, span)))
}

async function countOf(missing: AsyncIterable<RecordedEvent>) {
  let events = 0
  let oldest: RecordedEvent | undefined
  for await (const event of missing) {
    oldest ??= event
    events++
  }
  return { events, oldest }
}
