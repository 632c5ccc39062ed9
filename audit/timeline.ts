/**
 * What happened to one customer, in order of time: the events of its stream with the fields that each changed, its
 * access records, and operators' decisions.
 */

import { LRUCache } from 'lru-cache'
import { isSameId } from '../eventstore/event-place.ts'
import {
  comparePositions,
  type EventStore,
  EventStoreUnavailable,
  type Json,
  type RecordedEvent,
} from '../eventstore/port.ts'
import { orGone } from '../eventstore/read.ts'
import { absentCustomer, type CustomerDocument } from '../projections/customer.ts'
import { applyOrSkip, type Folded } from '../projections/fold.ts'
import { streamOf } from '../schema/streams.ts'
import { type Change, changesBetween } from './changes.ts'
import { type Matcher, metadataOf } from './criteria.ts'
import { isAfter, type Moment } from './moments.ts'

export interface TimelineEntry {
  readonly stream: string
  readonly revision: number
  readonly id: string
  readonly type: string
  /** When the store wrote it. */
  readonly created: Date
  /** When it was decided, according to its metadata (ISO 8601, UTC). */
  readonly decidedAt: string
  readonly actor: string
  /** The request (correlation id) that led to it. */
  readonly requestId: string
  readonly changes: readonly Change[]
  /** The data of an event beside the customer's stream. */
  readonly details: { readonly [name: string]: Json }
  /** Why it could not be applied, if it could not. */
  readonly problem?: string
  /** Where the timeline continues after this entry. */
  readonly places: Places
}

/** The revision of the last entry of each stream; -1: none yet. */
export interface Places {
  readonly customer: number
  readonly access: number
  readonly skips: number
}

export const START: Places = { customer: -1, access: -1, skips: -1 }

/** The streams about one customer. */
export const streamsOf = (customerId: number): Readonly<Record<keyof Places, string>> => ({
  customer: streamOf.customer(customerId),
  access: streamOf.access(customerId),
  skips: streamOf.skips(customerId),
})

/** One event of a customer's stream, and the document before and after it. */
interface Step {
  readonly event: RecordedEvent
  readonly before: CustomerDocument
  readonly after: CustomerDocument
  /** Set if the event can't be applied and no operator has decided to skip it. */
  readonly error?: unknown
}

/**
 * Folds a customer's stream event by event. One that can't be applied changes nothing.
 * @param known a state to continue from, if its last event is still the same; otherwise the fold begins at the start
 * @throws EventStoreUnavailable
 */
async function* steps(eventStore: EventStore, customerId: number, known?: Folded): AsyncGenerator<Step> {
  let before = known?.document ?? absentCustomer(customerId)
  let isCompared = known === undefined
  const from = Math.max(before.revision, 0)
  for await (const event of orGone(eventStore.readStream(streamOf.customer(customerId), { from }))) {
    if (!isCompared) {
      if (event.revision !== before.revision || !isSameId(event.id, known?.eventId ?? '')) break
      isCompared = true
      continue
    }
    const step = await applied(eventStore, event, before)
    yield step
    before = step.after
  }
  if (!isCompared) yield* steps(eventStore, customerId)
}

/** Applies an event to the customer as of the event before it. @throws EventStoreUnavailable */
async function applied(eventStore: EventStore, event: RecordedEvent, before: CustomerDocument): Promise<Step> {
  try {
    return { event, before, after: await applyOrSkip(eventStore, before, event) }
  } catch (error) {
    if (error instanceof EventStoreUnavailable) throw error
    return { event, before, after: { ...before, revision: event.revision }, error }
  }
}

/** How many customers a {@link createChangesOf} keeps in memory. */
const MOST_CUSTOMERS = 5_000

/**
 * For events in the order of the log: returns a function that tells what an event of a customer's stream changed. The
 * customers of the last events are kept in memory; the stream of another one is read up to the event.
 */
export function createChangesOf(
  eventStore: EventStore,
): (customerId: number, event: RecordedEvent) => Promise<readonly Change[]> {
  const customers = new LRUCache<number, Folded>({ max: MOST_CUSTOMERS })
  return async (customerId, event) => {
    let before = customers.get(customerId)
    if ((before?.document.revision ?? -1) >= event.revision) before = undefined
    if ((before?.document.revision ?? -1) < event.revision - 1) {
      for await (const step of steps(eventStore, customerId, before)) {
        if (step.event.revision >= event.revision) break
        before = { document: step.after, eventId: step.event.id }
      }
    }
    const step = await applied(eventStore, event, before?.document ?? absentCustomer(customerId))
    customers.set(customerId, { document: step.after, eventId: event.id })
    return changesBetween(step.before, step.after)
  }
}

/** The state of a customer as of a moment. */
export interface CustomerAt {
  readonly document: CustomerDocument
  /** When the store wrote the last event in the document. */
  readonly created: Date
}

/**
 * The customer as of the moments, in their order; undefined for a moment before the customer's first event, and for a
 * revision beyond the end of the stream.
 * @throws the error of an event that can't be applied; EventStoreUnavailable
 */
