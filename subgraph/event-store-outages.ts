/** Logs when the event store is unavailable, also if no request needs it, and when it is available again. */
import type { EventStore } from '../eventstore/port.ts'
import type { Log } from '../runtime/log.ts'
import { answersProbe, pause } from '../runtime/time-limits.ts'

const RETRY_MS = 1_000

/**
 * Asks the event store now, and after each lost connection, until it answers.
 * @returns ends it
 */
export function logOutages(
  eventStore: Pick<EventStore, 'ping' | 'onDisconnect'>,
  log: Pick<Log, 'info' | 'warn'>,
): () => void {
  const stopping = new AbortController()
  const { signal } = stopping
  let isAsking = false

  async function ask(): Promise<void> {
    if (isAsking) return
    isAsking = true
    let isAway = false
    while (!signal.aborted && !(await answersProbe(eventStore.ping()))) {
      if (!isAway && !signal.aborted) log.warn({}, 'the event store is unavailable; mutations fail until it is back')
      isAway = true
      await pause(RETRY_MS, signal)
    }
    isAsking = false
    if (isAway && !signal.aborted) log.info({}, 'the event store is available again')
  }

  const unlisten = eventStore.onDisconnect?.(() => void ask())
  void ask()
  return () => {
    stopping.abort()
    unlisten?.()
  }
}
