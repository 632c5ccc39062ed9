/** Logs when a store is unavailable, also if no request needs it, and when it is available again. */
import type { Log } from './log.ts'
import { pause, within } from './time-limits.ts'

const RETRY_MS = 1_000
/** Longer than a store's own limit, whose error says more. */
const ANSWER_MS = 5_000

/** What is logged, without a full stop. */
export interface OutageMessages {
  readonly away: string
  readonly back: string
}

/**
 * Asks the store now, and after each lost connection, until it answers. The first failure is logged, with its reason.
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
    for (;;) {
      if (signal.aborted) break
      const failure = await within(ANSWER_MS, store.ping()).then(
        () => undefined,
        (error: Error) => error,
      )
      if (failure === undefined) break
      if (!isAway && !signal.aborted) log.warn({ reason: failure.message }, away)
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
