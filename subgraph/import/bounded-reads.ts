/** An event store for bulk work, with a bounded number of concurrent reads. */
import type { EventStore, RecordedEvent } from '../../eventstore/port.ts'

/** A server allows a hundred calls on a connection, and answers in time only if it is not overloaded. */
const MOST_READS = 32

/**
 * Each read is buffered before it is returned, so this is for short streams.
 * @param mostReads how many reads may run concurrently
 */
export function withBoundedReads(eventStore: EventStore, mostReads = MOST_READS): EventStore {
  const waiting: (() => void)[] = []
  let underWay = 0

  /** First come, first served: a finished read hands its slot to the next in line. */
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
