/** Work that goes on for ever, through the outages of the stores. */
import { type BackOff, waitAfter } from '../../runtime/back-off.ts'
import type { Log } from '../../runtime/log.ts'
import { pause } from '../../runtime/time-limits.ts'
import type { ProjectionObserver } from './worker.ts'

const BACK_OFF: BackOff = { firstMs: 50, mostMs: 5_000 }

/**
 * Does the work again and again until the signal is aborted, with growing waits after failures. An outage is logged once,
 * and its end.
 * @param work calls `worked` whenever it has come further
 */
export async function repeat(
  work: (worked: () => void) => Promise<void>,
  {
    signal,
    log,
    observer,
  }: { readonly signal: AbortSignal; readonly log: Log; readonly observer: Partial<ProjectionObserver> | undefined },
): Promise<void> {
  let failures = 0
  const worked = () => {
    if (failures > 0) log.info({}, 'projection goes on')
    failures = 0
  }
  while (!signal.aborted) {
    try {
      await work(worked)
    } catch (error) {
      if (signal.aborted) return
      if (failures === 0) {
        log.warn({ reason: (error as Error).message }, 'projection is interrupted; it tries again')
        observer?.interrupted?.()
      }
      await pause(waitAfter(BACK_OFF, ++failures), signal)
    }
  }
}
