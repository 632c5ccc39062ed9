/**
 * The keys that personal fields are encrypted with: one for each customer, and one for each address that is no
 * customer's. They are stored in the key store (an event store beside the log, or the log itself), wrapped by a master
 * key.
 *
 * Keys are grouped in blocks of 64 ids, `customerKeys-<block>`, all created when the first of them is needed. So most
 * registrations need no write here, and a reader of the log needs one lookup for up to 64 customers. An address has a
 * block of its own, `customerKeys-of-<hash>`. A key is destroyed by rewriting the block without it and truncating the
 * stream before that event.
 *
 * A customer's key is created once; an address's key is created again when it is needed again, as the next generation.
 */

import { type KeyObject, randomBytes } from 'node:crypto'
import { ConfigurationError } from '../../runtime/errors.ts'
import { inBatches } from '../../runtime/in-batches.ts'
import { streamOf } from '../../schema/streams.ts'
import { type EventStore, EventStoreUnavailable, InvalidArgument, WrongExpectedRevision } from '../port.ts'
import { KEY_BYTES } from './aes-gcm.ts'
import { type Block, type BlockData, type Blocks, type CustomerKey, createBlocks, keyOf } from './blocks.ts'
import { createKeyBlocks, type KeyBlocks } from './key-blocks.ts'
import { checkTogether, nameEachOther } from './key-store-identity.ts'
import type { MasterKeys } from './master-key.ts'
import { rotateMasterKey, statusOf } from './rotation.ts'

/** Whose key it is: a customer's id in decimal digits, or the keyed hash of an address. */
export type Subject = string

/** A key that has not been destroyed. */
export type WritingKey = CustomerKey & { readonly key: KeyObject }

export interface CustomerKeys {
  /** The log as stored. */
  readonly log: EventStore
  /** The store of the keys. */
  readonly keyStore: EventStore
  /**
   * Checks that key store, log and master key belong together, and that the key store is not older than the log.
   * @throws ConfigurationError if they do not; EventStoreUnavailable
   */
  check(): Promise<void>
  /** Returns a cached key. */
  peek(subject: Subject): CustomerKey | undefined
  /**
   * Loads keys into the cache.
   * @param maxAge keys read longer ago than this are read again, in milliseconds, because another process may have
   * destroyed them
   * @throws EventStoreUnavailable, also for a key that is unexpectedly missing
   */
  load(subjects: Iterable<Subject>, maxAge?: number): Promise<void>
  /**
   * The key for writing, created if there is none yet; undefined for a customer whose key was destroyed. @throws
   * EventStoreUnavailable
   */
  toWrite(subject: Subject): Promise<WritingKey | undefined>
  /**
   * Loads all keys into the cache, as far as they fit, in the order of the key store's log. @throws
   * EventStoreUnavailable
   */
  loadAll(): Promise<void>
  /**
   * Destroys a key for good: nothing that was encrypted with it can be read again. Does nothing if there is none.
   * @returns whether there was one
   * @throws EventStoreUnavailable
   */
  destroy(subject: Subject): Promise<boolean>
  /** Whether a key existed and has been destroyed, according to the key store now. @throws EventStoreUnavailable */
  isDestroyed(subject: Subject): Promise<boolean>
  /**
   * Rewraps all blocks of other master keys with the current one. No customer's key changes, and no event.
   * @returns how many blocks there are, and how many were rewrapped
   * @throws EventStoreUnavailable; ConfigurationError for a block that none of the master keys unwraps
   */
  rotate(report?: (done: number) => void): Promise<{ readonly blocks: number; readonly rewrapped: number }>
  /**
   * How many blocks each master key has wrapped, by its id, and how many keys were destroyed. @throws
   * EventStoreUnavailable
   */
  status(): Promise<{ readonly blocks: ReadonlyMap<string, number>; readonly destroyed: number }>
  /**
   * For a lost key store of which only an older backup exists: missing keys are lost for good. Customers whose keys are
   * missing count as erased from now on, as if their keys had been destroyed.
   * @returns how many blocks of keys were missing
   * @throws EventStoreUnavailable
   */
  giveUpMissing(): Promise<number>
  close(): Promise<void>
}

