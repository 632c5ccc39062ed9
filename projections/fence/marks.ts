/**
 * The marks beside the documents: the newest acknowledged revision of each customer. Before a change is acknowledged to
 * a client, its mark is written, or a fence stops the other instances: see docs/read-your-writes.md.
 */

import type { EventStore } from '../../eventstore/port.ts'
import { boundedCache } from '../../runtime/bounded-cache.ts'
import type { Log } from '../../runtime/log.ts'
import { within } from '../../runtime/time-limits.ts'
import type { ReadModel } from '../read-model.ts'
import { createLease, type Lease } from './lease.ts'

export interface Marks extends Pick<Lease, 'trusted' | 'trustedWithoutLease' | 'missed' | 'isFenced' | 'isAlone'> {
  /**
   * Resolves when every instance shows the customer at that revision or a later one.
   * @param known the revision up to which they are known to
   * @throws EventStoreUnavailable if neither the read model nor the event store accepts the necessary write within
   * seconds
   */
  acknowledge(id: number, revision: number, known?: number): Promise<void>
  /** Records that every instance shows the customer at that revision or a later one, because a document does. */
  note(id: number, revision: number): void
  /** The newest revision that could not be marked yet; -1: none. */
  outstanding(id: number): number
  /**
   * The log may have been set back: what instances showed of its lost part says nothing of the events that take its place.
   * Marks that are owed stay so.
   */
  forgetShown(): void
  /** The log was replaced: marks of the previous log mean nothing for its streams. */
  forget(): void
  /** Writes outstanding marks once more, then stops. Calling it again does nothing. */
  close(): Promise<void>
}

/** How long a mark may take before a fence is raised instead. */
const MARK_MS = 1_200
/** The time limit for everything that an acknowledgement needs. */
const WAIT_MS = 4_000
const RETRY_MS = 200
/** How long the fence is kept after the last refused mark, so that intermittent failures do not wait each time. */
const QUIET_MS = 1_000
/** How many outstanding marks are written at once. */
const BATCH = 200
/** For how many customers the revision shown everywhere is cached. */
const KEPT = 10_000

export function createMarks(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly log: Log
}): Marks {
  const { readModel, log } = options
  const shown = boundedCache<number, number>(KEPT)
  const unwritten = new Map<number, number>()
  let refusedAt = Number.NEGATIVE_INFINITY
  /** True from a refused mark until all outstanding ones are written. */
  let isRefusing = false
  let timer: NodeJS.Timeout | undefined
  let closing: Promise<void> | undefined
  const isQuiet = () => performance.now() - refusedAt >= QUIET_MS
  const lease = createLease({ ...options, hasUnmarked: () => unwritten.size > 0 || !(isQuiet() || closing) })

  /** Why the last mark was refused. */
  let refusal: string | undefined

  /** The incarnation that has the mark; undefined: it was refused, or the read model is unavailable. */
  const write = (id: number, revision: number): Promise<string | undefined> =>
    within(MARK_MS, readModel.acknowledge(id, revision)).catch((error: Error) => {
      refusal = error.message
      return undefined
    })

  function note(id: number, revision: number): void {
    if (revision > (shown.get(id) ?? -1)) shown.set(id, revision)
  }

  async function acknowledge(id: number, revision: number, known = -1): Promise<void> {
    if (revision <= known || revision <= (shown.get(id) ?? -1)) return
    // During an outage, no call waits for the read model.
    if (isRefusing && lease.holdsFence()) addUnwritten(id, revision)
    else {
      const incarnation = await write(id, revision)
      if (incarnation === undefined || !lease.accepts(incarnation)) await makeSure(id, revision, incarnation)
    }
    note(id, revision)
  }

  /** For changes where a mark alone is not enough. */
  async function makeSure(id: number, revision: number, incarnation: string | undefined): Promise<void> {
    const deadline = performance.now() + WAIT_MS
    if (incarnation !== undefined && (await lease.settled(incarnation, deadline - WAIT_MS / 2))) return
    const reason = incarnation === undefined ? { reason: refusal } : {}
    if (!isRefusing) log.warn(reason, 'a revision mark cannot be written; the other instances are fenced off')
    isRefusing = true
    refusedAt = performance.now()
    addUnwritten(id, revision)
    await lease.fenced(deadline)
  }

  function addUnwritten(id: number, revision: number): void {
    unwritten.set(id, Math.max(revision, unwritten.get(id) ?? -1))
    schedule()
  }

  /** Whether every instance sees the mark, because it was written to a trusted store. */
  async function isTaken(id: number, revision: number): Promise<boolean> {
    const incarnation = await write(id, revision)
    return incarnation !== undefined && lease.accepts(incarnation)
  }

  async function flush(): Promise<void> {
    if (!(await writeOwed(unwritten, isTaken))) {
      refusedAt = performance.now()
      return
    }
    if (isRefusing) log.info({}, 'the read model takes revision marks again')
    isRefusing = false
  }

  function schedule(): void {
    if (closing) return
    timer ??= setTimeout(async () => {
      await flush().catch(() => {})
      timer = undefined
      if (unwritten.size > 0) schedule()
    }, RETRY_MS).unref()
  }

  return {
    trusted: lease.trusted,
    trustedWithoutLease: lease.trustedWithoutLease,
    missed: lease.missed,
    isFenced: lease.isFenced,
    isAlone: lease.isAlone,
    acknowledge,
    note,
    outstanding: (id) => (unwritten.size === 0 ? -1 : (unwritten.get(id) ?? -1)),
    forgetShown: () => shown.clear(),
    forget() {
      shown.clear()
      unwritten.clear()
    },
    close() {
      closing ??= (async () => {
        await Promise.resolve() // from here on `closing` is set
        clearTimeout(timer)
        if (unwritten.size > 0) await flush()
        await lease.close()
      })()
      return closing
    },
  }
}

/**
 * Writes the outstanding marks in batches, and removes those that are written.
 * @param isTaken writes one
 * @returns whether all were written
 */
async function writeOwed(
  unwrittenMarks: Map<number, number>,
  isTaken: (id: number, revision: number) => Promise<boolean>,
): Promise<boolean> {
  const marks = [...unwrittenMarks]
  for (let start = 0; start < marks.length; start += BATCH) {
    const written = await Promise.all(
      marks.slice(start, start + BATCH).map(async ([id, revision]) => {
        if (!(await isTaken(id, revision))) return false
        if (unwrittenMarks.get(id) === revision) unwrittenMarks.delete(id)
        return true
      }),
    )
    if (!written.every((each) => each)) return false
  }
  return true
}
