/** Blocks of keys: how they lie in the key store, wrapped by a master key, and those that are in memory. */

import { LRUCache } from 'lru-cache'
import { ConfigurationError } from '../../runtime/errors.ts'
import type { KeyEvent } from '../../schema/events.ts'
import { STREAM_PREFIXES, streamOf } from '../../schema/streams.ts'
import { encode } from '../codec.ts'
import { type EventStore, EventStoreUnavailable, type RecordedEvent } from '../port.ts'
import { newestEvent } from '../read.ts'
import { forgetKeysIn } from './aes-gcm.ts'
import { KEY_BYTES, type Key } from './keys.ts'
import type { MasterKeys } from './master-key.ts'

/** What the names of the blocks' streams begin with. */
const KEY_STREAMS = STREAM_PREFIXES.keys
/** What stands between that and the hash of an address, which has a block of its own. */
const OF_ADDRESS = 'of-'
/** 1.28 million customers. A block takes some 2.5 KB: its keys as bytes, and what is said of them. */
const CACHED_BLOCKS = 20_000

/** A block of customers' keys by its number; that of an address by its hash. */
export type BlockId = number | string

/** The stream that a block lies in. */
export const streamOfBlock = (block: BlockId): string =>
  streamOf.keys(typeof block === 'number' ? block : `${OF_ADDRESS}${block}`)

function blockOfStream(stream: string): BlockId {
  const rest = stream.slice(KEY_STREAMS.length)
  return rest.startsWith(OF_ADDRESS) ? rest.slice(OF_ADDRESS.length) : Number(rest)
}

/** A key; without its bytes where it was destroyed. */
export type CustomerKey = Key | { readonly generation: number; readonly bytes: undefined }

export interface Block {
  readonly id: BlockId
  readonly revision: number
  readonly generation: number
  readonly masterKeyId: string
  readonly destroyed: readonly number[]
  /** When it was read last (performance.now). */
  readAt: number
  /** As it is stored, until it is unwrapped: in memory of its own, which the keys come into. */
  wrapped: Buffer | undefined
  /** The keys, unwrapped once they were needed. Never changed. */
  bytes: Buffer | undefined
  /** Under way. */
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
  /** A block that is in memory. */
  known(id: BlockId): Block | undefined
  /** Whether memory has no room for more. */
  isFull(): boolean
  /** Keeps a block that was read in memory, unless a newer one is there. @returns the one that is there now */
  remember(id: BlockId, revision: number, data: BlockData): Block
  /** As it is in the store now; undefined where there is none. @throws EventStoreUnavailable */
  read(id: BlockId): Promise<Block | undefined>
  /** The keys of a block. @throws ConfigurationError where none of the master keys fits; EventStoreUnavailable where unwrapping fails */
  unwrap(block: Block): Promise<Buffer>
  /**
   * Writes a block, wrapped by the current master key.
   * @throws WrongExpectedRevision where another process was first; EventStoreUnavailable
   */
  write(
    id: BlockId,
    expected: number | 'no_stream',
    bytes: Uint8Array,
    rest: { readonly generation: number; readonly destroyed: readonly number[] },
  ): Promise<Block>
  /** What was before the block's newest event is not to be read again. @throws EventStoreUnavailable */
  cutOff(block: Block): Promise<void>
  /** All blocks as they are stored, oldest first; one that was written anew comes again. @throws EventStoreUnavailable */
  all(): AsyncGenerator<StoredBlock>
  /** Forgets what is in memory. */
  forget(): void
}

export function createBlocks(keyStore: EventStore, masterKeys: MasterKeys): Blocks {
  const [current] = masterKeys
  const blocks = new LRUCache<BlockId, Block>({ max: CACHED_BLOCKS })
  /** Reads under way. */
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

  /** As it is in the store now; undefined where there is none. */
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
      // A copy: what a client of a key management system may still hold must not become the keys.
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
    const wrapped = Buffer.from(await current.wrap(bytes, stream)).toString('base64')
    const data = { generation: rest.generation, masterKeyId: current.id, wrapped, destroyed: [...rest.destroyed] }
    const { revision } = await keyStore.append(stream, [encoded({ type: 'CustomerKeysSet', data })], { expected })
    const block = remember(id, revision, data)
    if (block.revision === revision) setBytes(block, bytes)
    return block
  }

  /** What was before the block's newest event is not to be read again. @throws EventStoreUnavailable */
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

/** What a buffer of Node's pool is a part of would stay as long as it: these have memory of their own. */
function ownBytes(base64: string): Buffer {
  const own = Buffer.allocUnsafeSlow(Buffer.byteLength(base64, 'base64'))
  return own.subarray(0, own.write(base64, 'base64'))
}

/** The keys come into the place of what they were wrapped in, which is a little longer: so a block never takes twice the memory. */
function setBytes(block: Block, bytes: Uint8Array): Buffer {
  const { wrapped } = block
  const room = wrapped && wrapped.length >= bytes.length ? wrapped : Buffer.allocUnsafeSlow(bytes.length)
  room.set(bytes)
  block.bytes = room.subarray(0, bytes.length)
  block.wrapped = undefined
  return block.bytes
}

async function* allBlocks(keyStore: EventStore): AsyncGenerator<StoredBlock> {
  const events: AsyncIterable<RecordedEvent> = keyStore.readAll({ filter: { streamPrefixes: [KEY_STREAMS] } })
  for await (const { type, stream, revision, data } of events) {
    if (type === 'CustomerKeysSet') yield { id: blockOfStream(stream), revision, data: data as unknown as BlockData }
  }
}

/** A key of a block, as far as it is known: undefined where the block is to be unwrapped first. */
export function knownKey({ generation, bytes, destroyed }: Block, index: number): CustomerKey | undefined {
  if (destroyed.length > 0 && destroyed.includes(index)) return { generation, bytes: undefined }
  return bytes && { generation, bytes, start: index * KEY_BYTES }
}

/** An event of the key store's own, ready to append. */
export function encoded(event: KeyEvent) {
  const id = crypto.randomUUID()
  return encode(event, id, { $correlationId: id, $causationId: id, actor: 'keys', at: new Date().toISOString() })
}
