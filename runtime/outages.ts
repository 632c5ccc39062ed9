/** Logs when a store is unavailable, also if no request needs it, and when it is available again. */
import type { Log } from './log.ts'
import { answersProbe, pause } from './time-limits.ts'

const RETRY_MS = 1_000

/** What is logged, without a full stop. */
export interface OutageMessages {
  readonly away: string
  readonly back: string
}

/**
 * Asks the store now, and after each lost connection, until it answers.
 * @returns ends it
 */
export function logOutages(
  store: { ping(): Promise<void>; onDisconnect?(listener: () => void): () => void },
  log: Pick<Log, 'info' | 'warn'>,
  { away, back }: OutageMessages,
): () => void {
  const stopping = new AbortController()
  const { signal } = stopping
  let isAsking = false

  async function ask(): Promise<void> {
    if (isAsking) return
    isAsking = true
    let isAway = false
    while (!signal.aborted && !(await answersProbe(store.ping()))) {
      if (!isAway && !signal.aborted) log.warn({}, away)
      isAway = true
      await pause(RETRY_MS, signal)
    }
    isAsking = false
    if (isAway && !signal.aborted) log.info({}, back)
  }

  const unlisten = store.onDisconnect?.(() => void ask())
  void ask()
  return () => {
    stopping.abort()
    unlisten?.()
  }
}
