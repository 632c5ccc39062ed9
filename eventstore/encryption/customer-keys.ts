/**
 * The keys that personal fields are encrypted with: one for each customer, and one for each e-mail address that belongs to
 * no customer. They are stored in the key store, wrapped by a master key. The key store is an event store of its own, or the
 * log itself.
 *
 * Keys are stored in blocks of 64 customer ids, in the streams `customerKeys-<block>`. A whole block is created when its
 * first key is needed. So most registrations write nothing here, and readers of the log need one look-up for 64 customers.
 * An address has a block of its own, `customerKeys-of-<hash>`. To destroy a key, its block is rewritten without it, and the
 * stream is truncated before that event.
 *
 * A customer never gets a second key. An address gets a new one, the next generation, if it is needed again.
 */
import { randomBytes } from 'node:crypto'
import { ConfigurationError } from '../../runtime/errors.ts'
import { inBatches } from '../../runtime/in-batches.ts'
import { type EventStore, EventStoreUnavailable, InvalidArgument, WrongExpectedRevision } from '../port.ts'
import { type AddressKey, type AddressRecords, createAddressRecords } from './address-records.ts'
import { type BlockRecords, createBlockRecords } from './block-records.ts'
import {
  type Block,
  type BlockId,
  type Blocks,
  type CustomerKey,
  createBlocks,
  knownKey,
  missingKey,
  streamOfBlock,
} from './blocks.ts'
import { checkTogether, nameEachOther } from './key-store-identity.ts'
import { KEY_BYTES, type Key } from './keys.ts'
import type { MasterKeys } from './master-key.ts'
import { rotateMasterKey, statusOf } from './rotation.ts'

/** The owner of a key: a customer's id in decimal digits, or the keyed hash of an address. */
export type Subject = string

export interface CustomerKeys {
  /** The log with its events as stored, encrypted. */
  readonly log: EventStore
  /** The event store with the keys. */
  readonly keyStore: EventStore
  /**
   * Checks that key store, log and master key belong together, and that the key store is not older than the log.
   * @throws ConfigurationError if they do not; EventStoreUnavailable
   */
  check(): Promise<void>
  /**
   * Resolves if the key store answers and the current master key wraps and unwraps: it may be in a key management system.
   * @throws EventStoreUnavailable, and what the master key throws
   */
  reach(): Promise<void>
  /** The key, if it is in memory. */
  peek(subject: Subject): CustomerKey | undefined
  /**
   * Loads keys into memory.
   * @param maxAge in milliseconds: keys that were read longer ago are read again, since another process may have destroyed
   * them
   * @throws EventStoreUnavailable, also if a key is missing that should exist
   */
  load(subjects: Iterable<Subject>, maxAge?: number): Promise<void>
  /** The key to encrypt with, if it is in memory and certain to be the newest. An address's never is: see `toWrite`. */
  peekToWrite(subject: Subject): Key | undefined
  /**
   * The key to encrypt with. It is created if there is none yet.
   * @returns undefined if the customer's key was destroyed
   * @throws EventStoreUnavailable
   */
  toWrite(subject: Subject): Promise<Key | undefined>
  /**
   * Whether a key that `toWrite` returned is still its owner's. An address's may be destroyed by another process at any
   * time, so it is read again; a customer's stream ends before its key is destroyed. @throws EventStoreUnavailable
   */
  isNewest(subject: Subject, key: Key): Promise<boolean>
  /** Loads all keys into memory, oldest first, until the cache is full. @throws EventStoreUnavailable */
  loadAll(): Promise<void>
  /**
   * Destroys a key for good: nothing that was encrypted with it can be read again.
   * @returns whether there was one
   * @throws EventStoreUnavailable
   */
  destroy(subject: Subject): Promise<boolean>
  /** Whether the key existed and was destroyed. Reads the key store, not the cache. @throws EventStoreUnavailable */
  isDestroyed(subject: Subject): Promise<boolean>
  /** Whether there is a key, not destroyed. Reads the key store, not the cache. @throws EventStoreUnavailable */
  isHeld(subject: Subject): Promise<boolean>
  /**
   * Rewraps with the current master key all blocks that another one has wrapped. Neither customers' keys nor events change.
   * @returns how many blocks there are, and how many of them were rewrapped
   * @throws EventStoreUnavailable; ConfigurationError if a block's master key is not configured
   */
  rotate(
    report?: (done: number) => void,
    signal?: AbortSignal,
  ): Promise<{ readonly blocks: number; readonly rewrapped: number }>
  /** How many blocks each master key has wrapped, by its id, and how many keys were destroyed. @throws EventStoreUnavailable */
  status(): Promise<{ readonly blocks: ReadonlyMap<string, number>; readonly destroyed: number }>
  /**
   * Gives up the keys that are missing from a key store that was restored from an older backup. Their customers and
   * addresses count as erased from now on, as if the keys had been destroyed.
   * @returns how many blocks of customers' keys were missing, and how many keys of addresses
   * @throws EventStoreUnavailable
   */
  giveUpMissing(): Promise<{ readonly blocks: number; readonly addresses: number }>
  close(): Promise<void>
}

