/**
 * When the read model's files are written anew, so that nothing of deleted customers is left in them: soon after a deletion,
 * but most of the time they rest. What is owed stays owed until it is done, by whichever process.
 */
import type { ReadModel } from '../read-model.ts'

/** The files are written anew so long after a deletion. */
const AFTER_MS = 1_000
/** After that they are not for so many times as long as it took. */
const REST = 20
/** How often it is checked whether a scrub is owed that this process has not scheduled; the longest wait after failures. */
const CHECK_MS = 60_000

export interface Scrubbing {
  /** Has the files written anew soon. */
  schedule(): void
  /** Now and then: schedules what another process, or this one before it was killed, has not come to. @throws ReadModelUnavailable */
  checkOwed(): Promise<void>
}

export function createScrubbing(readModel: ReadModel): Scrubbing {
  /** Before then the files of the read model are not written anew once more (performance.now). */
  let restsUntil = 0
  let isScrubDue = false
  /** When it was last checked whether a scrub is owed (performance.now). */
  let checkedAt = Number.NEGATIVE_INFINITY

  async function checkOwed(): Promise<void> {
    if (isScrubDue || performance.now() - checkedAt < CHECK_MS) return
    if (await readModel.isScrubOwed()) schedule()
    checkedAt = performance.now()
  }

  function schedule(wait = AFTER_MS): void {
    if (isScrubDue) return
    isScrubDue = true
    setTimeout(
      async () => {
        isScrubDue = false // what comes now may come too late for this one
        const started = performance.now()
        const isDone = await readModel.scrub().then(
          () => true,
          () => false,
        )
        restsUntil = performance.now() + REST * (performance.now() - started)
        if (!isDone) schedule(Math.min(2 * wait, CHECK_MS)) // it stays owed until it is
      },
      Math.max(wait, restsUntil - performance.now()),
    ).unref()
  }

  return { schedule: () => schedule(), checkOwed }
}