export async function customerAt(
  eventStore: EventStore,
  customerId: number,
  moments: readonly Moment[],
): Promise<(CustomerAt | undefined)[]> {
  const found = new Map<Moment, CustomerAt>()
  let last: CustomerAt | undefined
  const open = new Set(moments)
  for await (const { event, after, error } of steps(eventStore, customerId)) {
    for (const moment of open) {
      if (!isAfter(event, moment)) continue
      if (last) found.set(moment, last)
      open.delete(moment)
    }
    if (open.size === 0) break
    if (error !== undefined) throw error
    last = { document: after, created: event.created }
  }
  for (const moment of open) {
    if (last && (!('revision' in moment) || moment.revision === last.document.revision)) found.set(moment, last)
  }
  return moments.map((moment) => found.get(moment))
}

/**
 * The timeline, oldest first.
 * @param after the `places` of an earlier entry: continues after it
 * @param options.known the customer at a revision no later than `after.customer`: saves the fold up to there
 * @param options.passed called with the customer after each event of the customer's stream, before its entry is
 * yielded. It is not part of the entries, because those are printed
 * @param options.fits which events have an entry. Default: all
 * @throws EventStoreUnavailable
 */
export function timeline(
  eventStore: EventStore,
  customerId: number,
  after: Places = START,
  {
    known,
    passed,
    fits = () => true,
  }: {
    readonly known?: Folded | undefined
    readonly passed?: (folded: Folded) => void
    readonly fits?: Matcher
  } = {},
): AsyncGenerator<TimelineEntry> {
  const streams = streamsOf(customerId)
  return inOrder(after, passed, {
    customer: customerEntries(eventStore, customerId, after.customer, known, fits),
    access: besideEntries(eventStore, streams.access, after.access, fits),
    skips: besideEntries(eventStore, streams.skips, after.skips, fits),
  })
}

/**
 * The events of streams in the order of the log, which their times may not have: several are written in one millisecond, and
 * clocks go back. A missing stream has none.
 * @throws EventStoreUnavailable
 */
export const inOrderOfLog = (streams: readonly AsyncIterable<RecordedEvent>[]): AsyncGenerator<RecordedEvent> =>
  merge(
    streams.map(orGone),
    (a, b) => comparePositions(a.position, b.position),
    ({ value }) => value,
  )

type Entry = Omit<TimelineEntry, 'places'> & { readonly folded?: Folded }

async function* inOrder(
  start: Places,
  passed: ((folded: Folded) => void) | undefined,
  sources: Readonly<Record<keyof Places, AsyncGenerator<Entry>>>,
): AsyncGenerator<TimelineEntry> {
  const names = ['customer', 'access', 'skips'] as const
  let places = start
  yield* merge(
    names.map((name) => sources[name]),
    (a, b) => a.created.getTime() - b.created.getTime(),
    ({ value: { folded, ...entry }, source }) => {
      places = { ...places, [names[source] as string]: entry.revision }
      if (folded) passed?.(folded)
      return { ...entry, places }
    },
  )
}

async function* customerEntries(
  eventStore: EventStore,
  customerId: number,
  after: number,
  known: Folded | undefined,
  fits: Matcher,
): AsyncGenerator<Entry> {
  for await (const { event, before, after: now, error } of steps(eventStore, customerId, known)) {
    if (event.revision <= after || !fits(event)) continue
    const problem = error === undefined ? {} : { problem: (error as Error).message }
    const folded = { document: now, eventId: event.id }
    yield { ...entryOf(event), changes: changesBetween(before, now), details: {}, folded, ...problem }
  }
}

async function* besideEntries(
  eventStore: EventStore,
  stream: string,
  after: number,
  fits: Matcher,
): AsyncGenerator<Entry> {
  for await (const event of orGone(eventStore.readStream(stream, { from: after + 1 }))) {
    if (!fits(event)) continue
    const isGroup = typeof event.data === 'object' && event.data !== null && !Array.isArray(event.data)
    yield { ...entryOf(event), changes: [], details: isGroup ? (event.data as { [name: string]: Json }) : {} }
  }
}

function entryOf(event: RecordedEvent): Omit<Entry, 'changes' | 'details' | 'folded'> {
  const { stream, revision, id, type, created } = event
  const { actor, at, $correlationId } = metadataOf(event)
  return {
    stream,
    revision,
    id,
    type,
    created,
    decidedAt: at ?? '',
    actor: actor ?? '',
    requestId: $correlationId ?? '',
  }
}

/**
 * Merges sorted sources; of equal entries, those of the earlier source come first. If the iteration ends early, it ends
 * the sources.
 */
async function* merge<T, R>(
  sources: readonly AsyncGenerator<T>[],
  compare: (a: T, b: T) => number,
  give: (next: { readonly value: T; readonly source: number }) => R,
): AsyncGenerator<R> {
  try {
    const heads = await Promise.all(sources.map((source) => source.next()))
    for (;;) {
      let chosen = -1
      for (const [index, head] of heads.entries()) {
        if (head.done) continue
        const best = heads[chosen]
        if (best === undefined || best.done || compare(head.value, best.value) < 0) chosen = index
      }
      const head = heads[chosen]
      if (head === undefined || head.done) return
      yield give({ value: head.value, source: chosen })
      heads[chosen] = await (sources[chosen] as AsyncGenerator<T>).next()
    }
  } finally {
    for (const source of sources) await source.return(undefined)
  }
}
