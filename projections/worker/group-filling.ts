/**
 * Fills an empty or damaged read model by catching up, beside the live events of the group, which do not include older
 * ones. Each process also does so once for each generation, because earlier deliveries were applied to another one.
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
  /** Fills the read model whenever it needs it, until the signal is aborted. */
  run(): Promise<void>
  /** Resets it: the generation or the log has changed, so the filling no longer counts. */
  begin(): void
  /** Whether an event of this time belongs to a filling, so that it says nothing about the latency of changes. */
  isRefill(created: Date): boolean
}

/**
 * @param applier applies the live events; its cache must be dropped once the read model is filled
 * @param during.prepare awaited before each look at the read model
 */
export function createFilling(
  options: GroupProjectionOptions,
  applier: Applier,
  { signal, prepare }: { readonly signal: AbortSignal; readonly prepare: () => Promise<unknown> },
): Filling {
  const { readModel, fillModel, log = SILENT, observer } = options
  /** The generation that this process has filled, and for which it has acknowledged deliveries since. */
  let filled: number | undefined
  /** Events before this time (milliseconds since the epoch) belong to a filling. */
  let filledUntil = Number.POSITIVE_INFINITY

  /** Fills the live generation if it is not known to be complete, unless another process is filling it. */
  async function run(): Promise<void> {
    let last: Checkpoint | null | undefined
    while (!signal.aborted) {
      // Staggered, so that the first process does it and not all at once.
      await pause(CHECK_MS * (0.5 + Math.random()), signal)
      if (signal.aborted) return
      try {
        await prepare()
        const generation = await fillModel.follow()
        // By the handle that applies the events: it hides documents that were set back since it did.
        await readModel.newest()
        const checkpoint = await fillModel.getCheckpoint()
        const standsStill = last !== undefined && sameCheckpoint(checkpoint, last)
        last = checkpoint
        if (!checkpoint?.complete) filledUntil = Number.POSITIVE_INFINITY
        else if (filledUntil === Number.POSITIVE_INFINITY) filledUntil = filled === undefined ? 0 : Date.now()
        if ((checkpoint?.complete && generation === filled) || !standsStill) continue
        if (signal.aborted) return // meanwhile: a filling would not learn of it
        await catchUp(checkpoint?.complete ?? false)
        if (!checkpoint?.complete) filledUntil = Date.now()
        filled = await fillModel.generation()
      } catch {
        // A store is unavailable, which the consumer reports; the next round tries again.
      }
    }
  }

  /** @param wasComplete whether the read model was complete: then most of the events are applied already */
  async function catchUp(wasComplete: boolean): Promise<void> {
    const reached = Promise.withResolvers<void>()
    const filling = startProjection({
      ...options,
      readModel: fillModel,
      log: SILENT,
      observer: {
        ...observer,
        applied(events, caughtUp, isRefill) {
          // In a complete read model most events are applied already; those are not counted.
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
