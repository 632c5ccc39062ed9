/**
 * An event store that waits out outages, for commands that have to finish; services answer that it is unavailable
 * instead.
 */
import { createPatience, type PatienceOptions } from '../runtime/patience.ts'
import { isKurrentDbUrl } from './kurrentdb/connection/scheme.ts'
import { type EventStore, EventStoreUnavailable, type RecordedEvent } from './port.ts'

/**
 * A wrapper for opening a log, which retries for a server alone: the operator has to fix a problem with a file at once.
 */
export const withRetriesFor =
  (url: string, options: PatienceOptions) =>
  (eventStore: EventStore): EventStore =>
    isKurrentDbUrl(url) ? withRetries(eventStore, options) : eventStore

/**
 * Reads resume after the last event read. Appends are retried if that is safe: with an exact revision or `no_stream`.
 * Every other call is passed through unchanged.
 */
export function withRetries(eventStore: EventStore, options: PatienceOptions = {}): EventStore {
  const { answered, waitOut, retried } = createPatience(EventStoreUnavailable, options)

  /** @param begin starts the read, or resumes it after that many events; undefined: nothing is left */
  async function* resumed(
    begin: (last: RecordedEvent | undefined, count: number) => AsyncIterable<RecordedEvent> | undefined,
  ): AsyncGenerator<RecordedEvent, void, void> {
    let last: RecordedEvent | undefined
    let count = 0
    for (let attempt = 0; ; attempt++) {
      try {
        for await (const event of begin(last, count) ?? []) {
          // A read of the log resumes at the last event read: that it comes again is no progress.
          if (event.stream === last?.stream && event.revision === last.revision) continue
          answered()
          attempt = 0
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
      return isRepeatable ? retried(send) : send()
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

    setStreamMetadata: (stream, metadata) => retried(() => eventStore.setStreamMetadata(stream, metadata)),
    getStreamMetadata: (stream) => retried(() => eventStore.getStreamMetadata(stream)),
  }
}
