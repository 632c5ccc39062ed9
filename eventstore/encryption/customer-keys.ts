/**
 * The keys that personal fields are encrypted with: one for each customer, and one for each address that is no customer's.
 * They lie in the key store, an event store beside the log or the log itself, wrapped by a master key.
 *
 * Keys come in blocks, `customerKeys-<block>`, of 64 ids each, all made when the first of them is needed: so most
 * registrations need no write here, and whoever follows the log has one look-up for 64 customers at most. An address's block,
 * `customerKeys-of-<hash>`, is its own. A key is destroyed by writing the block anew without it and cutting the stream off before that.
 *
 * A customer's key comes once; an address's is made anew when it is needed again, as the next generation.
 */
import { randomBytes } from 'node:crypto'
import { ConfigurationError } from '../../runtime/errors.ts'
import { inBatches } from '../../runtime/in-batches.ts'
import { type EventStore, EventStoreUnavailable, InvalidArgument, WrongExpectedRevision } from '../port.ts'
import {
  type Block,
  type BlockId,
  type Blocks,
  type CustomerKey,
  createBlocks,
  knownKey,
  streamOfBlock,
} from './blocks.ts'
import { createKeyBlocks, type KeyBlocks } from './key-blocks.ts'
import { checkTogether, nameEachOther } from './key-store-identity.ts'
import { KEY_BYTES, type Key } from './keys.ts'
import type { MasterKeys } from './master-key.ts'
import { rotateMasterKey, statusOf } from './rotation.ts'

/** Whose key it is: a customer's id in decimal digits, or the keyed hash of an address. */
export type Subject = string

export interface CustomerKeys {
  /** The log as it is stored. */
  readonly log: EventStore
  /** Where the keys lie. */
  readonly keyStore: EventStore
  /**
   * Whether key store, log and master key belong together, and the key store is no older than the log.
   * @throws ConfigurationError where they do not; EventStoreUnavailable
   */
  check(): Promise<void>
  /** A key that is in memory. */
  peek(subject: Subject): CustomerKey | undefined
  /**
   * Brings keys into memory.
   * @param maxAge what was read longer ago is read again, in milliseconds: another process may have destroyed it
   * @throws EventStoreUnavailable, also for a key that ought to be there and is not
   */
  load(subjects: Iterable<Subject>, maxAge?: number): Promise<void>
  /** The key to write with, if it is in memory and certain to be the newest. An address's is not: see `toWrite`. */
  peekToWrite(subject: Subject): Key | undefined
  /** The key to write with, made where there is none yet; undefined for a customer whose key was destroyed. @throws EventStoreUnavailable */
  toWrite(subject: Subject): Promise<Key | undefined>
  /** Brings all keys into memory, as far as they have room, in the order of the key store's log. @throws EventStoreUnavailable */
  loadAll(): Promise<void>
  /**
   * Destroys a key for good: nothing that was encrypted with it can be read again. Nothing where there is none.
   * @returns whether there was one
   * @throws EventStoreUnavailable
   */
  destroy(subject: Subject): Promise<boolean>
  /** Whether a key was there and has been destroyed, as the key store says now. @throws EventStoreUnavailable */
  isDestroyed(subject: Subject): Promise<boolean>
  /**
   * Wraps all blocks with the current master key that another one has wrapped. No customer's key changes, and no event.
   * @returns how many blocks there are, and were wrapped anew
   * @throws EventStoreUnavailable; ConfigurationError for a block that none of the master keys unwraps
   */
  rotate(report?: (done: number) => void): Promise<{ readonly blocks: number; readonly rewrapped: number }>
  /** How many blocks each master key has wrapped, by its id, and how many keys were destroyed. @throws EventStoreUnavailable */
  status(): Promise<{ readonly blocks: ReadonlyMap<string, number>; readonly destroyed: number }>
  /**
   * For a key store that was lost but for an older backup: what it lacks is lost for good. The customers whose keys are
   * missing count as erased from now on, as though their keys had been destroyed.
   * @returns how many blocks of keys were missing
   * @throws EventStoreUnavailable
   */
  giveUpMissing(): Promise<number>
  close(): Promise<void>
}

/** A log whose personal fields are encrypted on their way in. A store that wraps it by `{ ...log }` is one too. */
export interface EncryptedLog extends EventStore {
  readonly keys: CustomerKeys
}

