/**
 * A process's cache of the streams that it appends to, for their hash chains, with the reads for what is not cached.
 */
import { hashOf } from './event-hash.ts'
import {
  type AppendResult,
  type EventStore,
  type NewEvent,
  type RecordedEvent,
  StreamDeleted,
  WrongExpectedRevision,
} from './port.ts'
import { firstOf, isDeletion, orNone } from './read.ts'
import { createRecentMap } from './recent-map.ts'

/** For how many streams the newest hash is cached, at least. */
const CACHED_STREAMS = 20_000
/** How many ids are remembered to recognise a repeated append with `any`, as the stores do. */
const REMEMBERED_IDS = 20_000
/** How far back in the stream a repetition is searched for, if this process does not know its newest event. */
const REPETITION_WINDOW = 16

/** The end of a stream's chain. */
interface Tail {
  /** -1: the stream has no readable event. */
  readonly revision: number
  readonly hash: string | null
}

export interface ChainMemory {
  /** The newest known event of the stream. */
  tail(stream: string): Tail | undefined
  /** Keeps the newest event of a stream, unless a newer one is known. */
  remember(stream: string, tail: Tail): void
  /** Drops what is known of the stream's end, because it is out of date. */
  forgetTail(stream: string): void
  /** The hash of the event at a revision, if it is known to be the stream's newest. */
  knownHash(stream: string, revision: number): string | null | undefined
  /** The same, read from the store if it is not known. @throws WrongExpectedRevision if the stream is shorter */
  hashAt(stream: string, revision: number): Promise<string | null>
  /** Whether the ids of enough events of the stream are remembered. */
  knowsIds(stream: string): boolean
  /** Reads the stream's end, and remembers its newest events by their ids. */
  readTail(stream: string): Promise<Tail>
  /** Remembers events that were appended by their ids. @param result of their append */
  rememberIds(stream: string, events: readonly NewEvent[], result: AppendResult): void
  /** The original result, if the events are known. @throws WrongExpectedRevision if only some are */
  repetition(
    stream: string,
    events: readonly NewEvent[],
    expected: 'any' | 'stream_exists',
    actual: number,
  ): AppendResult | undefined
}

export function createChainMemory(eventStore: EventStore): ChainMemory {
  const tails = createRecentMap<string, Tail>(CACHED_STREAMS)
  const remembered = createRecentMap<string, AppendResult>(REMEMBERED_IDS)
  /** The streams for which enough ids are remembered. */
  const withIds = createRecentMap<string, true>(CACHED_STREAMS)

  // The store may return with another log, whose event at a revision has another hash.
  eventStore.onDisconnect?.(() => {
    tails.clear()
    remembered.clear()
    withIds.clear()
  })

  const key = (stream: string, id: string) => `${stream} ${id.toLowerCase()}`

  function knownHash(stream: string, revision: number): string | null | undefined {
    const tail = tails.get(stream)
    return tail?.revision === revision ? tail.hash : undefined
  }

  return {
    tail: (stream) => tails.get(stream),

    remember(stream, tail) {
      // Not if it is known: a repetition would replace the hash of the original by that of its own content.
      if (tail.revision > (tails.get(stream)?.revision ?? -1)) tails.set(stream, tail)
    },

    forgetTail(stream) {
      tails.delete(stream)
      withIds.delete(stream)
    },

    knownHash,

    async hashAt(stream, revision) {
      const known = knownHash(stream, revision)
      if (known !== undefined) return known
      const newest = eventStore.readStream(stream, { direction: 'backwards', from: revision, maxCount: 1 })
      const event = await firstOf(newest)
      if (event === undefined) {
        // Without a limit, events can't have been removed: the stream does not exist, and must not be created in the
        // meantime with a wrong hash.
        if (Object.keys(await eventStore.getStreamMetadata(stream)).length > 0) return null
        throw new WrongExpectedRevision(stream, revision, 'no_stream')
      }
      if (event.revision !== revision) throw new WrongExpectedRevision(stream, revision, event.revision)
      return hashOf(event)
    },

    knowsIds: (stream) => withIds.has(stream),

    async readTail(stream) {
      let last: RecordedEvent | undefined
      const newest = eventStore.readStream(stream, { direction: 'backwards', maxCount: REPETITION_WINDOW })
      for await (const event of orNone(newest)) {
        last ??= event
        remembered.set(key(stream, event.id), { revision: event.revision, position: event.position })
      }
      withIds.set(stream, true)
      return last ? { revision: last.revision, hash: hashOf(last) } : { revision: -1, hash: null }
    },

    rememberIds(stream, events, { revision, position }) {
      const first = revision - events.length + 1
      for (const [index, { id }] of events.entries()) {
        remembered.set(key(stream, id), { revision: first + index, ...(position && { position }) })
      }
    },

    repetition(stream, events, expected, actual) {
      const known = events.map(({ id }) => remembered.get(key(stream, id)))
      const first = known[0]?.revision
      if (first === undefined) return undefined
      if (known.every((each, index) => each?.revision === first + index)) return known.at(-1)
      throw new WrongExpectedRevision(stream, expected, actual === -1 ? 'no_stream' : actual)
    },
  }
}

/**
 * A stream without events exists if it has metadata that is not a deletion. @throws StreamDeleted |
 * WrongExpectedRevision
 */
export async function checkExists(eventStore: EventStore, stream: string): Promise<void> {
  const metadata = await eventStore.getStreamMetadata(stream)
  if (isDeletion(metadata)) throw new StreamDeleted(stream)
  if (Object.keys(metadata).length === 0) {
    throw new WrongExpectedRevision(stream, 'stream_exists', 'no_stream')
  }
}
