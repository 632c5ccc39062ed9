/**
 * How far mails have been sent, and who is sending: the newest event of `mailCheckpoint-<name>`. It is replaced only where
 * nobody else has replaced it since (the append's expected revision), so of two processes that want to send one gets to.
 */
import { chained } from '../eventstore/chain.ts'
import { decode, encode } from '../eventstore/codec.ts'
import { type EventStore, type Position, StreamNotFound, WrongExpectedRevision } from '../eventstore/port.ts'
import type { MailEvent } from '../schema/events.ts'

export interface Checkpoint {
  /** Everything up to here has been looked at. */
  readonly position: Position
  /** Events up to there whose mails are still to be sent. */
  readonly unsent: readonly Position[]
  /** The process that is sending, if any is. */
  readonly holder: string | null
}

/** A checkpoint as it is stored; `undefined` before the first. */
export interface StoredCheckpoint {
  readonly checkpoint: Checkpoint | undefined
  /** Of the stream: what the next write expects. */
  readonly revision: number | 'no_stream'
}

export interface CheckpointStream {
  /** @throws EventStoreUnavailable */
  load(): Promise<StoredCheckpoint>
  /**
   * Replaces what is at `revision`; gives the new revision, or undefined where another process came first.
   * @param id the event's: the same for a repetition, of which the outcome is the original's
   * @throws EventStoreUnavailable the outcome is unknown: repeat it
   */
  replace(revision: StoredCheckpoint['revision'], checkpoint: Checkpoint, id: string): Promise<number | undefined>
}

/** @param name of the mail workers that share the work */
export function checkpointStream(eventStore: EventStore, name: string): CheckpointStream {
  const stream = `mailCheckpoint-${name}`
  let limited = false

  /** Of these events only the newest is of use. */
  async function limit(): Promise<void> {
    if (limited) return
    const metadata = await eventStore.getStreamMetadata(stream)
    if (metadata.$maxCount !== 1) await eventStore.setStreamMetadata(stream, { ...metadata, $maxCount: 1 })
    limited = true
  }

  return {
    async load() {
      try {
        for await (const event of eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 })) {
          const { commit, prepare, unsent, holder } = decode<MailEvent>(event).data
          const checkpoint = { position: read({ commit, prepare }), unsent: unsent.map(read), holder }
          return { checkpoint, revision: event.revision }
        }
      } catch (error) {
        if (!(error instanceof StreamNotFound)) throw error
      }
      return { checkpoint: undefined, revision: 'no_stream' }
    },

    async replace(revision, { position, unsent, holder }, id) {
      await limit()
      const data = { ...written(position), unsent: unsent.map(written), holder }
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

const written = ({ commit, prepare }: Position) => ({ commit: String(commit), prepare: String(prepare) })
const read = ({ commit, prepare }: ReturnType<typeof written>): Position => ({
  commit: BigInt(commit),
  prepare: BigInt(prepare),
})