/** A log that encrypts personal fields when events are appended. A store that wraps it by `{ ...log }` is one too. */
export interface EncryptedLog extends EventStore {
  readonly keys: CustomerKeys
}

export const hasKeys = (eventStore: EventStore): eventStore is EncryptedLog =>
  (eventStore as Partial<EncryptedLog>).keys !== undefined

/**
 * The keys of a log from which personal data is to be erased.
 * @throws InvalidArgument for a store without keys, from which nothing can be erased: the caller must not report success
 */
export function keysOf(eventStore: EventStore): CustomerKeys {
  if (!hasKeys(eventStore))
    throw new InvalidArgument("This event store has no keys, so nobody's data can be erased from it.")
  return eventStore.keys
}

/** Customers that share a block of keys. */
const BLOCK = 64

/** The place of a key: its block, its index in the block, and how many keys the block has. */
interface KeyPlace {
  readonly block: BlockId
  readonly index: number
  readonly size: number
}

function placeOf(subject: Subject): KeyPlace {
  const id = customerIdIn(subject)
  if (id === undefined) return { block: subject, index: 0, size: 1 }
  return { block: Math.floor(id / BLOCK), index: id % BLOCK, size: BLOCK }
}

const ZERO = 48
const NINE = 57
const MOST_DIGITS = 16

/** A customer's id: 1 to 16 digits without a leading zero. Parsed by hand, because this runs for each event. */
function customerIdIn(subject: Subject): number | undefined {
  const { length } = subject
  if (length === 0 || length > MOST_DIGITS || subject.charCodeAt(0) === ZERO) return undefined
  let id = 0
  for (let index = 0; index < length; index++) {
    const digit = subject.charCodeAt(index)
    if (digit < ZERO || digit > NINE) return undefined
    id = 10 * id + digit - ZERO
  }
  return id
}

/** Whether the owner is an address, and no customer. */
export const isOfAddress = (subject: Subject): boolean => customerIdIn(subject) === undefined

export interface CustomerKeysOptions {
  /** The log. It names its key store, so that another one is detected. */
  readonly log: EventStore
  /** Closed together with the keys. */
  readonly keyStore: EventStore
  readonly masterKeys: MasterKeys
}

