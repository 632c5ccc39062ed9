/**
 * Compares the read model with the log before the subgraph answers from both: at its start, and each time that the
 * connection to the event store was lost, because a server may come back with another log, or an older state of it (a
 * restored backup). There customers' ids are given out again, and the documents under them are other people's.
 *
 * Calls to the event store wait for the comparison: nothing is appended to a log beside which another log's documents can
 * be seen. It costs a few reads at a start and at a reconnection, and otherwise the check of a boolean. While the event store
 * is away queries go on from the documents. Documents of another log are hidden from queries on all instances at once; the
 * projection empties the read model.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type EventPlace, holdsEvent } from '../eventstore/event-place.ts'
import { type EventStore, EventStoreUnavailable } from '../eventstore/port.ts'
import { provenanceOf } from '../projections/provenance.ts'
import { type ReadModel, ReadModelUnavailable } from '../projections/read-model.ts'
import type { Log } from '../runtime/log.ts'

export interface LogGuard {
  /** The event store, whose calls wait for the comparison. */
  readonly eventStore: EventStore
  /** Whether a query may be answered from the documents. Waits for the first comparison only. */
  mayReadDocuments(): boolean | Promise<boolean>
  close(): void
}

const RETRY_MS = 250

/**
 * @param options.anchor the newest event that this process has appended, if any: compared too
 * @param options.onReplaced called where the log is found to be another one than before
 */
export function guardLog(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly log: Pick<Log, 'warn'>
  readonly anchor: () => EventPlace | undefined
  readonly onReplaced: () => void
}): LogGuard {
  const { eventStore, readModel, log, anchor, onReplaced } = options
  const stopping = new AbortController()
  /** The log may be another one than the read model's. */
  let isDoubtful = true
  /** The read model could not be compared with the log that answers. */
  let isUnknown = false
  /** How often the connection was lost: what was compared before the last time does not count. */
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
      if (!(await isReadModelOfLog(eventStore, readModel))) {
        await readModel.distrust()
        log.warn(
          {},
          'the read model is of another log; its documents are hidden until the projection has filled it anew',
        )
      }
      isUnknown = false
    } catch (error) {
      if (!(error instanceof ReadModelUnavailable)) throw error
      isUnknown = true
    }
    if (losses === before) isDoubtful = false
  }

  /** Until the comparison is made, whether or not anybody calls. */
  async function retry(): Promise<void> {
    if (retrying) return
    retrying = true
    while ((isDoubtful || isUnknown) && !stopping.signal.aborted) {
      await compare().catch(() => {})
      if (isDoubtful || isUnknown)
        await delay(RETRY_MS, undefined, { signal: stopping.signal, ref: false }).catch(() => {})
    }
    retrying = false
  }

  // Not at once: what it calls is made after it.
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
    eventStore: awaiting(eventStore, () => isDoubtful, compare),
    mayReadDocuments: () => (isBegun ? !isUnknown : first.then(() => !isUnknown)),
    close() {
      stopping.abort()
      unlisten?.()
    },
  }
}

/** The event store, whose appends and reads wait for `compare` while `isDoubtful`. */
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

/**
 * Whether the live generation's documents are of this log. Reads alone.
 * @throws EventStoreUnavailable | ReadModelUnavailable
 */
async function isReadModelOfLog(eventStore: EventStore, readModel: ReadModel): Promise<boolean> {
  const checkpoint = (await readModel.generations()).find(({ live }) => live)?.checkpoint ?? null
  return (await provenanceOf(eventStore, { checkpoint, newest: await readModel.newest() })) !== 'other log'
}
