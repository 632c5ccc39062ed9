/** An event store that waits out an outage: for commands that run to their end, where services answer that it is away. */
import { setTimeout as delay } from 'node:timers/promises'
import { type BackOff, waitAfter } from '../runtime/back-off.ts'
import { isKurrentDbUrl } from './kurrentdb/connection/url.ts'
import { type EventStore, EventStoreUnavailable, type RecordedEvent } from './port.ts'

const BACK_OFF: BackOff = { firstMs: 100, mostMs: 2_000 }
const LONGEST_OUTAGE_MS = 10 * 60_000

export interface RetryOptions {
  /** Aborted: nothing is waited for any more. */
  readonly signal?: AbortSignal
  /** Told once in each outage, with the first error's message. */
  onOutage?(reason: string): void
  /** Milliseconds without an answer after which the error is passed on. Default 10 minutes. */
  readonly longestOutage?: number
}

/** For the opening of a log: of a server's. What is wrong with a file is for the operator to mend, at once. */
export const withRetriesFor =
  (url: string, options: RetryOptions) =>
  (eventStore: EventStore): EventStore =>
    isKurrentDbUrl(url) ? withRetries(eventStore, options) : eventStore

/**
 * Reads go on after the event that was read last. Appends are repeated where that is safe: with an exact revision or
 * `no_stream`. Every other call is passed on as it is.
 */
export function withRetries(
  eventStore: EventStore,
  { signal, onOutage, longestOutage = LONGEST_OUTAGE_MS }: RetryOptions = {},
): EventStore {
  /** Of all calls together: when the first of them failed since one of them was answered. */
  let outageSince: number | undefined

  const answered = () => {
    outageSince = undefined
  }

  /** @throws the error, where it is another one or has been waited for long enough */
  async function waitOut(error: unknown, attempt: number): Promise<void> {
    if (!(error instanceof EventStoreUnavailable) || signal?.aborted) throw error
    if (outageSince === undefined) {
      outageSince = performance.now()
      onOutage?.(error.message)
    }
    if (performance.now() - outageSince > longestOutage) throw error
    await delay(waitAfter(BACK_OFF, attempt + 1), undefined, { ...(signal && { signal }) }).catch(() => {})
  }

  async function withRetries<T>(work: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        const result = await work()
        answered()
        return result
      } catch (error) {
        await waitOut(error, attempt)
      }
    }
  }

  /** @param begin starts the read, or goes on with it after that many events; undefined: nothing is left */
  async function* resumed(
    begin: (last: RecordedEvent | undefined, count: number) => AsyncIterable<RecordedEvent> | undefined,
  ): AsyncGenerator<RecordedEvent, void, void> {
    let last: RecordedEvent | undefined
    let count = 0
    for (let attempt = 0; ; attempt++) {
      try {
        for await (const event of begin(last, count) ?? []) {
          answered()
          attempt = 0
          // A read of the log goes on with the event that came last.
          if (event.stream === last?.stream && event.revision === last.revision) continue
          last = event
          count++
          yield event
        }
        answered()
        return
      } catch (error) {
        await waitOut(error, attempt)
      }
    }
  }

  return {
    ...eventStore,

    append(stream, events, options) {
      const send = () => eventStore.append(stream, events, options)
      const isRepeatable = typeof options.expected === 'number' || options.expected === 'no_stream'
      return isRepeatable ? withRetries(send) : send()
    },

    readStream: (stream, options = {}) =>
      resumed((last, count) => {
        if (last === undefined) return eventStore.readStream(stream, options)
        const from = options.direction === 'backwards' ? last.revision - 1 : last.revision + 1
        const left = options.maxCount === undefined ? undefined : options.maxCount - count
        if (from < 0 || left === 0) return undefined
        return eventStore.readStream(stream, { ...options, from, ...(left !== undefined && { maxCount: left }) })
      }),

    readAll: (options = {}) =>
      resumed((last, count) => {
        if (last === undefined) return eventStore.readAll(options)
        const left = options.maxCount === undefined ? undefined : options.maxCount - count
        if (left === 0) return undefined
        const maxCount = left === undefined ? {} : { maxCount: left + 1 }
        return eventStore.readAll({ ...options, from: last.position, ...maxCount })
      }),

    setStreamMetadata: (stream, metadata) => withRetries(() => eventStore.setStreamMetadata(stream, metadata)),
    getStreamMetadata: (stream) => withRetries(() => eventStore.getStreamMetadata(stream)),
  }
}
