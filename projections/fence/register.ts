/**
 * The register: what the instances have agreed on about the read model, as the newest event of the stream
 * `readModelFence`. The append's expected revision makes each replacement a compare-and-set. For its purpose see
 * docs/read-your-writes.md.
 */

import { encode } from '../../eventstore/codec.ts'
import { chained } from '../../eventstore/hash-chain.ts'
import { type EventStore, WrongExpectedRevision } from '../../eventstore/port.ts'
import { keepNewest, newestEvent } from '../../eventstore/read.ts'
import type { FenceEvent } from '../../schema/events.ts'
import { STREAM_NAMES } from '../../schema/streams.ts'

type Data = FenceEvent['data']

/** See schema/events.ts for the fields. */
export interface Register extends Readonly<Data> {
  /** The revision of the stream, which the next write expects. */
  readonly revision: number | 'no_stream'
}

export const NO_REGISTER: Register = {
  revision: 'no_stream',
  trusted: [],
  settling: [],
  retired: [],
  contest: null,
  period: null,
  fences: [],
}

export interface RegisterStream {
  /** The newest state; `NO_REGISTER` before the first. @throws EventStoreUnavailable */
  load(): Promise<Register>
  /**
   * Replaces the loaded state.
   * @returns the stored state, or undefined if another instance came first
   * @throws EventStoreUnavailable the outcome is unknown
   */
  replace(loaded: Register, next: Register): Promise<Register | undefined>
}

const STREAM = STREAM_NAMES.readModelFence

export function registerStream(eventStore: EventStore): RegisterStream {
  const limit = keepNewest(eventStore, STREAM)

  return {
    async load() {
      const newest = await newestEvent<FenceEvent>(eventStore, STREAM)
      return newest ? { ...newest.data, revision: newest.revision } : NO_REGISTER
    },

    async replace(loaded, next) {
      await limit()
      const { revision: _, ...data } = next
      const id = crypto.randomUUID()
      const metadata = { $correlationId: id, $causationId: id, actor: 'read-model', at: new Date().toISOString() }
      const event = encode({ type: 'ReadModelFenceSet', data }, id, metadata)
      try {
        const { revision } = await chained(eventStore).append(STREAM, [event], { expected: loaded.revision })
        return { ...next, revision }
      } catch (error) {
        if (error instanceof WrongExpectedRevision) return undefined
        throw error
      }
    },
  }
}
