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
  const times: Date[] = []
  for (const { stream, revision } of unsent) {
    if (stream === undefined || revision === undefined) continue
    const event = await firstOf(eventStore.readStream(stream, { from: revision, maxCount: 1 }))
    if (event) times.push(event.created)
  }
  return {
    holder,
    storedAt: stored.created,
    waiting: unsent.length,
    oldest: times.sort((a, b) => a.getTime() - b.getTime())[0],
    isAtEnd: end === undefined || comparePositions(end, { commit: BigInt(commit), prepare: BigInt(prepare) }) <= 0,
  }
}
