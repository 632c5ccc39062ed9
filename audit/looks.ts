/** Who looked at personal data, and who exported events: the streams `auditReveals` and `auditExports`. */
import type { EventStore, RecordedEvent } from '../eventstore/port.ts'
import { orNone } from '../eventstore/read.ts'
import type { DomainEvent } from '../schema/events.ts'
import { STREAM_NAMES } from '../schema/streams.ts'
import { metadataOf } from './criteria.ts'
import { soundEvent } from './sound.ts'

export interface Look {
  readonly stream: string
  readonly revision: number
  readonly at: Date
  /** `operator:<user>` or `service:<name>` */
  readonly actor: string
  /** null: more than one customer, possibly any. */
  readonly customerId: number | null
  /** What was asked for, without personal data. */
  readonly command: string
  /** Why; null for an export whose personal data was masked. */
  readonly reason: string | null
  /**
   * Whether personal data was shown; an export in clear is there twice: as an export, and as a look. `unreadable`: the record
   * is not what this service writes, and may be forged.
   */
  readonly kind: 'look' | 'masked export' | 'export in clear' | 'unreadable'
}

export interface Looks {
  /** The newest first. */
  readonly looks: readonly Look[]
  /** Set if older ones were not read: the time before which they are. */
  readonly before: Date | undefined
}

type LookEvent = Extract<DomainEvent, { readonly type: 'PersonalDataRevealed' | 'EventsExported' }>

/** Events of a stream that one call reads: those that do not fit cost time, too. */
const MOST_READ = 20_000

/**
 * The newest looks.
 * @param options.most of each stream, and more if several were written in the same millisecond
 * @param options.before looks before this time alone
 * @param options.customerId those that may have been at this customer: also those at several customers
 * @throws EventStoreUnavailable
 */
export async function newestLooks(
  eventStore: EventStore,
  options: {
    readonly most: number
    readonly before?: Date | undefined
    readonly actor?: string | undefined
    readonly customerId?: number | undefined
  },
): Promise<Looks> {
  const looks: Look[] = []
  let end: Date | undefined
  for (const stream of [STREAM_NAMES.reveals, STREAM_NAMES.exports]) {
    const stopped = await readLooks(eventStore, stream, options, looks)
    if (stopped && (end === undefined || stopped > end)) end = stopped
  }
  looks.sort((a, b) => b.at.getTime() - a.at.getTime())
  // Of a stream that was read further than the other, the rest comes with the other's.
  const known = looks.filter(({ at }) => end === undefined || at > end)
  return { looks: known, before: end && new Date(end.getTime() + 1) }
}

/**
 * Reads the events of a millisecond together: the next call goes on by time.
 * @returns when the event was written at which the read stopped; undefined: it read everything
 */
async function readLooks(
  eventStore: EventStore,
  stream: string,
  { most, before, actor, customerId }: Parameters<typeof newestLooks>[1],
  looks: Look[],
): Promise<Date | undefined> {
  let found = 0
  let read = 0
  let last = Number.POSITIVE_INFINITY
  for await (const event of orNone(eventStore.readStream(stream, { direction: 'backwards' }))) {
    const at = event.created.getTime()
    if (before && event.created >= before) continue
    if ((found >= most || read >= MOST_READ) && at < last) return event.created
    last = at
    read++
    const look = lookOf(event)
    const isWanted = customerId === undefined || look.customerId === null || look.customerId === customerId
    if (!isWanted || (actor !== undefined && look.actor !== actor)) continue
    looks.push(look)
    found++
  }
  return undefined
}

function lookOf(event: RecordedEvent): Look {
  const { stream, revision, created } = event
  const sound = soundEvent<LookEvent>(event)
  if (sound === undefined || !(sound.type === 'PersonalDataRevealed' || sound.type === 'EventsExported')) {
    const { actor = '' } = metadataOf(event)
    return { stream, revision, at: created, actor, customerId: null, command: '', reason: null, kind: 'unreadable' }
  }
  const { type, data, metadata } = sound
  const isLook = type === 'PersonalDataRevealed'
  return {
    stream,
    revision,
    at: created,
    actor: metadata.actor,
    customerId: data.customerId,
    command: data.command,
    reason: isLook ? data.reason : null,
    kind: isLook ? 'look' : data.revealed ? 'export in clear' : 'masked export',
  }
}

/** How often somebody looked, or somebody was looked at. */
export interface LookCount<T> {
  readonly of: T
  readonly looks: number
  /** How many others it was: customers of an auditor, auditors of a customer. */
  readonly others: number
  readonly last: Date
}

/** Counts looks, the most frequent first. @param by what to count by, @param other what to tell apart beside it */
export function countLooks<T>(
  looks: readonly Look[],
  by: (look: Look) => T,
  other: (look: Look) => unknown,
): LookCount<T>[] {
  const counts = new Map<T, { looks: number; others: Set<unknown>; last: Date }>()
  for (const look of looks) {
    const count = counts.get(by(look)) ?? { looks: 0, others: new Set(), last: look.at }
    count.looks++
    count.others.add(other(look))
    if (look.at > count.last) count.last = look.at
    counts.set(by(look), count)
  }
  return [...counts]
    .map(([of, { looks, others, last }]) => ({ of, looks, others: others.size, last }))
    .sort((a, b) => b.looks - a.looks)
}
