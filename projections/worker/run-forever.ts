/** Repeats work forever, through outages of the stores. */
import { type BackOff, waitAfter } from '../../runtime/back-off.ts'
import type { Log } from '../../runtime/log.ts'
import { pause } from '../../runtime/time-limits.ts'
import type { ProjectionObserver } from './worker.ts'

const BACK_OFF: BackOff = { firstMs: 50, mostMs: 5_000 }

/**
 * Repeats the work until the signal is aborted, with back-off after failures. An outage is logged once, and so is its
 * end.
 * @param work calls `onProgress` whenever it has made progress
 */
export async function repeat(
  work: (onProgress: () => void) => Promise<void>,
  {
    signal,
    log,
    observer,
  }: { readonly signal: AbortSignal; readonly log: Log; readonly observer: Partial<ProjectionObserver> | undefined },
): Promise<void> {
  let failures = 0
  const onProgress = () => {
    if (failures > 0) log.info({}, 'projection resumes')
    failures = 0
  }
  while (!signal.aborted) {
    try {
      await work(onProgress)
    } catch (error) {
      if (signal.aborted) return
      if (failures === 0) {
        log.warn({ reason: (error as Error).message }, 'projection interrupted; it retries')
        observer?.interrupted?.()
      }
      await pause(waitAfter(BACK_OFF, ++failures), signal)
    }
  }
}
