/**
 * How far mails have been sent, and who is sending: the newest event of `mailCheckpoint-<name>`. It is replaced only where
 * nobody else has replaced it since (the append's expected revision), so of two processes that want to send one gets to.
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
  /** Events up to there whose mails are still to be sent. */
  readonly unsent: readonly EventPlace[]
  /** The process that is sending, if any is. */
  readonly holder: string | null
}

/** A checkpoint as it is stored; `undefined` before the first. */
export interface StoredMailCheckpoint {
  readonly checkpoint: MailCheckpoint | undefined
  /** Of the stream: what the next write expects. */
  readonly revision: number | 'no_stream'
  /** Where the checkpoint itself stands. */
  readonly ownPlace?: EventPlace
}

export interface MailCheckpointStream {
  /** @throws EventStoreUnavailable */
  load(): Promise<StoredMailCheckpoint>
  /**
   * Replaces what is at `revision`; gives the new revision, or undefined where another process came first.
   * @param id the event's: the same for a repetition, of which the outcome is the original's
   * @throws EventStoreUnavailable the outcome is unknown: repeat it
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

/** An earlier release has written the position alone. */
function read({ commit, prepare, id = '', stream = '', revision = -1 }: Written): EventPlace {
  return { position: { commit: BigInt(commit), prepare: BigInt(prepare) }, id, stream, revision }
}
