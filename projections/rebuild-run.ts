/** A rebuild from its beginning to its end: fills a generation, compares it with the live one, switches to it. */
import type { EventStore } from '../eventstore/port.ts'
import { completeGuestErasures } from './erasure.ts'
import type { OpenGeneration } from './generations.ts'
import type { ReadModel, Space } from './read-model.ts'
import {
  chooseGeneration,
  compareGenerations,
  type Difference,
  type Progress,
  roomFor,
  startFilling,
} from './rebuild.ts'

/** Told of what happens. Nothing personal is in it. */
export interface RebuildObserver {
  /** The generation, and how much it needs. Called once, before anything is written. */
  room?(room: RebuildRoom): void
  filling?(progress: Progress): void
  /** Called for each document that was compared; `done` counts them. */
  comparing?(progress: Progress): void
  differs?(difference: Difference): void
  /** The live generation is not complete: there is nothing to compare with. */
  nothingToCompare?(live: number): void
  /** Something that can't be applied, or an outage. */
  warned?(message: string): void
}

export interface RebuildRoom {
  readonly generation: number
  /** It was begun earlier and is resumed. */
  readonly isBegun: boolean
  readonly live: Space
  /** Bytes. */
  readonly needed: number
  readonly hasRoom: boolean
}

export type RebuildOutcome =
  | { readonly outcome: 'switched'; readonly generation: number }
  | { readonly outcome: 'stopped'; readonly generation: number }
  | { readonly outcome: 'no room'; readonly generation: number }
  /** It is filled, and not live. */
  | { readonly outcome: 'differs'; readonly generation: number; readonly differences: number }
  | { readonly outcome: 'too late'; readonly generation: number }

/**
 * Can be repeated after any end: what was begun is resumed.
 * @param options.acceptDifferences switches even where documents differ
 * @param options.ignoreMemory begins even where there may be too little room
 * @param options.signal stops it
 * @throws EventStoreUnavailable | ReadModelUnavailable
 */
export async function runRebuild(options: {
  readonly eventStore: EventStore
  readonly live: ReadModel
  readonly open: OpenGeneration
  readonly signal: AbortSignal
  readonly acceptDifferences: boolean
  readonly ignoreMemory: boolean
  readonly observer: RebuildObserver
}): Promise<RebuildOutcome> {
  const { eventStore, live, open, signal, acceptDifferences, ignoreMemory, observer } = options
  await eventStore.ping() // fails fast: later calls would wait for the store, with a generation begun
  const { live: current, next: generation, isBegun } = await chooseGeneration(live)
  const begun = isBegun ? await open(generation) : undefined
  const room = await roomFor(live, begun).finally(() => begun?.close())
  observer.room?.({ generation, isBegun, ...room })
  if (!room.hasRoom && !ignoreMemory) return { outcome: 'no room', generation }
  await completeGuestErasures(eventStore)
  const next = await open(generation)
  const warn = (details: object, message: string) => {
    const { reason } = details as { reason?: string }
    observer.warned?.(`${message}${reason ? `: ${reason}` : ''}`)
  }
  const filling = startFilling({
    eventStore,
    readModel: next,
    log: { info() {}, warn, error: warn },
    report: (progress) => observer.filling?.(progress),
  })
  try {
    const stopped = new Promise<'stopped'>((resolve) => signal.addEventListener('abort', () => resolve('stopped')))
    if (signal.aborted || (await Promise.race([filling.complete, stopped])) === 'stopped') {
      return { outcome: 'stopped', generation }
    }
    const differences = await compareWithLive(next, live, signal, observer)
    if (signal.aborted) return { outcome: 'stopped', generation }
    if (differences > 0 && !acceptDifferences) return { outcome: 'differs', generation, differences }
    if (!(await live.switchGeneration(current, generation))) return { outcome: 'too late', generation }
    // Events that group workers applied to the old generation just before the switch must reach the new one, too.
    await Promise.race([filling.caughtUp(), stopped])
    return { outcome: 'switched', generation }
  } finally {
    await filling.stop()
    await next.close()
  }
}

/** @returns how many documents differ */
async function compareWithLive(
  next: ReadModel,
  live: ReadModel,
  signal: AbortSignal,
  observer: RebuildObserver,
): Promise<number> {
  const [current] = (await live.generations()).filter((each) => each.live)
  if (!current?.checkpoint?.complete) {
    observer.nothingToCompare?.(current?.number ?? 1)
    return 0
  }
  let count = 0
  const differences = compareGenerations(next, live, {
    signal,
    report: (progress) => observer.comparing?.(progress),
    onOutage: (reason) => observer.warned?.(`${reason} The comparison waits for it.`),
  })
  for await (const difference of differences) {
    if (signal.aborted) break
    // A live generation that can't be read does not count against the new one.
    if (difference.fields !== 'unreadable') count++
    observer.differs?.(difference)
  }
  return count
}
