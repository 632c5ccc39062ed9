/** An event store for work in bulk: a bounded number of reads at once. */
import type { EventStore, RecordedEvent } from '../../eventstore/port.ts'

/** A server allows a hundred calls on a connection, and answers those in time that it is not buried under. */
const MOST_READS = 32

/**
 * Reads are gathered before they are handed out: for streams that are short.
 * @param mostReads how many reads may be under way at once
 */
export function withBoundedReads(eventStore: EventStore, mostReads = MOST_READS): EventStore {
  const waiting: (() => void)[] = []
  let underWay = 0

  /** The turn goes from one to the next: who comes later does not overtake. */
  async function inTurn<T>(call: () => Promise<T>): Promise<T> {
    if (underWay < mostReads) underWay++
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await call()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else underWay--
    }
  }

  async function* gathered(read: () => AsyncIterable<RecordedEvent>): AsyncGenerator<RecordedEvent, void, void> {
    yield* await inTurn(async () => {
      const events: RecordedEvent[] = []
      for await (const event of read()) events.push(event)
      return events
    })
  }

  return {
    ...eventStore,
    readStream: (stream, options) => gathered(() => eventStore.readStream(stream, options)),
    readAll: (options) => gathered(() => eventStore.readAll(options)),
    getStreamMetadata: (stream) => inTurn(() => eventStore.getStreamMetadata(stream)),
  }
}