export function createCustomerKeys(options: CustomerKeysOptions): CustomerKeys {
  const { log, keyStore, masterKeys } = options
  const blocks = createBlocks(keyStore, masterKeys)
  /** Blocks that are being created. */
  const making = new Map<BlockId, Promise<Block>>()
  /** Not needed if the keys are in the log itself: then a backup always has both. */
  const records = keyStore === log ? undefined : createRecords(log, keyStore)
  const checked = once(async () => {
    await checkTogether(options)
    await checkAge(records)
  })
  /** Before the first key is created, log and key store have to name each other. */
  const begun = once(async () => {
    await checked.run()
    await nameEachOther(options)
  })

  // After a reconnect the key store may be a restored one that lacks the newest keys. What would be encrypted with one of
  // them could never be read again.
  const forget = () => {
    blocks.forget()
    checked.reset()
    begun.reset()
  }
  for (const store of new Set([log, keyStore])) store.onDisconnect?.(forget)

  function make(subject: Subject): Promise<Block> {
    const { block, size } = placeOf(subject)
    const underWay = making.get(block)
    if (underWay) return underWay
    const started = begun
      .run()
      .then(() => makeBlock(blocks, block, size, records))
      .finally(() => making.delete(block))
    making.set(block, started)
    return started
  }

  return {
    log,
    keyStore,
    check: checked.run,
    reach: () => reach(options),
    ...createStoredChecks(blocks, checked.run),

    peek(subject) {
      const { block, index } = placeOf(subject)
      const known = blocks.known(block)
      return known && knownKey(known, index)
    },

    async load(subjects, maxAge = Number.POSITIVE_INFINITY) {
      const wanted = new Set<BlockId>()
      for (const subject of subjects) wanted.add(placeOf(subject).block)
      await checked.run()
      await inBatches([...wanted], (block) => loadBlock(blocks, block, maxAge))
    },

    peekToWrite(subject) {
      const { block, index } = placeOf(subject)
      const known = typeof block === 'number' ? blocks.known(block) : undefined
      const key = known && knownKey(known, index)
      return key?.bytes && key
    },

    async toWrite(subject) {
      const { block: id, index } = placeOf(subject)
      // An address's key comes anew after another process has destroyed it. What is encrypted with the old one is lost.
      // A customer's does not come anew, and its stream ends before.
      let block = typeof id === 'number' ? blocks.known(id) : await blocks.read(id)
      if (block === undefined || block.destroyed.includes(index)) block = await make(subject)
      await blocks.unwrap(block)
      const key = knownKey(block, index)
      return key?.bytes && key
    },

    async loadAll() {
      await checked.run()
      await rememberAll(blocks)
    },

    async destroy(subject) {
      await checked.run()
      return destroyKey(blocks, placeOf(subject))
    },

    async rotate(report = () => {}, signal) {
      await checked.run()
      return rotateMasterKey(options, blocks, { report, signal })
    },

    status: () => statusOf(blocks),

    async giveUpMissing() {
      await checkTogether(options)
      const given = await giveUp(blocks, records)
      checked.reset()
      return given
    },

    close: () => keyStore.close(),
  }
}

/** What is known of a key in the key store, whatever the cache says. */
function createStoredChecks(
  blocks: Blocks,
  check: () => Promise<void>,
): Pick<CustomerKeys, 'isDestroyed' | 'isHeld' | 'isNewest'> {
  return {
    async isDestroyed(subject) {
      const { block, index } = placeOf(subject)
      await check()
      return (await blocks.read(block))?.destroyed.includes(index) ?? false
    },

    async isHeld(subject) {
      const { block, index } = placeOf(subject)
      await check()
      const found = await blocks.read(block)
      return found !== undefined && !found.destroyed.includes(index)
    },

    async isNewest(subject, { generation }) {
      const { block, index } = placeOf(subject)
      if (typeof block === 'number') return true
      const found = await blocks.read(block)
      return found?.generation === generation && !found.destroyed.includes(index)
    },
  }
}

async function reach({ keyStore, masterKeys: [current] }: CustomerKeysOptions): Promise<void> {
  await keyStore.ping()
  const bytes = randomBytes(KEY_BYTES)
  const wrapped = await current.wrap(bytes, 'reach')
  if (!bytes.equals(await current.unwrap(wrapped, 'reach'))) throw new Error('The master key unwraps something else.')
}

/** What the log says of the keys that were made for it. */
interface Records {
  readonly blocks: BlockRecords
  readonly addresses: AddressRecords
}

const createRecords = (log: EventStore, keyStore: EventStore): Records => ({
  blocks: createBlockRecords({ log, keyStore, size: BLOCK }),
  addresses: createAddressRecords({ log, keyStore }),
})

/** @throws ConfigurationError if the key store lacks the newest keys of the log */
async function checkAge(records: Records | undefined): Promise<void> {
  if (records === undefined) return
  const addresses = await records.addresses.missing('newest')
  const missing = [...(await records.blocks.missing('newest')), ...addresses.map(({ emailKey }) => emailKey)]
  if (missing.length === 0) return
  throw new ConfigurationError(
    `KEYS_URL: the key store is older than this log and lacks ${missing.map(streamOfBlock).join(', ')}: restore a newer backup of it. Where there is none, npm run keys -- accept store gives up whose keys these are, who count as erased from then on.`,
  )
}

/** Runs the work once, and again only after it failed or was reset. */
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

