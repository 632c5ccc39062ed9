/**
 * Rebuilding the documents beside the live ones: a new generation is filled from the log, compared, and made live by
 * one switch. The service keeps running; the old generation is kept until it is dropped.
 */

import { setTimeout as delay } from 'node:timers/promises'
import { asStored } from '../eventstore/as-stored.ts'
import {
  comparePositions,
  type EventStore,
  EventStoreUnavailable,
  type Position,
  StreamDeleted,
} from '../eventstore/port.ts'
import { firstOf, logEnd } from '../eventstore/read.ts'
import { inBatches } from '../runtime/in-batches.ts'
import type { Log } from '../runtime/log.ts'
import { createPatience } from '../runtime/patience.ts'
import { streamOf } from '../schema/streams.ts'
import { absentCustomer, type CustomerDocument } from './customer.ts'
import { customerOf, foldCustomer } from './fold.ts'
import { type ReadModel, ReadModelUnavailable, type Space } from './read-model.ts'
import { withRetries } from './retry.ts'
import { FILTER, startProjection } from './worker/worker.ts'

/** The progress of a long operation. */
export interface Progress {
  /** Events or customers so far. */
  readonly done: number
  /** The share of the log, 0 to 1; undefined if it is not known. */
  readonly share: number | undefined
  /** The commit position reached. */
  readonly position?: bigint | undefined
}

/**
 * The difference between two documents of a customer, or between a document and the log. It has no values, because they
 * are personal.
 */
export interface Difference {
  readonly customerId: number
  /**
   * Fields that differ; `missing` or `extra` for the whole document; `unreadable`: the stored value is not a document;
   * `parked`: the stream can't be folded, see `npm run parked`.
   */
  readonly fields: readonly string[] | 'missing' | 'extra' | 'unreadable' | 'parked'
  /** The revisions of both sides; -1 for none. */
  readonly revisions: readonly [expected: number, found: number]
}

type Report = (progress: Progress) => void

/** How many customers are compared at once. */
const PAGE = 500
/** How long a document may lag behind the log before it counts as different. */
const MAX_LAG_WAIT_MS = 5_000
const RECHECK_MS = 100

/**
 * The generation that a rebuild fills: the newest one above the live one, if a rebuild was begun, or a new one.
 * @throws ReadModelUnavailable
 */
export async function chooseGeneration(
  readModel: ReadModel,
): Promise<{ readonly live: number; readonly next: number; readonly isBegun: boolean }> {
  const generations = await readModel.generations()
  const live = generations.find((each) => each.live)?.number ?? 1
  const newest = Math.max(...generations.map(({ number }) => number))
  const isBegun = newest > live
  return { live, next: isBegun ? newest : live + 1, isBegun }
}

/**
 * Estimates how much more a generation will take once it is filled, from the size of the live one, and whether there is
 * room for it.
 * @param next a handle opened for that generation, if it was begun earlier
 * @throws ReadModelUnavailable
 */
export async function roomFor(
  live: ReadModel,
  next: ReadModel | undefined,
): Promise<{ readonly live: Space; readonly needed: number; readonly hasRoom: boolean }> {
  const taken = await live.space()
  const needed = Math.max(0, taken.bytes - ((await next?.space())?.bytes ?? 0))
  return { live: taken, needed, hasRoom: taken.free === undefined || needed * ROOM_FACTOR <= taken.free }
}

/** The sizes are estimates, and the service continues to write meanwhile. */
const ROOM_FACTOR = 1.1

/**
 * Fills a generation from the log until it has caught up, and keeps following the log until it is stopped.
 * @param readModel a handle opened for that generation
 * @returns stop: finishes the current batch and stores the checkpoint; caughtUp: everything that is in the log now is
 * in the documents
 */
export function startFilling(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly log: Log
  readonly report: Report
}) {
  const { eventStore, readModel, report } = options
  let done = 0
  /** The newest event that counts as done: what is filled again after an outage counts once. */
  let reached: Position | undefined
  let end: Position | undefined
  const complete = Promise.withResolvers<void>()
  const projection = startProjection({
    ...options,
    observer: {
      applied(events, caughtUp) {
        const before = reached
        const added = before ? events.filter(({ position }) => comparePositions(position, before) > 0) : events
        done += added.length
        reached = added.at(-1)?.position ?? before
        const at = events.at(-1)?.position
        report({ done, share: at && shareOf(at, end), position: at?.commit })
        if (caughtUp) complete.resolve()
      },
    },
  })
  logEnd(eventStore, FILTER).then(
    (position) => {
      end = position
    },
    () => {}, // then no share of the whole is shown
  )
  return {
    /** Marks the documents as complete, so queries may see them once the generation is live. */
    complete: complete.promise.then(async () => {
      while (!(await readModel.getCheckpoint())?.complete) await delay(20)
    }),
    caughtUp: projection.caughtUp,
    stop: projection.stop,
  }
}

