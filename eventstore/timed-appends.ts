/** Wraps an event store to measure its appends. */
import { type EventStore, EventStoreUnavailable, WrongExpectedRevision } from './port.ts'

export type AppendOutcome = 'written' | 'conflict' | 'unavailable' | 'refused'

/** @param onAppend called after each append, with its outcome and duration in seconds */
export function observed(
  eventStore: EventStore,
  onAppend: (outcome: AppendOutcome, seconds: number) => void,
): EventStore {
  return {
    ...eventStore,
    async append(stream, events, options) {
      const started = performance.now()
      let outcome: AppendOutcome = 'written'
      try {
        return await eventStore.append(stream, events, options)
      } catch (error) {
        outcome =
          error instanceof WrongExpectedRevision
            ? 'conflict'
            : error instanceof EventStoreUnavailable
              ? 'unavailable'
              : 'refused'
        throw error
      } finally {
        onAppend(outcome, (performance.now() - started) / 1000)
      }
    },
  }
}