/** Loads a block into memory and unwraps it. Reads it again if that is longer than `maxAge` milliseconds ago. */
async function loadBlock(blocks: Blocks, id: BlockId, maxAge: number): Promise<void> {
  const known = blocks.known(id)
  const block = known && performance.now() - known.readAt <= maxAge ? known : await blocks.read(id)
  if (block === undefined) {
    throw new EventStoreUnavailable(`The key store has no ${streamOfBlock(id)}: keys are missing.`)
  }
  await blocks.unwrap(block)
  // Another reader may have found a newer one meanwhile, whose keys are the ones in memory now.
  for (let newest = blocks.known(id); newest && !newest.bytes; newest = blocks.known(id)) await blocks.unwrap(newest)
}

/** Loads blocks into memory until the cache is full. */
async function rememberAll(blocks: Blocks): Promise<void> {
  for await (const { id, revision, data } of blocks.all()) {
    blocks.remember(id, revision, data)
    if (blocks.isFull()) return
  }
}

/**
 * The block of a key. It is created if it does not exist, and again for an address whose key was destroyed.
 * @param records in which it is recorded before it is written
 * @throws EventStoreUnavailable, also if the address had such a key already that the key store lacks
 */
async function makeBlock(blocks: Blocks, id: BlockId, size: number, records: Records | undefined): Promise<Block> {
  for (;;) {
    const found = await blocks.read(id)
    if (found && !(size === 1 && found.destroyed.length > 0)) return found
    const generation = found ? found.generation + 1 : 0
    const rest = { generation, destroyed: [] }
    if (typeof id === 'number') await records?.blocks.record(id)
    else if (records) {
      if ((await records.addresses.newestIn(id)) >= generation) {
        // Unless another process has made it since.
        if (((await blocks.read(id))?.generation ?? -1) < generation) throw missingKey(id)
        continue
      }
      await records.addresses.record({ emailKey: id, generation })
    }
    try {
      return await blocks.write(id, found?.revision ?? 'no_stream', randomBytes(size * KEY_BYTES), rest)
    } catch (error) {
      if (!(error instanceof WrongExpectedRevision)) throw error // another process was first
    }
  }
}

/** See {@link CustomerKeys.giveUpMissing}. */
async function giveUp(blocks: Blocks, records: Records | undefined) {
  const missing = (await records?.blocks.missing('all')) ?? []
  for (const block of missing) await writeDestroyed(blocks, block)
  const addresses = (await records?.addresses.missing('all')) ?? []
  for (const key of addresses) await writeDestroyedAddress(blocks, key)
  return { blocks: missing.length, addresses: addresses.length }
}

/** Writes a block in which every key counts as destroyed. */
async function writeDestroyed(blocks: Blocks, block: number): Promise<void> {
  const destroyed = Array.from({ length: BLOCK }, (_, index) => index)
  const noKeys = new Uint8Array(BLOCK * KEY_BYTES)
  await blocks.write(block, 'no_stream', noKeys, { generation: 0, destroyed })
}

/** Writes the key of an address as one that was destroyed. */
async function writeDestroyedAddress(blocks: Blocks, { emailKey, generation }: AddressKey): Promise<void> {
  const found = await blocks.read(emailKey)
  const rest = { generation, destroyed: [0] }
  await blocks.write(emailKey, found?.revision ?? 'no_stream', new Uint8Array(KEY_BYTES), rest)
}

/** Rewrites the block without the key and truncates its stream before that. @returns whether the key existed */
async function destroyKey(blocks: Blocks, { block: id, index }: KeyPlace): Promise<boolean> {
  for (;;) {
    const block = await blocks.read(id)
    if (block === undefined) return false
    if (block.destroyed.includes(index)) {
      await blocks.cutOff(block)
      return false
    }
    const keys = await blocks.unwrap(block)
    const bytes = Uint8Array.from(keys).fill(0, index * KEY_BYTES, (index + 1) * KEY_BYTES)
    const rest = { generation: block.generation, destroyed: [...block.destroyed, index] }
    try {
      await blocks.cutOff(await blocks.write(id, block.revision, bytes, rest))
      return true
    } catch (error) {
      if (!(error instanceof WrongExpectedRevision)) throw error
    }
  }
}