/** A log whose personal fields are encrypted. A store that wraps it by `{ ...log }` is one, too. */
export interface EncryptedLog extends EventStore {
  readonly keys: CustomerKeys
}

export const hasKeys = (eventStore: EventStore): eventStore is EncryptedLog =>
  (eventStore as Partial<EncryptedLog>).keys !== undefined

/**
 * The keys of a log, for an erasure.
 * @throws InvalidArgument for a store without keys: nothing could be destroyed, and it must not count as erased
 */
export function keysOf(eventStore: EventStore): CustomerKeys {
  if (!hasKeys(eventStore)) throw new InvalidArgument('This event store has no keys, so it cannot erase anybody.')
  return eventStore.keys
}

/** How many customers share a block of keys. */
const BLOCK = 64

/** The place of a key: the stream of its block, its index in it, and the size of the block. */
interface KeyPlace {
  readonly stream: string
  readonly index: number
  readonly size: number
}

function placeOf(subject: Subject): KeyPlace {
  if (!isCustomer(subject)) return { stream: streamOf.keys(`of-${subject}`), index: 0, size: 1 }
  const id = Number(subject)
  return { stream: streamOf.keys(blockOf(subject)), index: id % BLOCK, size: BLOCK }
}

const blockOf = (subject: Subject) => Math.floor(Number(subject) / BLOCK)
const isCustomer = (subject: Subject) => /^[1-9]\d{0,15}$/.test(subject)

export interface CustomerKeysOptions {
  /** The log, which records which key store has the keys of its customers. */
  readonly log: EventStore
  /** The store of the keys; it is closed with them. */
  readonly keyStore: EventStore
  readonly masterKeys: MasterKeys
}

export function createCustomerKeys(options: CustomerKeysOptions): CustomerKeys {
  const { log, keyStore, masterKeys } = options
  const blocks = createBlocks(keyStore, masterKeys)
  /** Blocks that are being created. */
  const making = new Map<string, Promise<Block>>()
  /** In the log itself, keys and encrypted events are always from the same moment. */
  const record = keyStore === log ? undefined : createKeyBlocks({ log, keyStore, size: BLOCK })
  const checked = once(async () => {
    await checkTogether(options, blocks)
    await checkAge(record)
  })
  /** Before the first key is created, log and key store have to name each other. */
  const begun = once(async () => {
    await checked.run()
    await nameEachOther(options)
  })

  // A restored key store may lack the newest keys: events encrypted with them could never be read again.
  const forget = () => {
    blocks.forget()
    checked.reset()
    begun.reset()
  }
  for (const store of new Set([log, keyStore])) store.onDisconnect?.(forget)

  function make(subject: Subject): Promise<Block> {
    const { stream, size } = placeOf(subject)
    const underWay = making.get(stream)
    if (underWay) return underWay
    const started = begun
      .run()
      .then(() =>
        makeBlock(blocks, stream, size, isCustomer(subject) ? () => record?.record(blockOf(subject)) : undefined),
      )
      .finally(() => making.delete(stream))
    making.set(stream, started)
    return started
  }

  return {
    log,
    keyStore,
    check: checked.run,

    peek(subject) {
      const { stream, index } = placeOf(subject)
      const block = blocks.known(stream)
      return block?.bytes || block?.destroyed.includes(index) ? keyOf(block, index) : undefined
    },

    async load(subjects, maxAge = Number.POSITIVE_INFINITY) {
      const streams = new Set<string>()
      for (const subject of subjects) streams.add(placeOf(subject).stream)
      await checked.run()
      await inBatches([...streams], (stream) => loadBlock(blocks, stream, maxAge))
    },

    async toWrite(subject) {
      const { stream, index } = placeOf(subject)
      let block = blocks.known(stream)
      if (block === undefined || block.destroyed.includes(index)) block = await make(subject)
      await blocks.unwrap(stream, block)
      const { generation, key } = keyOf(block, index)
      return key && { generation, key }
    },

    async loadAll() {
      await checked.run()
      await rememberAll(blocks)
    },

    async destroy(subject) {
      await checked.run()
      return destroyKey(blocks, placeOf(subject))
    },

    async isDestroyed(subject) {
      const { stream, index } = placeOf(subject)
      await checked.run()
      return (await blocks.read(stream))?.destroyed.includes(index) ?? false
    },

    async rotate(report = () => {}) {
      await checked.run()
      return rotateMasterKey(options, blocks, report)
    },

    status: () => statusOf(blocks),

    async giveUpMissing() {
      await checkTogether(options, blocks)
      const missing = (await record?.missing('all')) ?? []
      for (const block of missing) await writeDestroyed(blocks, block)
      checked.reset()
      return missing.length
    },

    close: () => keyStore.close(),
  }
}

