/**
 * What a group's events do not bring: a read model that is empty or damaged is filled by catching up, beside the live
 * events. Each process also does so once for each generation: what was acknowledged to the server before went to another.
 */
import { SILENT } from '../../runtime/log.ts'
import { pause } from '../../runtime/time-limits.ts'
import { type Checkpoint, sameCheckpoint } from '../read-model.ts'
import type { Applier } from './apply-events.ts'
import type { GroupProjectionOptions } from './group.ts'
import { startProjection } from './worker.ts'

/** How often it is checked whether the read model needs filling. */
const CHECK_MS = 1_000

export interface Filling {
  /** Fills the read model again and again where it needs it, until the signal is aborted. */
  run(): Promise<void>
  /** What was filled counts no longer: it is another generation, or another log. */
  begin(): void
  /** Whether an event of this time fills the read model, or has filled it: it says nothing of how long a change takes. */
  isRefill(created: Date): boolean
}

/** @param applier of the live events: it must not go on with what it has in memory once the read model is filled */
export function createFilling(options: GroupProjectionOptions, applier: Applier, signal: AbortSignal): Filling {
  const { fillModel, log = SILENT, observer } = options
  /** The generation that this process has brought up to the log, and since then acknowledges its deliveries to. */
  let filled: number | undefined
  /** Events before this time (milliseconds since the epoch) fill the read model, or have filled it. */
  let filledUntil = Number.POSITIVE_INFINITY

  /** Fills the live generation while it is not complete or not known to be, unless somebody else is at it. */
  async function run(): Promise<void> {
    let last: Checkpoint | null | undefined
    while (!signal.aborted) {
      // Not all processes at the same moment: the first one does it.
      await pause(CHECK_MS * (0.5 + Math.random()), signal)
      if (signal.aborted) return
      try {
        const generation = await fillModel.follow()
        const checkpoint = await fillModel.getCheckpoint()
        const standsStill = last !== undefined && sameCheckpoint(checkpoint, last)
        last = checkpoint
        if (!checkpoint?.complete) filledUntil = Number.POSITIVE_INFINITY
        else if (filledUntil === Number.POSITIVE_INFINITY) filledUntil = filled === undefined ? 0 : Date.now()
        if ((checkpoint?.complete && generation === filled) || !standsStill) continue
        await catchUp(checkpoint?.complete ?? false)
        if (!checkpoint?.complete) filledUntil = Date.now()
        filled = await fillModel.generation()
      } catch {
        // A store is away, which the consumer reports; the next round may be luckier.
      }
    }
  }

  /** @param wasComplete whether the read model was complete: then most of what is applied is there already */
  async function catchUp(wasComplete: boolean): Promise<void> {
    const reached = Promise.withResolvers<void>()
    const filling = startProjection({
      ...options,
      readModel: fillModel,
      log: SILENT,
      observer: {
        ...observer,
        applied(events, caughtUp, isRefill) {
          // Of a complete read model most is there: events that are only read again are not counted.
          observer?.applied?.(wasComplete ? [] : events, caughtUp, isRefill)
          if (caughtUp) reached.resolve()
        },
      },
    })
    signal.addEventListener('abort', () => reached.resolve(), { once: true })
    await reached.promise
    await filling.stop()
    applier.forget()
    if (!signal.aborted && !wasComplete) log.info({}, 'read model filled')
  }

  return {
    run,
    begin() {
      filled = undefined
    },
    isRefill: (created) => created.getTime() < filledUntil,
  }
}
