/** Blocks of keys: how they are stored in the key store, wrapped by a master key, and which of them are cached in memory. */
import { boundedCache } from '../../runtime/bounded-cache.ts'
import { ConfigurationError } from '../../runtime/errors.ts'
import type { KeyEvent } from '../../schema/events.ts'
import { STREAM_PREFIXES, streamOf } from '../../schema/streams.ts'
import { encode } from '../codec.ts'
import { type EventStore, EventStoreUnavailable, type RecordedEvent } from '../port.ts'
import { newestEvent } from '../read.ts'
import { forgetKeysIn } from './aes-gcm.ts'
import { KEY_BYTES, type Key } from './keys.ts'
import type { MasterKey, MasterKeys } from './master-key.ts'

/** The key store was restored from an older backup than the log, which has events that such a key encrypted. */
export const missingKey = (block: BlockId): EventStoreUnavailable =>
  new EventStoreUnavailable(`The key store lacks a key of ${streamOfBlock(block)} that the log was encrypted with.`)

/** The prefix of the blocks' streams. */
const KEY_STREAMS = STREAM_PREFIXES.keys
/** Follows the prefix in the stream of an address, which has a block of its own. The hash of the address comes next. */
const OF_ADDRESS = 'of-'
/** Enough for 1.28 million customers. A block takes about 2.5 KB of memory. */
const CACHED_BLOCKS = 20_000

/** The number of a block of customers' keys, or the hash of an address. */
export type BlockId = number | string

/** The stream of a block. */
export const streamOfBlock = (block: BlockId): string =>
  streamOf.keys(typeof block === 'number' ? block : `${OF_ADDRESS}${block}`)

function blockOfStream(stream: string): BlockId {
  const rest = stream.slice(KEY_STREAMS.length)
  return rest.startsWith(OF_ADDRESS) ? rest.slice(OF_ADDRESS.length) : Number(rest)
}

/** A key; `bytes` is undefined if it was destroyed. */
export type CustomerKey = Key | { readonly generation: number; readonly bytes: undefined }

export interface Block {
  readonly id: BlockId
  readonly revision: number
  readonly generation: number
  readonly masterKeyId: string
  readonly destroyed: readonly number[]
  /** When it was last read, by `performance.now()`. */
  readAt: number
  /** The wrapped keys, until they are unwrapped. Not part of a shared pool, because the unwrapped keys replace them here. */
  wrapped: Buffer | undefined
  /** The keys, once they were needed and unwrapped. They never change. */
  bytes: Buffer | undefined
  /** Set while the keys are being unwrapped. */
  unwrapping: Promise<Buffer> | undefined
}

/** A block as it is stored. */
interface BlockData {
  readonly generation: number
  readonly masterKeyId: string
  readonly wrapped: string
  readonly destroyed: readonly number[]
}

/** An event of a block's stream. */
interface StoredBlock {
  readonly id: BlockId
  readonly revision: number
  readonly data: BlockData
}

export interface Blocks {
  /** The block, if it is in memory. */
  known(id: BlockId): Block | undefined
  /** Whether memory has no room for more. */
  isFull(): boolean
  /** Keeps a block in memory, unless a newer revision of it is there. @returns the newest one */
  remember(id: BlockId, revision: number, data: BlockData): Block
  /** Reads a block from the store. @returns undefined if it does not exist @throws EventStoreUnavailable */
  read(id: BlockId): Promise<Block | undefined>
  /**
   * The keys of a block.
   * @throws ConfigurationError if its master key is not configured; EventStoreUnavailable if unwrapping fails
   */
  unwrap(block: Block): Promise<Buffer>
  /**
   * Writes a block, wrapped by the current master key.
   * @throws WrongExpectedRevision if another process was faster; EventStoreUnavailable
   */
  write(
    id: BlockId,
    expected: number | 'no_stream',
    bytes: Uint8Array,
    rest: { readonly generation: number; readonly destroyed: readonly number[] },
  ): Promise<Block>
  /** Truncates the block's stream before its newest event. @throws EventStoreUnavailable */
  cutOff(block: Block): Promise<void>
  /** All blocks as they are stored, oldest first. A block that was rewritten comes again. @throws EventStoreUnavailable */
  all(): AsyncGenerator<StoredBlock>
  /** Empties the cache. */
  forget(): void
}