/** @throws ConfigurationError for a key store that lacks the newest keys of the log */
async function checkAge(record: KeyBlocks | undefined): Promise<void> {
  const missing = await record?.missing('newest')
  if (!missing?.length) return
  throw new ConfigurationError(
    `KEYS_URL: the key store is older than this log and lacks ${missing.map(streamOf.keys).join(', ')}: restore a newer backup of it. Where there is none, npm run keys -- accept store gives up these customers, who count as erased from then on.`,
  )
}

/** Runs work once, and again after a failure or a reset. */
function once(work: () => Promise<void>): { run(): Promise<void>; reset(): void } {
  let done: Promise<void> | undefined
  return {
    run() {
      done ??= work().catch((error: unknown) => {
        done = undefined
        throw error
      })
      return done
    },
    reset() {
      done = undefined
    },
  }
}

/** Loads a block into the cache, unwrapped; reads it again if it was read more than `maxAge` milliseconds ago. */
async function loadBlock(blocks: Blocks, stream: string, maxAge: number): Promise<void> {
  const known = blocks.known(stream)
  const block = known && performance.now() - known.readAt <= maxAge ? known : await blocks.read(stream)
  if (block === undefined) throw new EventStoreUnavailable(`The key store has no ${stream}: keys are missing.`)
  await blocks.unwrap(stream, block)
}

/** Loads all blocks into the cache, as far as they fit. */
async function rememberAll(blocks: Blocks): Promise<void> {
  for await (const event of blocks.all()) {
    blocks.remember(event.stream, event.revision, event.data as unknown as BlockData)
    if (blocks.isFull()) return
  }
}

/**
 * The block with the key, created if there is none, and created again for an address whose key was destroyed.
 * @param beforeMade awaited before a block is written
 */
async function makeBlock(
  blocks: Blocks,
  stream: string,
  size: number,
  beforeMade: (() => Promise<void> | undefined) | undefined,
): Promise<Block> {
  for (;;) {
    const found = await blocks.read(stream)
    if (found && !(size === 1 && found.destroyed.length > 0)) return found
    const rest = { generation: found ? found.generation + 1 : 0, destroyed: [] }
    await beforeMade?.()
    try {
      return await blocks.write(stream, found?.revision ?? 'no_stream', randomBytes(size * KEY_BYTES), rest)
    } catch (error) {
      if (!(error instanceof WrongExpectedRevision)) throw error // another process was first
    }
  }
}

/** Writes a block of which every key counts as destroyed. */
async function writeDestroyed(blocks: Blocks, block: number): Promise<void> {
  const destroyed = Array.from({ length: BLOCK }, (_, index) => index)
  const noKeys = new Uint8Array(BLOCK * KEY_BYTES)
  await blocks.write(streamOf.keys(block), 'no_stream', noKeys, { generation: 0, destroyed })
}

/** Rewrites the block without the key, and truncates the stream before it. @returns whether there was one */
async function destroyKey(blocks: Blocks, { stream, index }: KeyPlace): Promise<boolean> {
  for (;;) {
    const block = await blocks.read(stream)
    if (block === undefined) return false
    if (block.destroyed.includes(index)) {
      await blocks.cutOff(stream, block)
      return false
    }
    const keys = await blocks.unwrap(stream, block)
    const bytes = Uint8Array.from(keys).fill(0, index * KEY_BYTES, (index + 1) * KEY_BYTES)
    const rest = { generation: block.generation, destroyed: [...block.destroyed, index] }
    try {
      await blocks.cutOff(stream, await blocks.write(stream, block.revision, bytes, rest))
      return true
    } catch (error) {
      if (!(error instanceof WrongExpectedRevision)) throw error
    }
  }
}
