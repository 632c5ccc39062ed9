/**
 * The log with personal fields encrypted: what is appended is encrypted with the person's own key, what is read comes in
 * clear, so that nobody else need know of it. AES-256-GCM; the hash chain is over what is stored.
 *
 * Stored, an event's data has `null` in the place of each personal field (schema/events.ts), and `encrypted`: the base64 of
 *
 *     version (1 byte: 1) | generation of the key (2) | nonce (12) | ciphertext | tag (16)
 *
 * of the fields' values as a JSON array, in the order in which the fields stand. `<stream> <type> <id>` (the id in lower
 * case) is authenticated with it, so no ciphertext can be moved to another event. What was written in clear, before there
 * was any encryption, is read as it is.
 *
 * Where the key was destroyed, placeholders stand for the values (`erasedValue`). What fails to decrypt is given as it is
 * stored, and the codec refuses it: whoever applies the event learns which one it is.
 */
import type { KeyObject } from 'node:crypto'
import { erasedValue, PERSONAL_FIELDS } from '../../schema/events.ts'
import { isPersonal, personalOwnerOf, STREAMS } from '../../schema/streams.ts'
import { countAsChained } from '../chain.ts'
import { hasPersonal, isEncrypted } from '../codec.ts'
import {
  type Delivery,
  type EventStore,
  type GroupSubscription,
  type Json,
  type NewEvent,
  type PersistentSubscriptions,
  type RecordedEvent,
  type StreamFilter,
  type Subscription,
  type SubscriptionBatch,
  WrongExpectedRevision,
} from '../port.ts'
import { SEAL_BYTES, seal, unseal } from './aes-gcm.ts'
import { guarded } from './clear-text-guard.ts'
import type { CustomerKey, CustomerKeys, Subject, WritingKey } from './customer-keys.ts'
import { decryptBeside, type Sealed } from './decryption-thread.ts'

type Members = { readonly [name: string]: Json | undefined }

/** What the names of the streams begin with whose events have personal fields. */
const PREFIXES = STREAMS.filter(isPersonal).map(({ name }) => name)

const VERSION = 1
const HEAD_BYTES = 3
/** From so many encrypted events on, a batch is decrypted beside the main thread. */
const MANY = 64
const ASCII = /^[\x20-\x7e]*$/
/** Whoever reads a stream from its start does so with keys no older: then nobody reads what was erased longer ago. */
export const KEY_MAX_AGE_MS = 1_000

/** Whose stream it is; undefined for one without personal fields. */
const subjectOf = (stream: string): Subject | undefined => personalOwnerOf(stream)

const authenticated = (stream: string, { type, id }: { readonly type: string; readonly id: string }) =>
  `${stream} ${type} ${id.toLowerCase()}`

const isGroup = (data: unknown): data is Members =>
  typeof data === 'object' && data !== null && !Array.isArray(data) && !(data instanceof Uint8Array)

/** The event as it is stored. */
function encrypt(stream: string, event: NewEvent, { generation, key }: WritingKey): NewEvent {
  const fields = PERSONAL_FIELDS.get(event.type)
  if (fields === undefined || !isGroup(event.data)) return event
  const stored: Record<string, Json | undefined> = {}
  const values: Json[] = []
  for (const [name, value] of Object.entries(event.data)) {
    const isPersonal = value !== undefined && fields.has(name)
    if (isPersonal) values.push(value)
    stored[name] = isPersonal ? null : value
  }
  if (values.length === 0) return event
  const head = Buffer.of(VERSION, generation >> 8, generation & 0xff)
  const content = Buffer.from(JSON.stringify(values))
  stored.encrypted = seal(key, content, Buffer.from(authenticated(stream, event)), head).toString('base64')
  return { ...event, data: stored }
}

/** What is sealed in an event, without its head; `erased`: by a key that is destroyed. */
function sealedIn({ data }: RecordedEvent, { generation, bytes: key }: CustomerKey): Buffer | 'erased' | 'broken' {
  const bytes = Buffer.from((data as Members).encrypted as string, 'base64')
  if (bytes[0] !== VERSION || bytes.length < HEAD_BYTES + SEAL_BYTES) return 'broken'
  return key === undefined || bytes.readUInt16BE(1) !== generation ? 'erased' : bytes.subarray(HEAD_BYTES)
}

/** The event in clear; as it is stored where it can't be decrypted. */
function decrypt(event: RecordedEvent, key: CustomerKey): RecordedEvent {
  const bytes = sealedIn(event, key)
  if (bytes === 'broken') return event
  if (bytes === 'erased') return withValues(event, undefined)
  let content: Buffer
  try {
    content = unseal(key.key as KeyObject, bytes, Buffer.from(authenticated(event.stream, event)))
  } catch {
    return event
  }
  return withValues(event, content.toString())
}