export function createBlocks(keyStore: EventStore, masterKeys: MasterKeys): Blocks {
  const [current] = masterKeys
  const blocks = boundedCache<BlockId, Block>(CACHED_BLOCKS)
  /** Reads in flight. */
  const reading = new Map<BlockId, Promise<Block | undefined>>()

  function remember(id: BlockId, revision: number, data: BlockData): Block {
    const known = blocks.peek(id)
    if (known && known.revision > revision) return known
    if (known?.revision === revision) {
      // The same object: others may be waiting for its keys to be unwrapped.
      known.readAt = performance.now()
      return known
    }
    const block: Block = {
      id,
      revision,
      generation: data.generation,
      masterKeyId: data.masterKeyId,
      destroyed: data.destroyed,
      readAt: performance.now(),
      wrapped: ownBytes(data.wrapped),
      bytes: undefined,
      unwrapping: undefined,
    }
    forgetKeysIn(known?.bytes)
    blocks.set(id, block)
    return block
  }

  function read(id: BlockId): Promise<Block | undefined> {
    const underWay = reading.get(id)
    if (underWay) return underWay
    const started = newestEvent<KeyEvent>(keyStore, streamOfBlock(id))
      .then((event) => (event?.type === 'CustomerKeysSet' ? remember(id, event.revision, event.data) : undefined))
      .finally(() => reading.delete(id))
    reading.set(id, started)
    return started
  }

  async function unwrap(block: Block): Promise<Buffer> {
    if (block.bytes) return block.bytes
    block.unwrapping ??= unwrapOnce(block).finally(() => {
      block.unwrapping = undefined
    })
    return block.unwrapping
  }

  async function unwrapOnce(block: Block): Promise<Buffer> {
    const stream = streamOfBlock(block.id)
    const masterKey = masterKeys.find(({ id }) => id === block.masterKeyId)
    if (masterKey === undefined) {
      throw new ConfigurationError(`MASTER_KEY: ${stream} is wrapped by ${block.masterKeyId}, which is not configured.`)
    }
    try {
      // A copy, because setBytes writes the keys into block.wrapped, which a KMS client may still hold.
      return setBytes(block, await masterKey.unwrap(Buffer.from(block.wrapped as Buffer), stream))
    } catch (error) {
      throw new EventStoreUnavailable(`${stream} can't be unwrapped: ${(error as Error).message}.`)
    }
  }

  async function write(
    id: BlockId,
    expected: number | 'no_stream',
    bytes: Uint8Array,
    rest: { readonly generation: number; readonly destroyed: readonly number[] },
  ): Promise<Block> {
    const stream = streamOfBlock(id)
    const wrapped = await wrap(current, bytes, stream)
    const data = { generation: rest.generation, masterKeyId: current.id, wrapped, destroyed: [...rest.destroyed] }
    const { revision } = await keyStore.append(stream, [encoded({ type: 'CustomerKeysSet', data })], { expected })
    const block = remember(id, revision, data)
    if (block.revision === revision) setBytes(block, bytes)
    return block
  }

  async function cutOff({ id, revision }: Block): Promise<void> {
    if (revision === 0) return
    const stream = streamOfBlock(id)
    const { $tb = 0 } = await keyStore.getStreamMetadata(stream)
    if ($tb < revision) await keyStore.setStreamMetadata(stream, { $tb: revision })
  }

  return {
    known: (id) => blocks.get(id),
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

/** @returns base64 @throws EventStoreUnavailable */
async function wrap(masterKey: MasterKey, bytes: Uint8Array, stream: string): Promise<string> {
  try {
    return Buffer.from(await masterKey.wrap(bytes, stream)).toString('base64')
  } catch (error) {
    throw new EventStoreUnavailable(`${stream} can't be wrapped: ${(error as Error).message}.`)
  }
}

/** Decodes into memory outside Node's buffer pool: one small buffer would keep its whole slab of the pool alive. */
function ownBytes(base64: string): Buffer {
  const own = Buffer.allocUnsafeSlow(Buffer.byteLength(base64, 'base64'))
  return own.subarray(0, own.write(base64, 'base64'))
}

/** Writes the unwrapped keys over the wrapped ones, which are slightly longer, so that a block never takes twice the memory. */
function setBytes(block: Block, bytes: Uint8Array): Buffer {
  const { wrapped } = block
  const room = wrapped && wrapped.length >= bytes.length ? wrapped : Buffer.allocUnsafeSlow(bytes.length)
  room.set(bytes)
  block.bytes = room.subarray(0, bytes.length)
  block.wrapped = undefined
  return block.bytes
}

/** See `Blocks.all`. */
export async function* allBlocks(keyStore: EventStore): AsyncGenerator<StoredBlock> {
  const events: AsyncIterable<RecordedEvent> = keyStore.readAll({ filter: { streamPrefixes: [KEY_STREAMS] } })
  for await (const { type, stream, revision, data } of events) {
    if (type === 'CustomerKeysSet') yield { id: blockOfStream(stream), revision, data: data as unknown as BlockData }
  }
}

/** A key of a block; undefined if the block has to be unwrapped first. */
export function knownKey({ generation, bytes, destroyed }: Block, index: number): CustomerKey | undefined {
  if (destroyed.length > 0 && destroyed.includes(index)) return { generation, bytes: undefined }
  return bytes && { generation, bytes, start: index * KEY_BYTES }
}

/** Encodes an event of the key store. */
export function encoded(event: KeyEvent) {
  const id = crypto.randomUUID()
  return encode(event, id, { $correlationId: id, $causationId: id, actor: 'keys', at: new Date().toISOString() })
}