/** The share of the log up to its newest event at the time the work began. */
function shareOf(at: Position, end: Position | undefined): number | undefined {
  return end && Math.min(1, Number(at.commit) / Number(end.commit))
}

/**
 * The time left to wait for lagging documents; progress renews it. So a stalled worker is waited for once, and not for
 * each of its documents.
 */
interface WaitBudget {
  left: number
}

/**
 * The lasting differences: both sides change while they are compared, so a document that may only lag is compared
 * again.
 */
async function settle(
  ids: readonly number[],
  budget: WaitBudget,
  compare: (ids: readonly number[]) => Promise<Difference[]>,
): Promise<Difference[]> {
  let differing = await compare(ids)
  const mayLag = ({ fields, revisions: [expected, found] }: Difference) => fields !== 'unreadable' && expected !== found
  while (differing.some(mayLag) && budget.left > 0) {
    budget.left -= RECHECK_MS
    await delay(RECHECK_MS)
    const before = differing.length
    differing = await compare(differing.map(({ customerId }) => customerId))
    if (differing.length < before) budget.left = MAX_LAG_WAIT_MS
  }
  return differing
}

/** Options of a comparison. It waits out an outage of the documents that begins after it. */
interface ComparisonOptions {
  /** Called with the number of documents, or customers, that were compared. */
  readonly report: Report
  /** Ends it early, without an error. */
  readonly signal?: AbortSignal
  /** Called once for each outage of the documents, with its reason. */
  onOutage?(reason: string): void
}

