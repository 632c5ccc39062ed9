/**
 * The log remembers which blocks of keys were made for its customers, in the stream `customerKeyBlocks`, so that a key store
 * that was restored from an older backup is noticed. Without it new keys would be made in the place of the missing ones:
 * then what the missing ones encrypted could not be read any more, not even once the right key store is back.
 *
 * A block is recorded before it is made. So one that was cut off in between is recorded and not there; it is missing only if
 * a customer of it is in the log.
 */

import { inBatches } from '../../runtime/in-batches.ts'
import type { KeyEvent } from '../../schema/events.ts'
import { STREAM_NAMES, streamOf } from '../../schema/streams.ts'
import { decode, encode } from '../codec.ts'
import type { EventStore } from '../port.ts'
import { newestEvent, orNone } from '../read.ts'

const STREAM = STREAM_NAMES.keyBlocks
/** Blocks are made one after the other; several processes may be ahead of each other by a few. */
const NEWEST = 20

export interface KeyBlocks {
  /** Notes that a block is going to be made. @throws EventStoreUnavailable */
  record(block: number): Promise<void>
  /**
   * Blocks that the key store ought to have and has not.
   * @param scope `newest`: what an older backup lacks first; `all`: of the whole log
   * @throws EventStoreUnavailable
   */
  missing(scope: 'newest' | 'all'): Promise<number[]>
}

/** @param options.size how many customers' ids are in a block */
export function createKeyBlocks(options: {
  readonly log: EventStore
  readonly keyStore: EventStore
  readonly size: number
}): KeyBlocks {
  const { log, keyStore, size } = options

  async function isMissing(block: number): Promise<boolean> {
    if (await newestEvent(keyStore, streamOf.keys(block))) return false
    const ids = Array.from({ length: size }, (_, index) => block * size + index)
    return (await inBatches(ids, isKnown)).includes(true)
  }

  async function isKnown(customerId: number): Promise<boolean> {
    for await (const _ of orNone(log.readStream(streamOf.customer(customerId), { maxCount: 1 }))) return true
    return false
  }

  return {
    async record(block) {
      const id = crypto.randomUUID()
      const metadata = { $correlationId: id, $causationId: id, actor: 'keys', at: new Date().toISOString() }
      const event: KeyEvent = { type: 'KeyBlockBegun', data: { block } }
      await log.append(STREAM, [encode(event, id, metadata)], { expected: 'any' })
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
