/**
 * Schedules the rewrite of the read model's files, so that nothing of deleted customers is left in them: soon after a
 * deletion, but with long pauses in between. A pending scrub stays pending until some process has done it.
 */
import { type Log, SILENT } from '../../runtime/log.ts'
import type { ReadModel } from '../read-model.ts'

/** How long after a deletion the files are rewritten. */
const AFTER_MS = 1_000
/** The pause after a rewrite, as a multiple of the time that it took. */
const REST = 20
/** How often to check for a pending scrub that this process has not scheduled; also the longest wait after failures. */
const CHECK_MS = 60_000

export interface Scrubbing {
  /** Schedules a rewrite soon. */
  schedule(): void
  /**
   * Call it now and then: it schedules pending scrubs of other processes, or of this one before it was killed. @throws
   * ReadModelUnavailable
   */
  checkOwed(): Promise<void>
}

/**
 * @param options.log told when rewrites begin to fail, and when one succeeds again
 * @param options.signal ends it before the read model is closed; what is pending stays so for the next process
 */
export function createScrubbing(
  readModel: ReadModel,
  { log = SILENT, signal }: { readonly log?: Log | undefined; readonly signal?: AbortSignal | undefined } = {},
): Scrubbing {
  /** No rewrite begins before this time (performance.now). */
  let restsUntil = 0
  let isScrubDue = false
  let hasFailed = false
  /** When it last checked for a pending scrub (performance.now). */
  let checkedAt = Number.NEGATIVE_INFINITY

  async function checkOwed(): Promise<void> {
    if (isScrubDue || performance.now() - checkedAt < CHECK_MS) return
    if (await readModel.isScrubPending()) schedule()
    checkedAt = performance.now()
  }

  function report(failure: Error | undefined): void {
    if (failure && !hasFailed) {
      const reason = failure.message
      log.warn(
        { reason },
        'the files of the read model are not rewritten: erased data may still be in them; it retries',
      )
    } else if (!failure && hasFailed) log.info({}, 'the files of the read model are rewritten again')
    hasFailed = failure !== undefined
  }

  function schedule(wait = AFTER_MS): void {
    if (isScrubDue) return
    isScrubDue = true
    setTimeout(
      async () => {
        isScrubDue = false // what comes now may come too late for this one
        if (signal?.aborted) return
        const started = performance.now()
        const failure = await readModel.scrub().then(
          () => undefined,
          (error: Error) => error,
        )
        if (signal?.aborted) return
        report(failure)
        restsUntil = performance.now() + REST * (performance.now() - started)
        if (failure) schedule(Math.min(2 * wait, CHECK_MS)) // it stays pending until then
      },
      Math.max(wait, restsUntil - performance.now()),
    ).unref()
  }

  return { schedule: () => schedule(), checkOwed }
}
