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
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { ConfigurationError } from '../../runtime/configuration.ts'
import { AT_ONCE, inTurns } from '../../runtime/in-turns.ts'
import type { KeyEvent } from '../../schema/events.ts'
import { encode } from '../codec.ts'
import { createKeyBlocks } from '../key-blocks.ts'
import { type EventStore, EventStoreUnavailable, type RecordedEvent, WrongExpectedRevision } from '../port.ts'
import { newestEvent } from '../read.ts'
import { KEY_BYTES } from './aes-gcm.ts'
import type { MasterKeys } from './master-key.ts'

/** What the names of the blocks' streams begin with. */
const KEY_STREAMS = 'customerKeys-'

/** Whose key it is: a customer's id in decimal digits, or the keyed hash of an address. */
export type Subject = string

export interface CustomerKey {
  readonly generation: number
  /** undefined: destroyed. */
  readonly key: KeyObject | undefined
  /** The key itself, for another thread. */
  readonly bytes?: Uint8Array
}

/** One that has not been destroyed. */
export type WritingKey = CustomerKey & { readonly key: KeyObject }

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
  /** The key to write with, made where there is none yet; undefined for a customer whose key was destroyed. @throws EventStoreUnavailable */
  toWrite(subject: Subject): Promise<WritingKey | undefined>
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

type MasterKeySet = Extract<KeyEvent, { type: 'MasterKeySet' }>

const BLOCK = 64
/** 1.3 million customers: some 50 MB. */
const CACHED_BLOCKS = 20_000
const IDENTITY = 'keyStore'
const CHOICE = 'keyStoreOfLog'

interface Block {
  readonly revision: number
  readonly generation: number
  readonly masterKeyId: string
  readonly wrapped: string
  readonly destroyed: readonly number[]
  /** When it was read (performance.now). */
  readonly readAt: number
  /** Unwrapped, once it was needed. */
  bytes?: Uint8Array
  readonly keys: (KeyObject | undefined)[]
}

/** Where a key lies. */
function placeOf(subject: Subject): { readonly stream: string; readonly index: number; readonly size: number } {
  if (!isCustomer(subject)) return { stream: `${KEY_STREAMS}of-${subject}`, index: 0, size: 1 }
  const id = Number(subject)
  return { stream: streamOfBlock(blockOf(subject)), index: id % BLOCK, size: BLOCK }
}

const blockOf = (subject: Subject) => Math.floor(Number(subject) / BLOCK)
const streamOfBlock = (block: number) => `${KEY_STREAMS}${block}`
const isCustomer = (subject: Subject) => /^[1-9]\d{0,15}$/.test(subject)

/**
 * @param options.log where it is chosen which key store has the keys of its customers
 * @param options.keyStore closed with the keys
 */
