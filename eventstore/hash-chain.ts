/** Appends that continue the hash chain of their stream. event-hash.ts defines the hashes. */
import { setTimeout as delay } from 'node:timers/promises'
import { personalOwnerOf } from '../schema/streams.ts'
import { isNew, linkEvents } from './event-hash.ts'
import { offerChainedBulk } from './hash-chain-bulk.ts'
import { checkExists, createChainMemory } from './hash-chain-memory.ts'
import {
  type AppendResult,
  type EventStore,
  EventStoreUnavailable,
  type NewEvent,
  WrongExpectedRevision,
} from './port.ts'

/** How many rounds an append with `any` or `stream_exists` makes in competition with other writers of the stream. */
const MAX_ATTEMPTS = 100

/**
 * Whether a stream usually has a single event: an address's or an id's owner, credentials. An import writes three of
 * them per customer, which would push the customers out of the cache. An append to one that exists reads its end.
 */
const isWrittenOnce = (stream: string) => stream.includes('-') && personalOwnerOf(stream) === undefined

/** One for each store, so that all users in a process share what each has written. */
const chains = new WeakMap<EventStore, EventStore>()

/**
 * Wraps the event store so that appends continue the chain of their stream. They keep the port's semantics. `any` and
 * `stream_exists` become an exact revision, determined again after a conflict, one append at a time for each stream. A
 * repetition with `any` is recognised while this process remembers the ids, or finds them among the newest events of
 * the stream. Events have to be JSON, with an object or nothing as metadata.
 *
 * Any number of writers and processes may append to a stream: the cache holds the hash of an event at its revision,
 * which never changes, and only if the stored event is certainly the one that was passed in. (If another process
 * appended the same command first, the stored content may differ, for instance in its time or trace. So the hash of an
 * event is cached only if its command has a random id, which has only one writer.)
 */
export function chained(eventStore: EventStore): EventStore {
  const made = chains.get(eventStore)
  if (made) return made
  const memory = createChainMemory(eventStore)
  /** Streams with an append whose outcome is unknown: a retry of it may have different content. */
  const doubtful = new Set<string>()
  /** The last append of each stream that is not answered yet. */
  const sent = new Map<string, Promise<AppendResult>>()
  /** The last append of each stream among those that have to read the stream first. */
  const queues = new Map<string, Promise<unknown>>()

  let closed = false

  async function appendAfter(
    stream: string,
    events: readonly NewEvent[],
    expected: number | 'no_stream',
    previous: string | null,
  ): Promise<AppendResult> {
    const linked = linkEvents(stream, events, previous)
    const sending = eventStore.append(stream, linked, { expected })
    sent.set(stream, sending)
    try {
      const result = await sending
      const isOwn = result.isWritten || (!doubtful.has(stream) && events.every(isNew))
      if (isOwn && !(expected === 'no_stream' && isWrittenOnce(stream))) {
        memory.remember(stream, { revision: result.revision, hash: linked.at(-1)?.metadata.$hash ?? previous })
      }
      doubtful.delete(stream)
      return result
    } catch (error) {
      if (error instanceof EventStoreUnavailable) doubtful.add(stream)
      throw error
    } finally {
      if (sent.get(stream) === sending) sent.delete(stream)
    }
  }

  async function appendToEnd(
    stream: string,
    events: readonly NewEvent[],
    expected: 'any' | 'stream_exists',
  ): Promise<AppendResult> {
    for (let attempt = 1; ; attempt++) {
      let tail = memory.tail(stream)
      // Appends with an exact revision are not remembered by their ids.
      if (tail === undefined || !memory.knowsIds(stream) || doubtful.has(stream) || expected === 'stream_exists') {
        tail = await memory.readTail(stream)
      }
      const done = memory.repetition(stream, events, expected, tail.revision)
      if (done) return done
      if (tail.revision === -1 && expected === 'stream_exists') await checkExists(eventStore, stream)
      try {
        const after = tail.revision === -1 ? 'no_stream' : tail.revision
        const result = await appendAfter(stream, events, after, tail.hash)
        memory.rememberIds(stream, events, result)
        return result
      } catch (error) {
        if (!(error instanceof WrongExpectedRevision)) throw error
        memory.forgetTail(stream)
        if (attempt === MAX_ATTEMPTS) {
          throw new EventStoreUnavailable(`Stream "${stream}" has too many writers at once.`)
        }
        if (attempt > 1) await delay(Math.random() * Math.min(2 ** attempt, 50))
      }
    }
  }

  const store: EventStore = {
    ...eventStore,
    append(stream, events, options) {
      const { expected } = options
      // An event without a link must not be written, because the store below may still be open.
      if (closed) return Promise.reject(new EventStoreUnavailable('The event store is closed.'))
      if (events.length === 0) return eventStore.append(stream, events, options)
      if (expected === 'any' || expected === 'stream_exists') {
        return inTurn(queues, stream, sent.get(stream), () => appendToEnd(stream, events, expected))
      }
      const previousHash = expected === 'no_stream' ? null : memory.knownHash(stream, expected)
      if (previousHash !== undefined && !queues.has(stream)) return appendAfter(stream, events, expected, previousHash)
      return inTurn(queues, stream, sent.get(stream), async () => {
        const previous = expected === 'no_stream' ? null : await memory.hashAt(stream, expected)
        return appendAfter(stream, events, expected, previous)
      })
    },

    async close() {
      closed = true
      await Promise.allSettled(queues.values())
      await eventStore.close()
    },
  }
  offerChainedBulk(eventStore, store, {
    memory,
    isBusy: (stream) => closed || queues.has(stream) || sent.has(stream) || doubtful.has(stream),
  })
  chains.set(eventStore, store)
  return countAsChained(store)
}

/**
 * Runs the work on a stream one at a time, in order: the link of an append is known once the one before has been
 * written.
 * @param queues the last unfinished work of each stream
 * @param sent an append to the stream that did not have to wait for its turn
 */
function inTurn(
  queues: Map<string, Promise<unknown>>,
  stream: string,
  sent: Promise<AppendResult> | undefined,
  work: () => Promise<AppendResult>,
): Promise<AppendResult> {
  const turn = Promise.allSettled([queues.get(stream), sent]).then(work)
  queues.set(stream, turn)
  const over = () => {
    if (queues.get(stream) === turn) queues.delete(stream)
  }
  turn.then(over, over)
  return turn
}

/** Marks a store whose appends are chained already. @returns the store */
export function countAsChained<Store extends EventStore>(store: Store): Store {
  chains.set(store, store)
  return store
}
