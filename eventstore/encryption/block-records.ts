/**
 * The log records which blocks of keys were created for its customers, in the stream `customerKeyBlocks`, so that a key
 * store restored from an older backup is detected. Otherwise new keys would replace the missing ones, and events
 * encrypted with those could not be read any more, even after the right key store is restored.
 *
 * A block is recorded before it is created. So after a crash in between, it is recorded but does not exist; it counts
 * as missing only if one of its customers is in the log.
 */

import { endOfTurn } from '../../runtime/end-of-turn.ts'
import { inBatches } from '../../runtime/in-batches.ts'
import type { KeyEvent } from '../../schema/events.ts'
import { STREAM_NAMES, streamOf } from '../../schema/streams.ts'
import { decode, encode } from '../codec.ts'
import type { EventStore, NewEvent } from '../port.ts'
import { newestEvent, orGone, orNone } from '../read.ts'

const STREAM = STREAM_NAMES.keyBlocks
/** Blocks are created in sequence; several processes may be a few ahead of each other. */
const NEWEST = 20

export interface BlockRecords {
  /** Records that a block is about to be created. @throws EventStoreUnavailable */
  record(block: number): Promise<void>
  /**
   * The blocks that are missing from the key store.
   * @param scope `newest`: the blocks that an older backup lacks first; `all`: those of the whole log
   * @throws EventStoreUnavailable
   */
  missing(scope: 'newest' | 'all'): Promise<number[]>
}

function begun(block: number): NewEvent {
  const id = crypto.randomUUID()
  const metadata = { $correlationId: id, $causationId: id, actor: 'keys', at: new Date().toISOString() }
  const event: KeyEvent = { type: 'KeyBlockBegun', data: { block } }
  return encode(event, id, metadata)
}

/** @param options.size how many customers' ids are in a block */
export function createBlockRecords(options: {
  readonly log: EventStore
  readonly keyStore: EventStore
  readonly size: number
}): BlockRecords {
  const { log, keyStore, size } = options

  async function isMissing(block: number): Promise<boolean> {
    if (await newestEvent(keyStore, streamOf.keys(block))) return false
    const ids = Array.from({ length: size }, (_, index) => block * size + index)
    return (await inBatches(ids, isKnown)).includes(true)
  }

  async function isKnown(customerId: number): Promise<boolean> {
    for await (const _ of orGone(log.readStream(streamOf.customer(customerId), { maxCount: 1 }))) return true
    return false
  }

  /** Blocks to record at the end of this turn of the event loop: all in one append. */
  let waiting: number[] = []
  let recording: Promise<void> | undefined

  async function recordWaiting(): Promise<void> {
    const blocks = waiting
    waiting = []
    recording = undefined
    await log.append(STREAM, blocks.map(begun), { expected: 'any' })
  }

  return {
    record(block) {
      waiting.push(block)
      recording ??= endOfTurn().then(recordWaiting)
      return recording
    },

    async missing(scope) {
      const blocks = new Set<number>()
      const limit = scope === 'newest' ? { maxCount: NEWEST } : {}
      for await (const stored of orNone(log.readStream(STREAM, { direction: 'backwards', ...limit }))) {
        const { type, data } = decode<KeyEvent>(stored)
        if (type === 'KeyBlockBegun') blocks.add(data.block)
      }
      const known = [...blocks]
      const answers = await inBatches(known, isMissing)
      return known.filter((_, index) => answers[index]).sort((a, b) => a - b)
    },
  }
}
