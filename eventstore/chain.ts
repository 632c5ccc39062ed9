/**
 * The hash chain: each event carries in its metadata a hash over its content and the hash of the event before it in its
 * stream, so that what was altered, removed, inserted or moved shows (`npm run audit -- verify`).
 *
 * `$hash` is the SHA-256, as base64url without padding, of the UTF-8 bytes of this JSON text, written as `JSON.stringify`
 * does (no blanks, members in the order in which they are stored):
 *
 *     ["customer-log event v1", stream, id, type, data, metadata, previous]
 *
 * with `id` in lower case, `metadata` without `$hash` and `$previous` (null where there is no other), and `previous` the
 * value of `$previous`: the `$hash` of the event before it, null for a stream's first event. An event of before there were
 * hashes counts with the hash that it would have with `previous` null; bytes stand as their base64. What leaves the JSON
 * the same (a blank between two members) is no alteration: nobody who reads the log reads anything else.
 *
 * The revision is not in it: it is in the leaves of the log's tree (audit/proof/tree.ts), and a store may number an
 * event otherwise than its writer can know, because `no_stream` is accepted for a deleted stream, which then goes on.
 *
 * Where the event before is gone (a deleted stream that comes back, a limit of age or count), `$previous` is null: the chain
 * begins anew. In streams that no event is meant to leave, verification takes that for a fault.
 */
import { hash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import {
  type AppendResult,
  type EventStore,
  EventStoreUnavailable,
  InvalidArgument,
  type Json,
  type NewEvent,
  type RecordedEvent,
  StreamDeleted,
  StreamNotFound,
  WrongExpectedRevision,
} from './port.ts'

const DOMAIN = 'customer-log event v1'
/** Streams of which the newest hash is kept. */
const CACHED_STREAMS = 20_000
/** Ids by which a repetition of an append with `any` is known, as the stores do. */
const REMEMBERED_IDS = 20_000
/** How far back one is looked for in the stream where this process does not know its newest event. */
const REPETITION_WINDOW = 16
/** Rounds of an append with `any` or `stream_exists` against other writers of the stream. */
const MAX_ATTEMPTS = 100

/** What the hash of an event is over, beside the hash of the event before it. */
export interface Hashed {
  readonly stream: string
  readonly id: string
  readonly type: string
  readonly data: Json | Uint8Array
  /** `$hash` and `$previous` in it are of no account. */
  readonly metadata?: Json | Uint8Array | undefined
}

/** What an event's metadata says of the chain; `hash` undefined: it was written before there were any. */
export interface Link {
  readonly hash: string | undefined
  readonly previous: string | null
}

interface Tail {
  /** -1: the stream has no readable event. */
  readonly revision: number
  readonly hash: string | null
}

interface Members {
  readonly [key: string]: Json | undefined
}

/** The event's hash after `previous`: see above for the bytes. */
export function eventHash(event: Hashed, previous: string | null): string {
  return textHash(event, withoutLink(event.metadata), previous)
}

function textHash({ stream, id, type, data }: Hashed, metadata: Json | Uint8Array, previous: string | null): string {
  const text = JSON.stringify([DOMAIN, stream, id.toLowerCase(), type, plain(data), plain(metadata), previous])
  return hash('sha256', text, 'base64url')
}

const plain = (content: Json | Uint8Array): Json =>
  content instanceof Uint8Array ? Buffer.from(content).toString('base64') : content

/** The link that the event carries. */
export function linkOf({ metadata }: { readonly metadata?: Json | Uint8Array | undefined }): Link {
  if (!isObject(metadata)) return { hash: undefined, previous: null }
  const { $hash, $previous } = metadata
  return {
    hash: typeof $hash === 'string' ? $hash : undefined,
    previous: typeof $previous === 'string' ? $previous : null,
  }
}

/** The hash that the event after this one is linked to. */
export function hashOf(event: RecordedEvent): string {
  return linkOf(event).hash ?? eventHash(event, null)
}

/** The metadata as it is hashed. */
function withoutLink(metadata: Json | Uint8Array | undefined): Json | Uint8Array {
  if (metadata === undefined) return null
  if (!isObject(metadata)) return metadata
  let rest = metadata
  if (metadata.$hash !== undefined || metadata.$previous !== undefined) {
    const { $hash, $previous, ...others } = metadata
    rest = others
  }
  for (const name in rest) if (rest[name] !== undefined) return rest
  return null
}

function isObject(value: Json | Uint8Array | undefined): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}

/** One for each store, so that all of a process know what each has written. */
const chains = new WeakMap<EventStore, EventStore>()

