/** Which log a generation of the read model was filled from: this one, or another. */
import { type EventPlace, holdsEvent } from '../eventstore/event-place.ts'
import { comparePositions, type EventStore, InvalidArgument, type RecordedEvent } from '../eventstore/port.ts'
import { DOCUMENT_VERSION } from './customer.ts'
import { CUSTOMER_STREAMS } from './fold.ts'
import type { Checkpoint, ReadModel } from './read-model.ts'

/**
 * `same`: from this log, by this release. `other release`: from this log, but the documents have another format, or the
 * event at the checkpoint is unknown. `other log`: the documents belong to other people.
 */
export type Provenance = 'same' | 'other release' | 'other log'

/** The origin of documents: the log, identified by its first customer event, and the document version. */
export const originOf = (first: Pick<RecordedEvent, 'id'>): string => `${first.id}/${DOCUMENT_VERSION}`

/**
 * Compares a generation with the log: by its first customer event, the event at the checkpoint, and the newest event
 * that is in any document. An empty generation fits every log. It only reads.
 * @param generation its checkpoint, read before its newest event
 * @throws EventStoreUnavailable
 */
export async function provenanceOf(
  eventStore: EventStore,
  {
    checkpoint,
    newest,
  }: { readonly checkpoint: Checkpoint | null; readonly newest: Awaited<ReturnType<ReadModel['newest']>> },
): Promise<Provenance> {
  if (newest && !(await holdsEvent(eventStore, newest))) return 'other log'
  if (checkpoint === null) return 'same'
  const isNamed = checkpoint.id !== ''
  const isThere = isNamed
    ? isSamePlace(checkpoint, newest) || (await holdsEvent(eventStore, checkpoint))
    : await hasPosition(eventStore, checkpoint)
  if (!isThere) return 'other log'
  const first = await firstEvent(eventStore)
  if (first === undefined || !beganWith(checkpoint, first)) return 'other log'
  return isNamed && checkpoint.origin === originOf(first) ? 'same' : 'other release'
}

/**
 * Whether a generation was filled from a log that began with another customer event. Unlike {@link provenanceOf} it does
 * not ask what has become of the log since, so a restored one is no other.
 * @throws EventStoreUnavailable
 */
export async function isOfOtherLog(eventStore: EventStore, checkpoint: Checkpoint | null): Promise<boolean> {
  if (checkpoint === null) return false
  const first = await firstEvent(eventStore)
  return first === undefined || !beganWith(checkpoint, first)
}

async function firstEvent(eventStore: EventStore): Promise<RecordedEvent | undefined> {
  const filter = { streamPrefixes: [CUSTOMER_STREAMS] }
  for await (const first of eventStore.readAll({ filter, maxCount: 1 })) return first
  return undefined
}

const beganWith = ({ origin }: Checkpoint, first: RecordedEvent): boolean => origin.split('/')[0] === first.id

/** With its position: a damaged one would be resumed from. */
const isSamePlace = (a: EventPlace, b: EventPlace | null): boolean =>
  a.id === b?.id && comparePositions(a.position, b.position) === 0

/** For a checkpoint of an earlier release, which does not name its event. */
async function hasPosition(eventStore: EventStore, { position }: Checkpoint): Promise<boolean> {
  try {
    for await (const _ of eventStore.readAll({ from: position, maxCount: 1, systemEvents: true })) break
    return true
  } catch (error) {
    if (error instanceof InvalidArgument) return false
    throw error
  }
}