/** Ends without an error if it is stopped during an outage. */
async function* untilStopped(
  differences: AsyncGenerator<Difference, void, void>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Difference, void, void> {
  try {
    yield* differences
  } catch (error) {
    const isOutage = error instanceof ReadModelUnavailable || error instanceof EventStoreUnavailable
    if (!isOutage || !signal?.aborted) throw error
  }
}

/**
 * Compares the documents of two generations.
 * @param expected the rebuilt one
 * @param found the live one
 * @throws ReadModelUnavailable
 */
export async function* compareGenerations(
  expected: ReadModel,
  found: ReadModel,
  options: ComparisonOptions,
): AsyncGenerator<Difference, void, void> {
  await found.ping() // fails fast
  const patience = createPatience(ReadModelUnavailable, options)
  const differences = compareAll(withRetries(expected, patience), withRetries(found, patience), options)
  yield* untilStopped(differences, options.signal)
}

async function* compareAll(
  expected: ReadModel,
  found: ReadModel,
  { report, signal }: ComparisonOptions,
): AsyncGenerator<Difference, void, void> {
  const budget = { left: MAX_LAG_WAIT_MS }
  const live = await found.generation()
  const compare = async (ids: readonly number[]) => {
    const [a, b] = await Promise.all([expected.documents(ids), found.documents(ids)])
    const differences = ids.flatMap((id, index) => difference(id, a[index] ?? null, b[index] ?? null) ?? [])
    return markUnreadable(found, differences)
  }
  let done = 0
  const passes = [
    { readModel: expected, suspects: (ids: readonly number[]) => expected.differing(ids, live), isSecond: false },
    { readModel: found, suspects: (ids: readonly number[]) => expected.lacking(ids), isSecond: true },
  ]
  for (const { readModel, suspects, isSecond } of passes) {
    for await (const ids of readModel.customers()) {
      if (signal?.aborted) return
      const suspected = await suspects(ids)
      for (const difference of await settle(suspected, budget, compare)) {
        // If both sides have a document by now, the first pass has compared them.
        if (!isSecond || difference.revisions[0] === -1) yield difference
      }
      // Counts each document once: the second pass adds those that the first has not seen.
      done += isSecond ? suspected.length : ids.length
      report({ done, share: undefined })
    }
  }
}

/** Reports a missing document as `unreadable` if something else is stored in its place. */
async function markUnreadable(readModel: ReadModel, differences: readonly Difference[]): Promise<Difference[]> {
  const missing = differences.filter(({ fields }) => fields === 'missing').map(({ customerId }) => customerId)
  if (missing.length === 0) return [...differences]
  const lacking = new Set(await readModel.lacking(missing))
  return differences.map((each) =>
    each.fields === 'missing' && !lacking.has(each.customerId) ? { ...each, fields: 'unreadable' as const } : each,
  )
}

function difference(
  customerId: number,
  expected: CustomerDocument | null,
  found: CustomerDocument | null,
): Difference | undefined {
  const revisions = [expected?.revision ?? -1, found?.revision ?? -1] as const
  if (expected === null && found === null) return undefined
  if (found === null) return { customerId, fields: 'missing', revisions }
  if (expected === null) return { customerId, fields: 'extra', revisions }
  const [one, other] = [expected, found].map((document) => new Map(Object.entries(document))) as [
    Map<string, unknown>,
    Map<string, unknown>,
  ]
  const names = new Set([...one.keys(), ...other.keys()])
  const fields = [...names].filter((name) => JSON.stringify(one.get(name)) !== JSON.stringify(other.get(name)))
  return fields.length > 0 ? { customerId, fields, revisions } : undefined
}

/**
 * Compares the live documents with the log: each customer's stream is folded. The memory used does not grow with the
 * log, except for the customers' keys.
 * @throws EventStoreUnavailable | ReadModelUnavailable
 */
export async function* compareWithLog(
  eventStore: EventStore,
  readModel: ReadModel,
  options: ComparisonOptions,
): AsyncGenerator<Difference, void, void> {
  await readModel.ping() // fails fast
  const patient = withRetries(readModel, createPatience(ReadModelUnavailable, options))
  yield* untilStopped(compareStreams(eventStore, patient, options), options.signal)
}

async function* compareStreams(
  eventStore: EventStore,
  readModel: ReadModel,
  { report, signal }: ComparisonOptions,
): AsyncGenerator<Difference, void, void> {
  const budget = { left: MAX_LAG_WAIT_MS }
  let done = 0
  let page: number[] = []
  const end = await logEnd(eventStore, FILTER)
  const differencesOf = async (ids: readonly number[]) => {
    const folds = await inBatches(ids, (id) => tryFold(eventStore, id))
    const documents = await readModel.documents(ids)
    const differences = ids.flatMap((id, index): Difference | [] => {
      const [fold, document] = [folds[index] ?? null, documents[index] ?? null]
      const revision = document?.revision ?? -1
      if (fold === 'parked') return { customerId: id, fields: 'parked', revisions: [revision, revision] }
      if (fold?.revision === -1) return [] // its stream is gone, although $all still has the event: see below
      return difference(id, fold, document) ?? []
    })
    return markUnreadable(readModel, differences)
  }
  const compare = async (share: number | undefined) => {
    const ids = page
    page = []
    const found = await settle(ids, budget, differencesOf)
    done += ids.length
    report({ done, share })
    return found
  }
  for await (const { stream, revision, position } of asStored(eventStore).readAll({ filter: FILTER })) {
    if (signal?.aborted) return
    const id = revision === 0 ? customerOf(stream) : undefined // each customer once, at its first event
    if (id !== undefined) page.push(id)
    if (page.length === PAGE) yield* await compare(shareOf(position, end))
    if (end && comparePositions(position, end) >= 0) break // what came later is another verification's
  }
  yield* await compare(1)
  for await (const ids of readModel.customers()) {
    if (signal?.aborted) return
    const streams = await inBatches(ids, (id) => hasStream(asStored(eventStore), id))
    const extra = ids.filter((_, index) => !streams[index])
    const documents = await readModel.documents(extra)
    const gone = new Set(await readModel.lacking(extra))
    done += extra.length - gone.size
    report({ done, share: 1 })
    for (const [index, customerId] of extra.entries()) {
      const revision = documents[index]?.revision
      if (revision !== undefined) yield { customerId, fields: 'extra', revisions: [-1, revision] }
      else if (!gone.has(customerId)) yield { customerId, fields: 'unreadable', revisions: [-1, -1] }
    }
  }
}

async function hasStream(eventStore: EventStore, id: number): Promise<boolean> {
  try {
    return (await firstOf(eventStore.readStream(streamOf.customer(id), { maxCount: 1 }))) !== undefined
  } catch (error) {
    if (error instanceof StreamDeleted) return false
    throw error
  }
}

async function tryFold(eventStore: EventStore, id: number): Promise<CustomerDocument | 'parked'> {
  try {
    return await foldCustomer(eventStore, id)
  } catch (error) {
    if (error instanceof EventStoreUnavailable) throw error
    if (error instanceof StreamDeleted) return absentCustomer(id)
    return 'parked'
  }
}

/** A difference as a line for the operator. */
export function describe({ customerId, fields, revisions: [expected, found] }: Difference): string {
  const customer = `customer ${customerId}`
  if (fields === 'parked') return `${customer}: an event can't be applied; npm run parked -- show ${customerId}`
  if (fields === 'unreadable') {
    const inLog =
      expected === -1 ? `there is no stream ${streamOf.customer(customerId)}` : `the log has it at revision ${expected}`
    return `${customer}: its document can't be read; ${inLog}`
  }
  if (fields === 'missing') return `${customer}: no document; the log has it at revision ${expected}`
  if (fields === 'extra')
    return `${customer}: a document at revision ${found}, but no stream ${streamOf.customer(customerId)}`
  const at = expected === found ? `at revision ${found}` : `at revision ${found} instead of ${expected}`
  return `${customer}: ${fields.join(', ')} differ ${at}`
}
