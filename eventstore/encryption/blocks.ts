/** Blocks of keys: how they are stored in the key store, wrapped by a master key, and a cache of them. */

import { createSecretKey, type KeyObject } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { ConfigurationError } from '../../runtime/errors.ts'
import type { KeyEvent } from '../../schema/events.ts'
import { STREAM_PREFIXES } from '../../schema/streams.ts'
import { encode } from '../codec.ts'
import { type EventStore, EventStoreUnavailable, type RecordedEvent } from '../port.ts'
import { newestEvent } from '../read.ts'
import { KEY_BYTES } from './aes-gcm.ts'
import type { MasterKeys } from './master-key.ts'

/** How many blocks are cached: 1.3 million customers, about 50 MB. */
const CACHED_BLOCKS = 20_000

export interface CustomerKey {
  readonly generation: number
  /** undefined: destroyed. */
  readonly key: KeyObject | undefined
  /** The key itself, for another thread. */
  readonly bytes?: Uint8Array
}

export interface Block {
  readonly revision: number
  readonly generation: number
  readonly masterKeyId: string
  readonly wrapped: string
  readonly destroyed: readonly number[]
  /** When it was read (performance.now). */
  readonly readAt: number
  /** The unwrapped keys, once they were needed. */
  bytes?: Uint8Array
  readonly keys: (KeyObject | undefined)[]
}

/** A block as stored. */
export type BlockData = Omit<Block, 'revision' | 'readAt' | 'keys' | 'bytes'>

export interface Blocks {
  /** Returns a cached block. */
  known(stream: string): Block | undefined
  /** Whether the cache is full. */
  isFull(): boolean
  /** Caches a block that was read, unless a newer one is cached. @returns the cached one */
  remember(stream: string, revision: number, data: BlockData): Block
  /** Reads a block from the store; undefined if there is none. @throws EventStoreUnavailable */
  read(stream: string): Promise<Block | undefined>
  /**
   * The keys of a block. @throws ConfigurationError if none of the master keys fits; EventStoreUnavailable where
   * unwrapping fails
   */
  unwrap(stream: string, block: Block): Promise<Uint8Array>
  /**
   * Writes a block, wrapped by the current master key.
   * @throws WrongExpectedRevision if another process was first; EventStoreUnavailable
   */
  write(
    stream: string,
    expected: number | 'no_stream',
    bytes: Uint8Array,
    rest: { readonly generation: number; readonly destroyed: readonly number[] },
  ): Promise<Block>
  /** What was before the block's newest event is not to be read again. @throws EventStoreUnavailable */
  cutOff(stream: string, block: Block): Promise<void>
  /** The events of all blocks, oldest first. @throws EventStoreUnavailable */
  all(): AsyncGenerator<RecordedEvent>
  /** Clears the cache. */
  forget(): void
}

export function createBlocks(keyStore: EventStore, masterKeys: MasterKeys): Blocks {
  const [current] = masterKeys
  const blocks = new LRUCache<string, Block>({ max: CACHED_BLOCKS })
  /** Reads under way. */
  const reading = new Map<string, Promise<Block | undefined>>()

  function remember(stream: string, revision: number, data: BlockData): Block {
    const known = blocks.peek(stream)
    if (known && known.revision > revision) return known
    const { generation, masterKeyId, wrapped, destroyed } = data
    const block: Block = { revision, generation, masterKeyId, wrapped, destroyed, readAt: performance.now(), keys: [] }
    // Already unwrapped: the same keys, except those destroyed since.
    if (known?.bytes && known.revision === revision) Object.assign(block, { bytes: known.bytes, keys: known.keys })
    blocks.set(stream, block)
    return block
  }

  /** Reads a block from the store; undefined if there is none. */
  function read(stream: string): Promise<Block | undefined> {
    const underWay = reading.get(stream)
    if (underWay) return underWay
    const started = newestEvent<KeyEvent>(keyStore, stream)
      .then((event) => (event?.type === 'CustomerKeysSet' ? remember(stream, event.revision, event.data) : undefined))
      .finally(() => reading.delete(stream))
    reading.set(stream, started)
    return started
  }

  /** @throws ConfigurationError if no master key fits; EventStoreUnavailable if unwrapping fails */
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

  async function write(
    stream: string,
    expected: number | 'no_stream',
    bytes: Uint8Array,
    rest: { readonly generation: number; readonly destroyed: readonly number[] },
  ): Promise<Block> {
    const wrapped = Buffer.from(await current.wrap(bytes, stream)).toString('base64')
    const data = { generation: rest.generation, masterKeyId: current.id, wrapped, destroyed: [...rest.destroyed] }
    const { revision } = await keyStore.append(stream, [encoded({ type: 'CustomerKeysSet', data })], { expected })
    const block = remember(stream, revision, data)
    if (block.revision === revision) block.bytes = bytes
    return block
  }

  /** What was before the block's newest event is not to be read again. @throws EventStoreUnavailable */
  async function cutOff(stream: string, { revision }: Block): Promise<void> {
    if (revision === 0) return
    const { $tb = 0 } = await keyStore.getStreamMetadata(stream)
    if ($tb < revision) await keyStore.setStreamMetadata(stream, { $tb: revision })
  }

  return {
    known: (stream) => blocks.get(stream),
    isFull: () => blocks.size === CACHED_BLOCKS,
    remember,
    read,
    unwrap,
    write,
    cutOff,
    all: () => allBlocks(keyStore),
    forget: () => blocks.clear(),
  }
}

async function* allBlocks(keyStore: EventStore): AsyncGenerator<RecordedEvent> {
  const events = keyStore.readAll({ filter: { streamPrefixes: [STREAM_PREFIXES.keys] } })
  for await (const event of events) if (event.type === 'CustomerKeysSet') yield event
}

/** A key of a block that is unwrapped, or in which the key is destroyed. */
export function keyOf(block: Block, index: number): CustomerKey {
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

/** An event of the key store's own, ready to append. */
export function encoded(event: KeyEvent) {
  const id = crypto.randomUUID()
  return encode(event, id, { $correlationId: id, $causationId: id, actor: 'keys', at: new Date().toISOString() })
}