export function createCustomerKeys(options: {
  readonly log: EventStore
  readonly keyStore: EventStore
  readonly masterKeys: MasterKeys
}): CustomerKeys {
  const { log, keyStore, masterKeys } = options
  const [current] = masterKeys
  const blocks = new LRUCache<string, Block>({ max: CACHED_BLOCKS })
  /** Reads under way. */
  const reading = new Map<string, Promise<Block | undefined>>()
  /** Blocks under way to be made. */
  const making = new Map<string, Promise<Block>>()
  /** In the log itself keys and what they encrypt are of the same moment. */
  const record = keyStore === log ? undefined : createKeyBlocks({ log, keyStore, streamOf: streamOfBlock, size: BLOCK })
  let checked: Promise<void> | undefined
  let begun: Promise<void> | undefined

  // A restored key store may lack the newest keys: what is encrypted with one of them could never be read again.
  const forget = () => {
    blocks.clear()
    checked = undefined
    begun = undefined
  }
  keyStore.onDisconnect?.(forget)
  if (log !== keyStore) log.onDisconnect?.(forget)

  function check(): Promise<void> {
    checked ??= checkTogether()
      .then(checkAge)
      .catch((error: unknown) => {
        checked = undefined
        throw error
      })
    return checked
  }

  async function checkTogether(): Promise<void> {
    const identity = await newestEvent<KeyEvent>(keyStore, IDENTITY)
    const choice = await newestEvent<KeyEvent>(log, CHOICE)
    if (identity === undefined) {
      if (choice === undefined) return // there are no keys yet
      throw new ConfigurationError('KEYS_URL: the key store is empty, but this log has one with its keys already.')
    }
    // The log names its key store before the first key is made.
    if (choice === undefined && keyStore !== log) {
      for await (const _ of allBlocks()) {
        throw new ConfigurationError(
          'KEYS_URL: the key store has the keys of a log, but this log is new: the log was lost, or is another one. Restore it, or begin a new one on purpose with a new key store.',
        )
      }
    }
    checkIdentity(identity)
    checkChoice(identity, choice)
  }

  async function checkAge(): Promise<void> {
    const missing = await record?.missing('newest')
    if (!missing?.length) return
    throw new ConfigurationError(
      `KEYS_URL: the key store is older than this log and lacks ${missing.map(streamOfBlock).join(', ')}: restore a newer backup of it. Where there is none, npm run keys -- accept store gives up these customers, who count as erased from then on.`,
    )
  }

  function checkIdentity(identity: KeyEvent): asserts identity is MasterKeySet {
    if (identity.type !== 'MasterKeySet') throw new Error(`The stream ${IDENTITY} holds something else.`)
    const { masterKeyId } = identity.data
    if (!masterKeys.some(({ id }) => id === masterKeyId)) {
      throw new ConfigurationError(
        `MASTER_KEY: the keys are wrapped by the master key ${masterKeyId}, which is not configured (${masterKeys.map(({ id }) => id).join(', ')} is); for a rotation it goes into MASTER_KEY_PREVIOUS.`,
      )
    }
  }

  function checkChoice({ data }: MasterKeySet, choice: KeyEvent | undefined): void {
    if (choice === undefined) return // cut off between the two, or nothing has been encrypted in this log
    if (choice.type !== 'KeyStoreChosen' || choice.data.keyStoreId !== data.keyStoreId) {
      throw new ConfigurationError('KEYS_URL: the key store is that of another log.')
    }
  }

  /** Before the first key is made: log and key store are to know each other. */
  function begin(): Promise<void> {
    begun ??= (async () => {
      await check()
      const data = { keyStoreId: crypto.randomUUID(), masterKeyId: current.id }
      const identity = await appendOnce(keyStore, IDENTITY, { type: 'MasterKeySet', data })
      checkIdentity(identity)
      const { keyStoreId } = identity.data
      checkChoice(identity, await appendOnce(log, CHOICE, { type: 'KeyStoreChosen', data: { keyStoreId } }))
    })().catch((error: unknown) => {
      begun = undefined
      throw error
    })
    return begun
  }

  function take(stream: string, revision: number, data: Omit<Block, 'revision' | 'readAt' | 'keys'>): Block {
    const known = blocks.peek(stream)
    if (known && known.revision > revision) return known
    const { generation, masterKeyId, wrapped, destroyed } = data
    const block: Block = { revision, generation, masterKeyId, wrapped, destroyed, readAt: performance.now(), keys: [] }
    // Unwrapped already: the same keys, but for those destroyed since.
    if (known?.bytes && known.revision === revision) Object.assign(block, { bytes: known.bytes, keys: known.keys })
    blocks.set(stream, block)
    return block
  }

  /** As it is in the store now; undefined where there is none. */
  function read(stream: string): Promise<Block | undefined> {
    const underWay = reading.get(stream)
    if (underWay) return underWay
    const started = newestEvent<KeyEvent>(keyStore, stream)
      .then((event) => (event?.type === 'CustomerKeysSet' ? take(stream, event.revision, event.data) : undefined))
      .finally(() => reading.delete(stream))
    reading.set(stream, started)
    return started
  }

  /** @throws ConfigurationError where none of the master keys fits; EventStoreUnavailable where unwrapping fails */
  async function unwrap(stream: string, block: Block): Promise<Uint8Array> {
    if (block.bytes) return block.bytes
    const masterKey = masterKeys.find(({ id }) => id === block.masterKeyId)
    if (masterKey === undefined) {
      throw new ConfigurationError(`MASTER_KEY: ${stream} is wrapped by ${block.masterKeyId}, which is not configured.`)
    }
    try {
      block.bytes = await masterKey.unwrap(Buffer.from(block.wrapped, 'base64'), stream)
    } catch (error) {
      throw new EventStoreUnavailable(`${stream} can't be unwrapped: ${(error as Error).message}.`)
    }
    return block.bytes
  }

  function keyOf(block: Block, index: number): CustomerKey {
    const { generation } = block
    if (block.destroyed.includes(index)) return { generation, key: undefined }
    const bytes = block.bytes?.subarray(index * KEY_BYTES, (index + 1) * KEY_BYTES) as Uint8Array
    return {
      generation,
      bytes,
      get key() {
        block.keys[index] ??= createSecretKey(bytes)
        return block.keys[index]
      },
    }
  }

  async function write(
    stream: string,
    expected: number | 'no_stream',
    bytes: Uint8Array,
    rest: { readonly generation: number; readonly destroyed: readonly number[] },
  ): Promise<Block> {
    const wrapped = Buffer.from(await current.wrap(bytes, stream)).toString('base64')
    const data = { generation: rest.generation, masterKeyId: current.id, wrapped, destroyed: [...rest.destroyed] }
    const { revision } = await keyStore.append(stream, [encoded({ type: 'CustomerKeysSet', data })], { expected })
    const block = take(stream, revision, data)
    if (block.revision === revision) block.bytes = bytes
    return block
  }

  /** What was before the block's newest event is not to be read again. @throws EventStoreUnavailable */
  async function cutOff(stream: string, { revision }: Block): Promise<void> {
    if (revision === 0) return
    const { $tb = 0 } = await keyStore.getStreamMetadata(stream)
    if ($tb < revision) await keyStore.setStreamMetadata(stream, { $tb: revision })
  }

  function make(subject: Subject): Promise<Block> {
    const { stream, size } = placeOf(subject)
    const underWay = making.get(stream)
    if (underWay) return underWay
    const started = (async () => {
      await begin()
      for (;;) {
        const found = await read(stream)
        if (found && !(size === 1 && found.destroyed.length > 0)) return found
        const rest = { generation: found ? found.generation + 1 : 0, destroyed: [] }
        if (isCustomer(subject)) await record?.record(blockOf(subject))
        try {
          return await write(stream, found?.revision ?? 'no_stream', randomBytes(size * KEY_BYTES), rest)
        } catch (error) {
          if (!(error instanceof WrongExpectedRevision)) throw error // another process was first
        }
      }
    })().finally(() => making.delete(stream))
    making.set(stream, started)
    return started
  }

  async function* allBlocks(): AsyncGenerator<RecordedEvent> {
    const events = keyStore.readAll({ filter: { streamPrefixes: [KEY_STREAMS] } })
    for await (const event of events) if (event.type === 'CustomerKeysSet') yield event
  }

  /** @returns whether it was wrapped by another master key */
  async function rewrap(stream: string): Promise<boolean> {
    for (;;) {
      const block = await read(stream)
      if (block === undefined) return false
      if (block.masterKeyId === current.id) {
        await cutOff(stream, block) // an earlier rotation may have been cut short here
        return false
      }
      try {
        await cutOff(stream, await write(stream, block.revision, await unwrap(stream, block), block))
        return true
      } catch (error) {
        if (!(error instanceof WrongExpectedRevision)) throw error
      }
    }
  }

  return {
    log,
    keyStore,
    check,

    peek(subject) {
      const { stream, index } = placeOf(subject)
      const block = blocks.get(stream)
      return block?.bytes || block?.destroyed.includes(index) ? keyOf(block, index) : undefined
    },

    async load(subjects, maxAge = Number.POSITIVE_INFINITY) {
      const streams = new Set<string>()
      for (const subject of subjects) streams.add(placeOf(subject).stream)
      await check()
      await inTurns([...streams], async (stream) => {
        const known = blocks.get(stream)
        const block = known && performance.now() - known.readAt <= maxAge ? known : await read(stream)
        if (block === undefined) throw new EventStoreUnavailable(`The key store has no ${stream}: keys are missing.`)
        await unwrap(stream, block)
      })
    },

    async toWrite(subject) {
      const { stream, index } = placeOf(subject)
      let block = blocks.get(stream)
      if (block === undefined || block.destroyed.includes(index)) block = await make(subject)
      await unwrap(stream, block)
      const { generation, key } = keyOf(block, index)
      return key && { generation, key }
    },

    async loadAll() {
      await check()
      for await (const event of allBlocks()) {
        take(event.stream, event.revision, event.data as unknown as Block)
        if (blocks.size === CACHED_BLOCKS) return
      }
    },

    async destroy(subject) {
      const { stream, index } = placeOf(subject)
      await check()
      for (;;) {
        const block = await read(stream)
        if (block === undefined) return false
        if (block.destroyed.includes(index)) {
          await cutOff(stream, block)
          return false
        }
        const bytes = Uint8Array.from(await unwrap(stream, block)).fill(0, index * KEY_BYTES, (index + 1) * KEY_BYTES)
        const rest = { generation: block.generation, destroyed: [...block.destroyed, index] }
        try {
          await cutOff(stream, await write(stream, block.revision, bytes, rest))
          return true
        } catch (error) {
          if (!(error instanceof WrongExpectedRevision)) throw error
        }
      }
    },

    async isDestroyed(subject) {
      const { stream, index } = placeOf(subject)
      await check()
      return (await read(stream))?.destroyed.includes(index) ?? false
    },

    async rotate(report = () => {}) {
      await check()
      const seen = new Set<string>()
      let rewrapped = 0
      let pending: string[] = []
      const finish = async () => {
        const done = await inTurns(pending, rewrap)
        rewrapped += done.filter(Boolean).length
        pending = []
        report(seen.size)
      }
      for await (const { stream } of allBlocks()) {
        if (seen.has(stream)) continue
        seen.add(stream)
        pending.push(stream)
        if (pending.length === AT_ONCE) await finish()
      }
      await finish()
      await setMasterKey()
      return { blocks: seen.size, rewrapped }
    },

    async status() {
      const found = new Map<string, { masterKeyId: string; destroyed: number }>()
      for await (const event of allBlocks()) {
        const { masterKeyId, destroyed } = event.data as unknown as Block
        found.set(event.stream, { masterKeyId, destroyed: destroyed.length })
      }
      const counts = new Map<string, number>()
      let destroyed = 0
      for (const block of found.values()) {
        counts.set(block.masterKeyId, (counts.get(block.masterKeyId) ?? 0) + 1)
        destroyed += block.destroyed
      }
      return { blocks: counts, destroyed }
    },

    async giveUpMissing() {
      await checkTogether()
      const missing = (await record?.missing('all')) ?? []
      const destroyed = Array.from({ length: BLOCK }, (_, index) => index)
      for (const block of missing) {
        await write(streamOfBlock(block), 'no_stream', new Uint8Array(BLOCK * KEY_BYTES), { generation: 0, destroyed })
      }
      checked = undefined
      return missing.length
    },

    close: () => keyStore.close(),
  }

  /** From now on the current master key is the one that everybody must have. */
  async function setMasterKey(): Promise<void> {
    const last = await newestEvent<KeyEvent>(keyStore, IDENTITY)
    if (last?.type !== 'MasterKeySet' || last.data.masterKeyId === current.id) return
    const data = { keyStoreId: last.data.keyStoreId, masterKeyId: current.id }
    await keyStore.append(IDENTITY, [encoded({ type: 'MasterKeySet', data })], { expected: last.revision })
  }
}

function encoded(event: KeyEvent) {
  const id = crypto.randomUUID()
  return encode(event, id, { $correlationId: id, $causationId: id, actor: 'keys', at: new Date().toISOString() })
}

/** Writes a stream's first event where it has none. @returns the newest one that is there */
async function appendOnce(eventStore: EventStore, stream: string, event: KeyEvent): Promise<KeyEvent> {
  const there = await newestEvent<KeyEvent>(eventStore, stream)
  if (there) return there
  try {
    await eventStore.append(stream, [encoded(event)], { expected: 'no_stream' })
    return event
  } catch (error) {
    if (!(error instanceof WrongExpectedRevision)) throw error
  }
  return (await newestEvent<KeyEvent>(eventStore, stream)) ?? event
}