/** As {@link decrypt}, of many. @param keys of each; without one it stays as it is stored */
async function decryptAll(
  events: readonly RecordedEvent[],
  keys: readonly (CustomerKey | undefined)[],
): Promise<RecordedEvent[]> {
  const one = (event: RecordedEvent, index: number) => {
    const key = keys[index]
    return key ? decrypt(event, key) : event
  }
  if (events.length < MANY) return events.map(one)
  const items: Sealed[] = []
  const places: number[] = []
  const opened = events.map((event, index) => {
    const key = keys[index]
    const bytes = key && sealedIn(event, key)
    const text = authenticated(event.stream, event)
    if (!key?.bytes || bytes === undefined || typeof bytes === 'string' || !ASCII.test(text)) return one(event, index)
    items.push({ key: key.bytes, authenticated: text, bytes })
    places.push(index)
    return event
  })
  try {
    const texts = await decryptBeside(items)
    for (const [number, index] of places.entries()) {
      const text = texts[number]
      if (text !== undefined) opened[index] = withValues(events[index] as RecordedEvent, text)
    }
    return opened
  } catch {
    return events.map(one) // the thread has ended: it is begun anew next time
  }
}

/** @param text the values in the fields' order, as JSON; undefined: erased */
function withValues(event: RecordedEvent, text: string | undefined): RecordedEvent {
  const stored = event.data as Members
  const values = text === undefined ? undefined : (JSON.parse(text) as Json[])
  const fields = PERSONAL_FIELDS.get(event.type)
  const data: Record<string, Json | undefined> = {}
  let index = 0
  for (const name in stored) {
    const field = fields?.get(name)
    if (field === undefined) {
      if (name !== 'encrypted') data[name] = stored[name]
    } else data[name] = values ? values[index++] : (erasedValue(field, event.revision) as Json)
  }
  return { ...event, data }
}

/** undefined: its key is not in memory. */
function openWithKnown(keys: CustomerKeys, event: RecordedEvent): RecordedEvent | undefined {
  if (!isEncrypted(event)) return event
  const key = keys.peek(subjectOf(event.stream) ?? '')
  return key && decrypt(event, key)
}

async function openLater(keys: CustomerKeys, event: RecordedEvent, maxAge?: number): Promise<RecordedEvent> {
  await keys.load([subjectOf(event.stream) ?? ''], maxAge)
  return openWithKnown(keys, event) ?? event
}

/** An event of the log, as it is stored, in clear. @throws EventStoreUnavailable */
export function openEvent(keys: CustomerKeys, event: RecordedEvent): RecordedEvent | Promise<RecordedEvent> {
  return openWithKnown(keys, event) ?? openLater(keys, event)
}

/**
 * The log of the service.
 * @param keys of the log as it is stored, with its hash chain; both are closed with it
 */
