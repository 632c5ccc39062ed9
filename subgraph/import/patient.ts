/** An event store for work in bulk: a bounded number of reads at once, and a few tries for a call that is not answered. */
import { setTimeout as delay } from 'node:timers/promises'
import { type EventStore, EventStoreUnavailable, type RecordedEvent } from '../../eventstore/port.ts'

/** A server allows a hundred calls on a connection, and answers those in time that it is not buried under. */
const MOST_READS = 32
const TRIES = 6
const BACK_OFF_MS = { first: 250, most: 4_000 }

/**
 * Reads are gathered before they are handed out: for streams that are short. Appends are tried again where a repetition
 * writes nothing: at an exact revision, or `no_stream`.
 * @param options.mostReads how many reads may be under way at once
 * @param options.backOff milliseconds before the first of the further tries; it doubles with each
 */
export function patient(
  eventStore: EventStore,
  {
    mostReads = MOST_READS,
    backOff = BACK_OFF_MS.first,
  }: { readonly mostReads?: number; readonly backOff?: number } = {},
): EventStore {
  const waiting: (() => void)[] = []
  let underWay = 0

  async function retried<T>(call: () => Promise<T>): Promise<T> {
    for (let attempt = 1, wait = backOff; ; attempt++, wait = Math.min(wait * 2, BACK_OFF_MS.most)) {
      try {
        return await call()
      } catch (error) {
        if (!(error instanceof EventStoreUnavailable) || attempt === TRIES) throw error
      }
      await delay(wait * (0.5 + Math.random() / 2))
    }
  }

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
    yield* await retried(() =>
      inTurn(async () => {
        const events: RecordedEvent[] = []
        for await (const event of read()) events.push(event)
        return events
      }),
    )
  }

  return {
    ...eventStore,
    append(stream, events, options) {
      const append = () => eventStore.append(stream, events, options)
      const isRepeatable = typeof options.expected === 'number' || options.expected === 'no_stream'
      return isRepeatable ? retried(append) : append()
    },
    readStream: (stream, options) => gathered(() => eventStore.readStream(stream, options)),
    readAll: (options) => gathered(() => eventStore.readAll(options)),
    setStreamMetadata: (stream, metadata) => retried(() => eventStore.setStreamMetadata(stream, metadata)),
    getStreamMetadata: (stream) => retried(() => inTurn(() => eventStore.getStreamMetadata(stream))),
  }
}
