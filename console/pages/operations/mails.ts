/** What is known of the mails from what the mail workers store: their checkpoint. What they were refused is in their metrics alone. */
import { comparePositions, type EventStore } from '../../../eventstore/port.ts'
import { firstOf, logEnd, newestEvent } from '../../../eventstore/read.ts'
import type { MailEvent } from '../../../schema/events.ts'
import { MAIL_WORKERS, streamOf } from '../../../schema/streams.ts'

export interface MailState {
  /** The process that is sending; null: none is. */
  readonly holder: string | null
  /** When the checkpoint was stored. */
  readonly storedAt: Date
  /** Mails that are read and not sent. */
  readonly waiting: number
  /** When the oldest of them was asked for; undefined: none waits, or it is not known. */
  readonly oldest: Date | undefined
  /** Whether the checkpoint is at the end of the log; without new mails it is stored once a minute. */
  readonly isAtEnd: boolean
}

/** @returns undefined if no mail worker has ever stored anything @throws EventStoreUnavailable */
export async function readMailState(eventStore: EventStore): Promise<MailState | undefined> {
  const stored = await newestEvent<MailEvent>(eventStore, streamOf.mailCheckpoint(MAIL_WORKERS))
  if (stored === undefined) return undefined
  const { commit, prepare, unsent, holder } = stored.data
  const end = await logEnd(eventStore, { streamPrefixes: [streamOf.customer('')] })
  const [first] = unsent.toSorted((a, b) => Number(BigInt(a.commit) - BigInt(b.commit)))
  const { stream, revision } = first ?? {}
  const oldest =
    stream === undefined || revision === undefined
      ? undefined
      : await firstOf(eventStore.readStream(stream, { from: revision, maxCount: 1 }))
  return {
    holder,
    storedAt: stored.created,
    waiting: unsent.length,
    oldest: oldest?.created,
    isAtEnd: end === undefined || comparePositions(end, { commit: BigInt(commit), prepare: BigInt(prepare) }) <= 0,
  }
}
