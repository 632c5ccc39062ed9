/** An event store whose appends are timed. */
import { type EventStore, EventStoreUnavailable, WrongExpectedRevision } from './port.ts'

export type AppendOutcome = 'written' | 'conflict' | 'unavailable' | 'refused'

/** @param onAppend called after each append, with what came of it and how many seconds it took */
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
