/** Waits out the outages of a store, for work that has to finish; a service answers that the store is unavailable. */
import { setTimeout as delay } from 'node:timers/promises'
import { type BackOff, waitAfter } from './back-off.ts'

const BACK_OFF: BackOff = { firstMs: 100, mostMs: 2_000 }
const LONGEST_OUTAGE_MS = 10 * 60_000

export interface PatienceOptions {
  /** Once aborted, it no longer waits. */
  readonly signal?: AbortSignal
  /** Called once for each outage, with the first error's message. */
  onOutage?(reason: string): void
  /** Until this returns true, errors are thrown. Default: from the start. */
  isBegun?(): boolean
  /** After this many milliseconds without an answer, the error is thrown. Default 10 minutes. */
  readonly longestOutage?: number
}

export interface Patience {
  /** The store has answered: an outage is over. */
  answered(): void
  /**
   * Waits before the next attempt.
   * @param attempt the number of attempts before the one that failed
   * @throws the error, if it is another one or the outage has lasted too long
   */
  waitOut(error: unknown, attempt: number): Promise<void>
  /** Repeats the work until it succeeds. @throws as `waitOut` */
  retried<T>(work: () => Promise<T>): Promise<T>
}

/** For all calls of one store together. @param outage the class of the errors that are waited out */
export function createPatience(
  outage: new (...args: never[]) => Error,
  { signal, onOutage, isBegun = () => true, longestOutage = LONGEST_OUTAGE_MS }: PatienceOptions = {},
): Patience {
  /** The time of the first failure since the last answer. */
  let outageSince: number | undefined

  const answered = () => {
    outageSince = undefined
  }

  async function waitOut(error: unknown, attempt: number): Promise<void> {
    if (!(error instanceof outage) || signal?.aborted || !isBegun()) throw error
    if (outageSince === undefined) {
      outageSince = performance.now()
      onOutage?.(error.message)
    }
    if (performance.now() - outageSince > longestOutage) throw error
    await delay(waitAfter(BACK_OFF, attempt + 1), undefined, { ...(signal && { signal }) }).catch(() => {})
  }

  return {
    answered,
    waitOut,
    async retried(work) {
      for (let attempt = 0; ; attempt++) {
        try {
          const result = await work()
          answered()
          return result
        } catch (error) {
          await waitOut(error, attempt)
        }
      }
    },
  }
}