/**
 * The event store, with appends that go on with the chain of their stream. They keep the port's semantics; `any` and
 * `stream_exists` become an exact revision, decided again after a conflict, and one at a time for each stream. A repetition
 * with `any` is known while this process remembers the ids, or finds them among the newest events of the stream.
 * Events have to be JSON, with an object as metadata, or none.
 *
 * Any number of writers and processes may append to a stream: what is remembered of it is the hash of an event at its
 * revision, which never changes; and only where the event is certainly the one that was given. (A repetition that another
 * process appended first counts with that one's content: another time, another trace. So the hash of an event is kept only
 * if its command has a random id, of which there is one writer.)
 */
export function chained(eventStore: EventStore): EventStore {
  const made = chains.get(eventStore)
  if (made) return made
  const tails = new LRUCache<string, Tail>({ max: CACHED_STREAMS })
  const remembered = new LRUCache<string, AppendResult>({ max: REMEMBERED_IDS })
  /** Streams whose events are remembered by their ids as far back as need be. */
  const lookedAt = new LRUCache<string, true>({ max: CACHED_STREAMS })
  /** Streams with an append whose outcome is not known: a repetition of it may have another content. */
  const doubtful = new Set<string>()
  /** The append of a stream that was sent last and is not answered. */
  const sent = new Map<string, Promise<AppendResult>>()
  /** Of streams with appends that need a look at the stream first: the last of them. */
  const queues = new Map<string, Promise<unknown>>()

  let closed = false

  // Another log may answer next: the hash of its event at a revision is another one.
  eventStore.onDisconnect?.(() => {
    tails.clear()
    remembered.clear()
    lookedAt.clear()
  })

  const key = (stream: string, id: string) => `${stream} ${id.toLowerCase()}`

  async function appendAfter(
    stream: string,
    events: readonly NewEvent[],
    expected: number | 'no_stream',
    previous: string | null,
  ): Promise<AppendResult> {
    let last = previous
    let certain = true
    const linked = events.map((event) => {
      const { metadata } = event
      if (event.data instanceof Uint8Array || (metadata !== undefined && !isObject(metadata))) {
        throw new InvalidArgument('An event of the chain is JSON, with an object as metadata.')
      }
      certain &&= isNew(event)
      const before = last
      last = textHash({ ...event, stream }, withoutLink(metadata), before)
      return { ...event, metadata: { ...metadata, $previous: before, $hash: last } }
    })
    const sending = eventStore.append(stream, linked, { expected })
    sent.set(stream, sending)
    try {
      const result = await sending
      if (certain && !doubtful.has(stream)) remember(stream, { revision: result.revision, hash: last })
      doubtful.delete(stream)
      return result
    } catch (error) {
      if (error instanceof EventStoreUnavailable) doubtful.add(stream)
      throw error
    } finally {
      if (sent.get(stream) === sending) sent.delete(stream)
    }
  }

  function remember(stream: string, tail: Tail): void {
    // Not where it is known: a repetition would put its own content's hash in the place of the first one's.
    if (tail.revision > (tails.get(stream)?.revision ?? -1)) tails.set(stream, tail)
  }

  function knownHash(stream: string, revision: number): string | null | undefined {
    const tail = tails.get(stream)
    return tail?.revision === revision ? tail.hash : undefined
  }

  /** @throws WrongExpectedRevision where the stream is not that far */
  async function hashAt(stream: string, revision: number): Promise<string | null> {
    const known = knownHash(stream, revision)
    if (known !== undefined) return known
    const event = await newest(stream, 1, revision)
    if (event === undefined) {
      // Without a limit none can be gone: the stream is not there, and must not come to be meanwhile with a wrong hash.
      if (Object.keys(await eventStore.getStreamMetadata(stream)).length > 0) return null
      throw new WrongExpectedRevision(stream, revision, 'no_stream')
    }
    if (event.revision !== revision) throw new WrongExpectedRevision(stream, revision, event.revision)
    return hashOf(event)
  }

  /** The newest event that can be read; those before it, up to `count`, are remembered by their ids. */
  async function newest(stream: string, count: number, from: number | 'end'): Promise<RecordedEvent | undefined> {
    let last: RecordedEvent | undefined
    try {
      for await (const event of eventStore.readStream(stream, { direction: 'backwards', from, maxCount: count })) {
        last ??= event
        if (count > 1) remembered.set(key(stream, event.id), { revision: event.revision, position: event.position })
      }
    } catch (error) {
      if (!(error instanceof StreamNotFound)) throw error
    }
    return last
  }

  async function appendToEnd(
    stream: string,
    events: readonly NewEvent[],
    expected: 'any' | 'stream_exists',
  ): Promise<AppendResult> {
    for (let attempt = 1; ; attempt++) {
      let tail = tails.get(stream)
      // What was appended with an exact revision is not remembered by its id.
      if (tail === undefined || !lookedAt.has(stream) || doubtful.has(stream) || expected === 'stream_exists') {
        const last = await newest(stream, REPETITION_WINDOW, 'end')
        tail = last ? { revision: last.revision, hash: hashOf(last) } : { revision: -1, hash: null }
        lookedAt.set(stream, true)
      }
      const done = repetition(stream, events, expected, tail.revision)
      if (done) return done
      if (tail.revision === -1 && expected === 'stream_exists') await checkExists(stream)
      try {
        const after = tail.revision === -1 ? 'no_stream' : tail.revision
        const result = await appendAfter(stream, events, after, tail.hash)
        const first = result.revision - events.length + 1
        for (const [index, { id }] of events.entries()) {
          const { position } = result
          remembered.set(key(stream, id), { revision: first + index, ...(position && { position }) })
        }
        return result
      } catch (error) {
        if (!(error instanceof WrongExpectedRevision)) throw error
        tails.delete(stream)
        lookedAt.delete(stream)
        if (attempt === MAX_ATTEMPTS) {
          throw new EventStoreUnavailable(`Stream "${stream}" has too many writers at once.`)
        }
        if (attempt > 1) await delay(Math.random() * Math.min(2 ** attempt, 50))
      }
    }
  }

  /** The original result, where the events are known. @throws WrongExpectedRevision where only some are */
  function repetition(
    stream: string,
    events: readonly NewEvent[],
    expected: 'any' | 'stream_exists',
    actual: number,
  ): AppendResult | undefined {
    const known = events.map(({ id }) => remembered.get(key(stream, id)))
    const first = known[0]?.revision
    if (first === undefined) return undefined
    if (known.every((each, index) => each?.revision === first + index)) return known.at(-1)
    throw new WrongExpectedRevision(stream, expected, actual === -1 ? 'no_stream' : actual)
  }

  /** A stream without events exists where it has metadata that is no deletion. */
  async function checkExists(stream: string): Promise<void> {
    const { $tb, ...others } = await eventStore.getStreamMetadata(stream)
    if ($tb !== undefined && $tb >= Number.MAX_SAFE_INTEGER) throw new StreamDeleted(stream)
    if ($tb === undefined && Object.keys(others).length === 0) {
      throw new WrongExpectedRevision(stream, 'stream_exists', 'no_stream')
    }
  }

  /** One at a time, in their order: what the next one is linked to is known when the one before has been written. */
  function inTurn(stream: string, work: () => Promise<AppendResult>): Promise<AppendResult> {
    const before = Promise.allSettled([queues.get(stream), sent.get(stream)])
    const turn = before.then(work)
    queues.set(stream, turn)
    const over = () => {
      if (queues.get(stream) === turn) queues.delete(stream)
    }
    turn.then(over, over)
    return turn
  }

  const store: EventStore = {
    ...eventStore,
    append(stream, events, options) {
      const { expected } = options
      // Without its place in the chain it must not get past: the store below may still be open.
      if (closed) return Promise.reject(new EventStoreUnavailable('The event store is closed.'))
      if (events.length === 0) return eventStore.append(stream, events, options)
      if (expected === 'any' || expected === 'stream_exists') {
        return inTurn(stream, () => appendToEnd(stream, events, expected))
      }
      const previousHash = expected === 'no_stream' ? null : knownHash(stream, expected)
      if (previousHash !== undefined && !queues.has(stream)) return appendAfter(stream, events, expected, previousHash)
      return inTurn(stream, async () => {
        const previous = expected === 'no_stream' ? null : await hashAt(stream, expected)
        return appendAfter(stream, events, expected, previous)
      })
    },

    async close() {
      closed = true
      await Promise.allSettled(queues.values())
      await eventStore.close()
    },
  }
  chains.set(eventStore, store)
  return countAsChained(store)
}

/** Says of a store that what it appends goes through a chain already. @returns the store */
export function countAsChained(store: EventStore): EventStore {
  chains.set(store, store)
  return store
}

/** Whether nobody else can have appended it: the id of its command (its own, where it names none) is a random one (version 4). */
function isNew({ id, metadata }: NewEvent): boolean {
  const cause = (metadata as Members | undefined)?.$causationId
  return (typeof cause === 'string' ? cause : id)[14] === '4'
}
