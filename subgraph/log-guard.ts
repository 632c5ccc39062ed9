/**
 * Compares the read model with the log before the subgraph answers from both: at its start, and after every loss of the
 * connection to the event store, because the server may come back with another log or an older state of it (a restored
 * backup). In such a log customer ids are assigned again, so the documents stored under them belong to other people.
 *
 * Calls to the event store wait for the comparison, so nothing is appended while documents of another log are visible.
 * The cost is a few reads at start and at each reconnect, a look at the read model's list of generations each second, and
 * otherwise one boolean check. While the event store is unavailable, queries are still answered from the documents.
 * Documents of another log are hidden from queries on all instances at once, and the projection clears the read model.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type EventPlace, holdsEvent } from '../eventstore/event-place.ts'
import { type EventStore, EventStoreUnavailable } from '../eventstore/port.ts'
import { provenanceOf } from '../projections/provenance.ts'
import { type Checkpoint, type ReadModel, ReadModelUnavailable } from '../projections/read-model.ts'
import type { Log } from '../runtime/log.ts'
import { within } from '../runtime/time-limits.ts'

export interface LogGuard {
  /** The event store; its calls wait for the comparison. */
  readonly eventStore: EventStore
  /** Whether a query may be answered from the documents. Only the first comparison is waited for. */
  mayReadDocuments(): boolean | Promise<boolean>
  /** Whether the documents are another log's, as of the last comparison. */
  isForeign(): boolean
  close(): void
}

const RETRY_MS = 250
/** How often a read model of another log is compared again: the projection may have filled it from this one. */
const FOREIGN_MS = 1_000
/** How often it is asked which log its documents are of: the projection of another service may fill it. */
const ORIGIN_MS = 1_000
/** How long a call to the event store waits for the comparison. A node that has to catch up takes longer. */
const WAIT_MS = 4_000

/**
 * @param options.anchor the newest event that this process has appended, if any; it is compared as well
 * @param options.onReplaced called when the log turns out to have been replaced
 * @param options.onCompared called after each comparison: the log may be an older state of the one before, also where it has
 * the anchor
 */
export function guardLog(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly log: Pick<Log, 'warn'>
  readonly anchor: () => EventPlace | undefined
  readonly onReplaced: () => void
  readonly onCompared: () => void
}): LogGuard {
  const { eventStore, readModel, log, anchor, onReplaced, onCompared } = options
  const stopping = new AbortController()
  /** The log may not be the one that the read model was filled from. */
  let isDoubtful = true
  /** The read model could not be compared with the current log. */
  let isUnknown = false
  /** It is another log's, as of the last comparison. Whoever fills it for that log may show it again. */
  let isForeign = false
  /** The first event of this log, once the documents were found to be of it. */
  let origin: string | undefined
  /** How often the connection was lost; a comparison from before the last loss does not count. */
  let losses = 0
  let comparing: Promise<void> | undefined
  let retrying = false

  const unlisten = eventStore.onDisconnect?.(() => {
    losses++
    isDoubtful = true
    void retry()
  })

  /** @throws EventStoreUnavailable */
  function compare(): Promise<void> {
    comparing ??= compareOnce().finally(() => {
      comparing = undefined
    })
    return comparing
  }

  async function compareOnce(): Promise<void> {
    const before = losses
    const own = anchor()
    if (own && !(await holdsEvent(eventStore, own))) onReplaced()
    try {
      const checkpoint = await liveCheckpoint(readModel)
      const isOurs = (await provenanceOf(eventStore, { checkpoint, newest: await readModel.newest() })) !== 'other log'
      if (isOurs) origin = firstEventOf(checkpoint)
      // Once: a projection of the other log would have to fill it again each time.
      if (!isOurs && !isForeign) {
        await readModel.distrust()
        log.warn(
          {},
          'the read model belongs to another log; its documents are hidden until the projection has filled it again',
        )
      }
      isForeign = !isOurs
      isUnknown = false
    } catch (error) {
      if (!(error instanceof ReadModelUnavailable)) throw error
      isUnknown = true
    }
    onCompared()
    if (losses === before) isDoubtful = false
  }

  /** Retries until the comparison succeeds, even without calls. */
  async function retry(): Promise<void> {
    if (retrying) return
    retrying = true
    const isOpen = () => isDoubtful || isUnknown
    while ((isOpen() || isForeign) && !stopping.signal.aborted) {
      await compare().catch(() => {})
      const wait = isOpen() ? RETRY_MS : isForeign ? FOREIGN_MS : 0
      if (wait > 0) await delay(wait, undefined, { signal: stopping.signal, ref: false }).catch(() => {})
    }
    retrying = false
  }

  let isChecking = false
  async function checkOrigin(): Promise<void> {
    if (isChecking || retrying || isDoubtful) return
    isChecking = true
    const found = await liveCheckpoint(readModel).then(firstEventOf, () => undefined)
    isChecking = false
    if (found === undefined || found === origin) return
    isUnknown = true
    void retry()
  }
  const checking = setInterval(checkOrigin, ORIGIN_MS).unref()

  /** Whether the documents are known to come from this log. */
  const isOfThisLog = () => !isUnknown && !isForeign

  // Deferred, because what it calls is created later.
  const first = Promise.resolve()
    .then(compare)
    .catch((error: unknown) => {
      if (!(error instanceof EventStoreUnavailable)) {
        log.warn({ reason: (error as Error).message }, 'the read model could not be compared with the log')
      }
    })
  let isBegun = false
  void first.then(() => {
    isBegun = true
    void retry()
  })

  return {
    eventStore: awaiting(
      eventStore,
      () => isDoubtful,
      () => within(WAIT_MS, compare(), notCompared),
    ),
    isForeign: () => isForeign,
    mayReadDocuments: () => (isBegun ? isOfThisLog() : first.then(isOfThisLog)),
    close() {
      stopping.abort()
      clearInterval(checking)
      unlisten?.()
    },
  }
}

const notCompared = () => new EventStoreUnavailable('The event store has not caught up with the read model yet.')

/** Wraps the event store: appends and reads wait for `compare` while `isDoubtful`. */
function awaiting(eventStore: EventStore, isDoubtful: () => boolean, compare: () => Promise<void>): EventStore {
  async function* after<T>(read: () => AsyncIterable<T>): AsyncGenerator<T> {
    await compare()
    yield* read()
  }

  return {
    ...eventStore,
    append: (stream, events, appending) =>
      isDoubtful()
        ? compare().then(() => eventStore.append(stream, events, appending))
        : eventStore.append(stream, events, appending),
    readStream: (stream, reading) =>
      isDoubtful() ? after(() => eventStore.readStream(stream, reading)) : eventStore.readStream(stream, reading),
    readAll: (reading) => (isDoubtful() ? after(() => eventStore.readAll(reading)) : eventStore.readAll(reading)),
  }
}

/** Not `getCheckpoint`: that looks for losses, too, which takes a check of 16,384 keys in a Redis Cluster. */
const liveCheckpoint = async (readModel: ReadModel): Promise<Checkpoint | null> =>
  (await readModel.generations()).find(({ live }) => live)?.checkpoint ?? null

const firstEventOf = (checkpoint: Checkpoint | null): string | undefined => checkpoint?.origin.split('/')[0]