export const hasKeys = (eventStore: EventStore): eventStore is EncryptedLog =>
  (eventStore as Partial<EncryptedLog>).keys !== undefined

/**
 * The keys of a log whose personal data is to be erased.
 * @throws InvalidArgument for a store without keys: nothing of it could be destroyed, and nobody may take it for erased
 */
export function keysOf(eventStore: EventStore): CustomerKeys {
  if (!hasKeys(eventStore)) throw new InvalidArgument('This event store has no keys: it can not erase anybody.')
  return eventStore.keys
}

/** Customers that share a block of keys. */
const BLOCK = 64

/** Where a key lies: in which block, its number in it, and how many keys the block has. */
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

/** A customer's id, 1 to 16 digits without a zero before them. By hand: it is asked for each event. */
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

export interface CustomerKeysOptions {
  /** Where it is chosen which key store has the keys of its customers. */
  readonly log: EventStore
  /** Closed with the keys. */
  readonly keyStore: EventStore
  readonly masterKeys: MasterKeys
}

export function createCustomerKeys(options: CustomerKeysOptions): CustomerKeys {
  const { log, keyStore, masterKeys } = options
  const blocks = createBlocks(keyStore, masterKeys)
  /** Blocks under way to be made. */
  const making = new Map<BlockId, Promise<Block>>()
  /** In the log itself keys and what they encrypt are of the same moment. */
  const record = keyStore === log ? undefined : createKeyBlocks({ log, keyStore, size: BLOCK })
  const checked = once(async () => {
    await checkTogether(options, blocks)
    await checkAge(record)
  })
  /** Before the first key is made: log and key store are to know each other. */
  const begun = once(async () => {
    await checked.run()
    await nameEachOther(options)
  })

  // A restored key store may lack the newest keys: what is encrypted with one of them could never be read again.
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
      .then(() => makeBlock(blocks, block, size, typeof block === 'number' ? () => record?.record(block) : undefined))
      .finally(() => making.delete(block))
    making.set(block, started)
    return started
  }

  return {
    log,
    keyStore,
    check: checked.run,

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

    async isDestroyed(subject) {
      const { block, index } = placeOf(subject)
      await checked.run()
      return (await blocks.read(block))?.destroyed.includes(index) ?? false
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
    `KEYS_URL: the key store is older than this log and lacks ${missing.map(streamOfBlock).join(', ')}: restore a newer backup of it. Where there is none, npm run keys -- accept store gives up these customers, who count as erased from then on.`,
  )
}

/** Work that is done once; again after it has failed, or was reset. */
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

/** Brings a block into memory, unwrapped; again where it was read longer than `maxAge` milliseconds ago. */
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

/** Brings all blocks into memory, as far as they have room. */
async function rememberAll(blocks: Blocks): Promise<void> {
  for await (const { id, revision, data } of blocks.all()) {
    blocks.remember(id, revision, data)
    if (blocks.isFull()) return
  }
}

/**
 * The block that has the key, made where there is none, and made anew for an address whose key was destroyed.
 * @param beforeMade awaited before a block is written
 */
async function makeBlock(
  blocks: Blocks,
  id: BlockId,
  size: number,
  beforeMade: (() => Promise<void> | undefined) | undefined,
): Promise<Block> {
  for (;;) {
    const found = await blocks.read(id)
    if (found && !(size === 1 && found.destroyed.length > 0)) return found
    const rest = { generation: found ? found.generation + 1 : 0, destroyed: [] }
    await beforeMade?.()
    try {
      return await blocks.write(id, found?.revision ?? 'no_stream', randomBytes(size * KEY_BYTES), rest)
    } catch (error) {
      if (!(error instanceof WrongExpectedRevision)) throw error // another process was first
    }
  }
}

/** Writes a block of which every key counts as destroyed. */
async function writeDestroyed(blocks: Blocks, block: number): Promise<void> {
  const destroyed = Array.from({ length: BLOCK }, (_, index) => index)
  const noKeys = new Uint8Array(BLOCK * KEY_BYTES)
  await blocks.write(block, 'no_stream', noKeys, { generation: 0, destroyed })
}

/** Writes the block anew without the key, and cuts off what was before. @returns whether there was one */
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