export function encryptedLog(keys: CustomerKeys): EventStore {
  const { log } = keys
  const guardedLog = guarded(log)
  /** Streams with an append that waits for its key. */
  const awaited = new Map<string, Promise<void>>()

  /** With one look for all keys that are not in memory. */
  async function openAll(events: readonly RecordedEvent[]): Promise<readonly RecordedEvent[]> {
    const sealed = events.filter(isEncrypted)
    if (sealed.length === 0) return events
    const keyOf = ({ stream }: RecordedEvent) => keys.peek(subjectOf(stream) ?? '')
    let found = sealed.map(keyOf)
    if (found.includes(undefined)) {
      await keys.load(
        sealed.filter((_, index) => found[index] === undefined).map(({ stream }) => subjectOf(stream) ?? ''),
      )
      found = sealed.map(keyOf)
    }
    const opened = await decryptAll(sealed, found)
    if (sealed.length === events.length) return opened
    let next = 0
    return events.map((event) => (event === sealed[next] ? (opened[next++] as RecordedEvent) : event))
  }

  async function* readStream(events: AsyncIterable<RecordedEvent>, isWhole: boolean): AsyncGenerator<RecordedEvent> {
    let isFresh = !isWhole
    for await (const event of events) {
      if (!isFresh && isEncrypted(event)) {
        isFresh = true
        yield await openLater(keys, event, KEY_MAX_AGE_MS)
      } else yield openEvent(keys, event)
    }
  }

  async function* readAll(events: AsyncIterable<RecordedEvent>, isWhole: boolean): AsyncGenerator<RecordedEvent> {
    // Before anything follows from what is in the log: it may be one that the keys do not belong to.
    await (isWhole ? keys.loadAll() : keys.check())
    for await (const event of events) yield openEvent(keys, event)
  }

  const concerns = (filter: StreamFilter | undefined) =>
    filter === undefined ||
    filter.streamPrefixes.some((prefix) => PREFIXES.some((own) => own.startsWith(prefix) || prefix.startsWith(own)))

  /** @param isWhole from the start: then all keys are read first, in their order, and none is looked up */
  function subscription(inner: Subscription, isWhole: boolean): Subscription {
    let ended = false
    async function* follow(): AsyncGenerator<SubscriptionBatch> {
      await (isWhole ? keys.loadAll() : keys.check())
      const source = inner[Symbol.asyncIterator]()
      try {
        // While one batch is decrypted beside, the next one is read.
        for (let coming = source.next(); ; ) {
          const { value: batch, done } = await coming
          if (done || ended) return
          coming = source.next()
          coming.catch(() => {}) // met when its turn comes, or never
          const events = await openAll(batch.events)
          if (ended) return
          yield { ...batch, events }
        }
      } finally {
        await inner.unsubscribe()
      }
    }
    const batches = follow()
    return {
      [Symbol.asyncIterator]: () => batches,
      async unsubscribe() {
        ended = true
        await inner.unsubscribe()
      },
    }
  }

  function groups(inner: PersistentSubscriptions): PersistentSubscriptions {
    return {
      ...inner,
      subscribe(group, options): GroupSubscription {
        const joined = inner.subscribe(group, options)
        /** What the adapter has given out, by what was made of it. */
        const originals = new WeakMap<Delivery, Delivery>()
        const given = (deliveries: readonly Delivery[]) => deliveries.map((each) => originals.get(each) ?? each)
        async function* follow(): AsyncGenerator<readonly Delivery[]> {
          for await (const deliveries of joined) {
            const opened = await openAll(deliveries.map(({ event }) => event))
            yield deliveries.map((delivery, index) => {
              const clear = { ...delivery, event: opened[index] as RecordedEvent }
              originals.set(clear, delivery)
              return clear
            })
          }
        }
        const batches = follow()
        return {
          [Symbol.asyncIterator]: () => batches,
          ack: (deliveries) => joined.ack(given(deliveries)),
          nack: (deliveries, action, reason) => joined.nack(given(deliveries), action, reason),
          unsubscribe: () => joined.unsubscribe(),
        }
      },
    }
  }

  const store: EventStore = {
    ...log,
    keys,
    ...(log.persistentSubscriptions && { persistentSubscriptions: groups(log.persistentSubscriptions) }),

    append(stream, events, options) {
      const first = awaited.get(stream)
      if (first) return first.then(() => store.append(stream, events, options)) // appends keep their order
      const subject = subjectOf(stream)
      if (subject === undefined || !events.some(hasPersonal)) return guardedLog.append(stream, events, options)
      const write = (key: WritingKey) =>
        guardedLog.append(
          stream,
          events.map((event) => encrypt(stream, event, key)),
          options,
        )
      const known = keys.peek(subject)
      if (known?.key) return write({ generation: known.generation, key: known.key })
      const coming = keys.toWrite(subject)
      const over = coming.then(
        () => void awaited.delete(stream),
        () => void awaited.delete(stream),
      )
      awaited.set(stream, over)
      return coming.then((key) => {
        // Destroyed: the customer was deleted meanwhile, so the command has to be decided again.
        if (key === undefined) throw new WrongExpectedRevision(stream, options.expected, 'no_stream')
        return write(key)
      })
    },

    readStream(stream, options = {}) {
      const events = log.readStream(stream, options)
      if (subjectOf(stream) === undefined) return events
      const { direction = 'forwards', from = 0 } = options
      return readStream(events, direction === 'forwards' && (from === 0 || from === 'start'))
    },

    readAll(options = {}) {
      const { direction = 'forwards', from = 'start', maxCount, filter } = options
      const events = log.readAll(options)
      const isWhole = direction === 'forwards' && from === 'start' && maxCount === undefined
      return concerns(filter) ? readAll(events, isWhole) : events
    },

    subscribeToAll(options) {
      const inner = log.subscribeToAll(options)
      return concerns(options.filter) ? subscription(inner, options.from === 'start') : inner
    },

    subscribeToStream(stream, options) {
      const inner = log.subscribeToStream(stream, options)
      return subjectOf(stream) === undefined ? inner : subscription(inner, false)
    },

    async ping() {
      await Promise.all([log.ping(), keys.keyStore.ping()]) // the one is of no use without the other
    },

    async close() {
      await log.close()
      await keys.close()
    },
  }
  return countAsChained(store)
}
