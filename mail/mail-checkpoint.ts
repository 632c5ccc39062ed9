/**
 * How far mails have been sent, and which process sends: the newest event of `mailCheckpoint-<name>`. The append's
 * expected revision makes each replacement a compare-and-set, so of two processes that want to send, one succeeds.
 */

import { decode, encode } from '../eventstore/codec.ts'
import { type EventPlace, placeOf } from '../eventstore/event-place.ts'
import { chained } from '../eventstore/hash-chain.ts'
import { type EventStore, WrongExpectedRevision } from '../eventstore/port.ts'
import { keepNewest, orNone } from '../eventstore/read.ts'
import type { MailEvent } from '../schema/events.ts'
import { streamOf } from '../schema/streams.ts'

export interface MailCheckpoint {
  /** Everything up to this event has been read. */
  readonly place: EventPlace
  /** Events up to that one whose mails are still unsent. */
  readonly unsent: readonly EventPlace[]
  /** The process that is sending, if any is. */
  readonly holder: string | null
}

/** A checkpoint as it is stored; `undefined` before the first. */
export interface StoredMailCheckpoint {
  readonly checkpoint: MailCheckpoint | undefined
  /** The revision of the stream, which the next write expects. */
  readonly revision: number | 'no_stream'
  /** The place of the checkpoint event itself. */
  readonly ownPlace?: EventPlace
}

export interface MailCheckpointStream {
  /** @throws EventStoreUnavailable */
  load(): Promise<StoredMailCheckpoint>
  /**
   * Replaces the checkpoint at `revision`. Returns the new revision, or undefined if another process came first.
   * @param id the id of the event; a repetition with the same id has the outcome of the original
   * @throws EventStoreUnavailable the outcome is unknown: call it again
   */
  replace(
    revision: StoredMailCheckpoint['revision'],
    checkpoint: MailCheckpoint,
    id: string,
  ): Promise<number | undefined>
}

/** @param name of the mail workers that share the work */
export function checkpointStream(eventStore: EventStore, name: string): MailCheckpointStream {
  const stream = streamOf.mailCheckpoint(name)
  const limit = keepNewest(eventStore, stream)

  return {
    async load() {
      for await (const event of orNone(eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 }))) {
        const { unsent, holder, ...place } = decode<MailEvent>(event).data
        const checkpoint = { place: read(place), unsent: unsent.map(read), holder }
        return { checkpoint, revision: event.revision, ownPlace: placeOf(event) }
      }
      return { checkpoint: undefined, revision: 'no_stream' }
    },

    async replace(revision, { place, unsent, holder }, id) {
      await limit()
      const data = { ...written(place), unsent: unsent.map(written), holder }
      const at = new Date().toISOString()
      const metadata = { $correlationId: id, $causationId: id, actor: 'mail', at }
      const event = encode({ type: 'MailCheckpointSet', data }, id, metadata)
      try {
        return (await chained(eventStore).append(stream, [event], { expected: revision })).revision
      } catch (error) {
        if (error instanceof WrongExpectedRevision) return undefined
        throw error
      }
    },
  }
}

type Written = Omit<Extract<MailEvent, { type: 'MailCheckpointSet' }>['data'], 'unsent' | 'holder'>

function written({ position: { commit, prepare }, id, stream, revision }: EventPlace): Written {
  const event = id === '' ? {} : { id, stream, revision }
  return { commit: String(commit), prepare: String(prepare), ...event }
}

/** Earlier releases wrote the position alone. */
function read({ commit, prepare, id = '', stream = '', revision = -1 }: Written): EventPlace {
  return { position: { commit: BigInt(commit), prepare: BigInt(prepare) }, id, stream, revision }
}
