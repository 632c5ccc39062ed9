/**
 * How far the documents are, measured when somebody looks. Measures are kept for a while, so that a trend shows; nothing
 * is measured while nobody looks.
 */
import { asStored } from '../../../eventstore/as-stored.ts'
import { comparePositions, type EventStore, GroupNotFound, type Position } from '../../../eventstore/port.ts'
import { logEnd } from '../../../eventstore/read.ts'
import type { ReadModel } from '../../../projections/read-model.ts'
import { createLag, type Lag } from '../../../projections/worker/lag.ts'
import { FILTER } from '../../../projections/worker/worker.ts'

/** How many measures are kept, and how far apart they are at least. */
const MOST = 120
const APART_MS = 1_000
/** Events of longer ago say nothing about what happens now. */
const RECENT_MS = 60_000
/** How many events are counted at most. */
const MOST_COUNTED = 10_000
const MOST_RECENT = 2_000

export interface Measure {
  readonly at: Date
  readonly lag: Lag
  /** How far the documents are; undefined: they are empty. */
  readonly position: Position | undefined
  /** The newest event of a customer; undefined: there is none. */
  readonly end: Position | undefined
  /** Whether the documents have reached the end of the log since they were empty. */
  readonly isComplete: boolean
  /** Events per second that went into documents since the measure before; undefined: that was too long ago. */
  readonly appliedPerSecond: number | undefined
}

/** The processes of a persistent subscription. */
export interface GroupState {
  readonly name: string
  readonly consumers: number
  readonly inFlight: number
  readonly parked: number
}

export interface Watch {
  /** Measures, at most once a second. @throws EventStoreUnavailable | ReadModelUnavailable */
  measure(): Promise<Measure>
  /** The oldest first. */
  readonly measures: readonly Measure[]
  /** undefined: there is no such group, so one process follows the log by itself. @throws EventStoreUnavailable */
  group(): Promise<GroupState | undefined>
}

export function createWatch(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly groupName: string
  readonly now: () => Date
}): Watch {
  const { eventStore, readModel, groupName, now } = options
  const log = asStored(eventStore)
  const lags = {
    group: createLag({ eventStore: log, readModel, group: groupName }),
    single: createLag({ eventStore: log, readModel }),
  }
  const measures: Measure[] = []
  /** The measure under way: it may take longer than the time to the next. */
  let pending: Promise<Measure> | undefined
  let measuredAt = 0

  async function group(): Promise<GroupState | undefined> {
    try {
      const info = await eventStore.persistentSubscriptions?.info(groupName)
      return info && { name: groupName, consumers: info.consumers, inFlight: info.inFlight, parked: info.parked }
    } catch (error) {
      if (error instanceof GroupNotFound) return undefined
      throw error
    }
  }

  async function measure(): Promise<Measure> {
    await readModel.follow() // another process may have switched to another generation
    const before = measures.at(-1)
    const [checkpoint, end, found] = await Promise.all([readModel.getCheckpoint(), logEnd(log, FILTER), group()])
    const lag = await (found && found.consumers > 0 ? lags.group() : lags.single())
    const at = now()
    const measured: Measure = {
      at,
      lag,
      position: checkpoint?.position,
      end,
      isComplete: checkpoint?.complete ?? false,
      appliedPerSecond: before && (await appliedSince(before, at, lag, end)),
    }
    measures.push(measured)
    if (measures.length > MOST) measures.shift()
    return measured
  }

  /** What was written since then, less what waits more than then. */
  async function appliedSince(before: Measure, at: Date, lag: Lag, end: Position | undefined) {
    const seconds = (at.getTime() - before.at.getTime()) / 1000
    if (seconds <= 0 || seconds * 1000 > RECENT_MS || before.end === undefined || end === undefined) return undefined
    let written = 0
    for await (const event of log.readAll({ from: before.end, to: end, filter: FILTER, maxCount: MOST_COUNTED })) {
      if (comparePositions(event.position, before.end) > 0) written++
    }
    return Math.max(0, written + before.lag.events - lag.events) / seconds
  }

  return {
    measures,
    group,
    measure() {
      const time = performance.now()
      if (pending) return pending
      const last = measures.at(-1)
      if (last && time - measuredAt <= APART_MS) return Promise.resolve(last)
      pending = measure().finally(() => {
        pending = undefined
        measuredAt = performance.now()
      })
      return pending
    },
  }
}

/** Events of customers per second that were written in the last minute. @throws EventStoreUnavailable */
export async function writtenPerSecond(eventStore: EventStore, now: Date): Promise<number> {
  let count = 0
  let since = now.getTime() - RECENT_MS
  const newest = asStored(eventStore).readAll({ direction: 'backwards', filter: FILTER, maxCount: MOST_RECENT })
  for await (const { created } of newest) {
    if (created.getTime() < since) break
    // So many are enough: the rate is that of the time that they took.
    if (++count === MOST_RECENT) since = created.getTime()
  }
  return count / Math.max(1, (now.getTime() - since) / 1000)
}

/** What the measures say of the projection. */
export type ProjectionState = 'keeps up' | 'is being filled' | 'has not begun' | 'behind' | 'stalled'

/** How long a checkpoint may stand still while events wait. */
const STALLED_MS = 10_000

/** @param maxLagSeconds how far a projection may be behind before that is a fault */
export function projectionState(measures: readonly Measure[], maxLagSeconds: number): ProjectionState {
  const last = measures.at(-1)
  if (last === undefined || (last.position === undefined && last.end !== undefined)) return 'has not begun'
  if (last.lag.events > 0) {
    const still = measures.filter(({ position }) => isSamePlace(position, last.position))
    const since = still[0]?.at.getTime() ?? last.at.getTime()
    if (last.at.getTime() - since >= STALLED_MS && last.lag.seconds * 1000 >= STALLED_MS) return 'stalled'
  }
  if (!last.isComplete && last.end !== undefined) return 'is being filled'
  return last.lag.seconds > maxLagSeconds ? 'behind' : 'keeps up'
}

const isSamePlace = (a: Position | undefined, b: Position | undefined) =>
  a === undefined || b === undefined ? a === b : comparePositions(a, b) === 0
