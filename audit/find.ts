/** Searches for events that match an auditor's criteria: in the whole log, or in the streams of one customer. */
import { asStored } from '../eventstore/as-stored.ts'
import { isEncrypted } from '../eventstore/codec.ts'
import { hasKeys } from '../eventstore/encryption/customer-keys.ts'
import { decryptEvent } from '../eventstore/encryption/decryption.ts'
import { comparePositions, type EventStore, type Position, type RecordedEvent } from '../eventstore/port.ts'
import { orGone } from '../eventstore/read.ts'
import { rangeBetween, shareBetween } from '../eventstore/times.ts'
import { CUSTOMER_FAMILIES, STREAMS, streamsWith } from '../schema/streams.ts'
import { type Criteria, matchersOf } from './criteria.ts'
import { AuditError } from './errors.ts'
import { inOrderOfLog, streamsOf } from './timeline.ts'

/** Events to search, and the share of them that is done at one of them, if it is known. */
interface Source {
  readonly events: AsyncIterable<RecordedEvent>
  readonly shareOf: (event: RecordedEvent) => number | undefined
}

export interface FindOptions {
  /** Called now and then with the number of events searched, and the share that is done (0 to 1), if it is known. */
  readonly onProgress?: ((count: number, share: number | undefined) => void) | undefined
  readonly signal?: AbortSignal | undefined
  /** Ends the search after so many events. Default: no limit. */
  readonly mostEvents?: number | undefined
  /** Searches from the newest event to the oldest. Default false. */
  readonly newestFirst?: boolean | undefined
  /** Goes on after this event of an earlier search in the same direction. */
  readonly after?: Position | undefined
  /** Gives the events as they are stored: personal fields may be encrypted, which is cheaper. Default false. */
  readonly stored?: boolean | undefined
}

export interface Searched {
  /** How many events were looked at. */
  readonly searched: number
  /** Whether those were all: the search was neither stopped nor limited. */
  readonly isComplete: boolean
}

/**
 * Searches the events in order: the log, or the part that the times leave, or the streams of one customer and nothing
 * else.
 * @param found called with each matching event, in clear text; its result is awaited. It ends the search with `stop`
 * @throws AuditError if the criteria exclude each other; EventStoreUnavailable
 */
export async function findEvents(
  eventStore: EventStore,
  criteria: Criteria,
  found: (event: RecordedEvent) => unknown,
  options: FindOptions = {},
): Promise<Searched> {
  const { onProgress = () => {}, signal, mostEvents = Number.POSITIVE_INFINITY, stored = false } = options
  const { fits, mayFit } = matchersOf(criteria)
  const keys = hasKeys(eventStore) ? eventStore.keys : undefined
  const { events, shareOf } = await sourceOf(asStored(eventStore), criteria, options)
  let searched = 0
  for await (const event of events) {
    if (searched >= mostEvents) return { searched, isComplete: false }
    if (++searched % REPORT_EVERY === 0) {
      onProgress(searched, shareOf(event))
      if (signal?.aborted) return { searched, isComplete: false }
    }
    if (!mayFit(event)) continue
    const isOpened = keys !== undefined && !(stored && mayFit === fits) && isEncrypted(event)
    const opened = isOpened ? await decryptEvent(keys, event) : event
    if (mayFit !== fits && !fits(opened)) continue
    const answer = found(opened)
    if ((answer instanceof Promise ? await answer : answer) === 'stop') return { searched, isComplete: false }
  }
  return { searched, isComplete: true }
}

const REPORT_EVERY = 1_000

/**
 * Counts the events that match by their type. Nothing is decrypted, unless a field of the criteria needs it.
 * @returns the counts, the most frequent first
 * @throws as {@link findEvents}
 */
export async function countTypes(
  eventStore: EventStore,
  criteria: Criteria,
  options: Pick<FindOptions, 'signal' | 'mostEvents'> = {},
): Promise<Searched & { readonly types: ReadonlyMap<string, number> }> {
  const counts = new Map<string, number>()
  const count = ({ type }: RecordedEvent) => void counts.set(type, (counts.get(type) ?? 0) + 1)
  const searched = await findEvents(eventStore, criteria, count, { ...options, stored: true })
  return { ...searched, types: new Map([...counts].sort(([, a], [, b]) => b - a)) }
}

/** What has to be read: nothing that the criteria exclude, as far as the store can tell. */
async function sourceOf(log: EventStore, criteria: Criteria, order: Order): Promise<Source> {
  const { customerId, types = [], events = [], since, until } = criteria
  if (customerId !== undefined) return ordered(inOrderOfLog(customerStreams(log, customerId, types)), order)
  const places = events.filter((event) => 'stream' in event)
  if (places.length > 0 && places.length === events.length) {
    const reads = places.map(({ stream, revision }) => log.readStream(stream, { from: revision, maxCount: 1 }))
    return ordered(inOrderOfLog(reads), order)
  }
  const { newestFirst = false, after } = order
  const streamPrefixes = prefixesOf(types)
  // Single streams are read alone: there is no need to look for their few events in the whole log.
  if (streamPrefixes?.every((name) => !name.endsWith('-'))) {
    return ordered(inOrderOfLog(streamPrefixes.map((name) => log.readStream(name))), order)
  }
  const filter = streamPrefixes && { filter: { streamPrefixes } }
  const { from, to } = await rangeBetween(log, since, until)
  const shareOf = await shareBetween(log, from, to)
  if (newestFirst) {
    const read = log.readAll({ direction: 'backwards', from: after ?? to ?? 'end', ...filter })
    const isBefore = ({ position }: RecordedEvent) => from !== 'start' && comparePositions(position, from) < 0
    return { events: upTo(beyond(read, order), isBefore), shareOf: ({ position }) => 1 - shareOf(position) }
  }
  const read = log.readAll({ from: after ?? from, ...(to && { to }), ...filter })
  return { events: beyond(read, order), shareOf: ({ position }) => shareOf(position) }
}

type Order = Pick<FindOptions, 'newestFirst' | 'after'>

/** Few events, in the order that was asked for. */
function ordered(events: AsyncIterable<RecordedEvent>, order: Order): Source {
  async function* inOrder() {
    if (!order.newestFirst) return yield* events
    const all: RecordedEvent[] = []
    for await (const event of events) all.push(event)
    yield* all.reverse()
  }
  return { events: beyond(inOrder(), order), shareOf: () => undefined }
}

/** What comes after the event at a position. */
async function* beyond(
  events: AsyncIterable<RecordedEvent>,
  { after, newestFirst }: Order,
): AsyncGenerator<RecordedEvent> {
  for await (const event of events) {
    if (after === undefined || comparePositions(event.position, after) === (newestFirst ? -1 : 1)) yield event
  }
}

async function* upTo(
  events: AsyncIterable<RecordedEvent>,
  isEnd: (event: RecordedEvent) => boolean,
): AsyncGenerator<RecordedEvent> {
  for await (const event of events) {
    if (isEnd(event)) return
    yield event
  }
}

/**
 * The streams that are about one customer: those of its timeline. If types are named, those that may contain one of
 * them, and of single streams the events about this customer.
 * @throws AuditError if events of these types are never about one customer
 */
function customerStreams(
  log: EventStore,
  customerId: number,
  types: readonly string[],
): AsyncIterable<RecordedEvent>[] {
  if (types.length === 0) return Object.values(streamsOf(customerId)).map((stream) => log.readStream(stream))
  const hasType = ({ events }: { readonly events: readonly string[] }) => types.some((type) => events.includes(type))
  const own = CUSTOMER_FAMILIES.filter(hasType).map(({ name }) => log.readStream(`${name}${customerId}`))
  const shared = STREAMS.filter((family) => family.of === undefined && hasType(family)).map(({ name }) =>
    about(customerId, log.readStream(name)),
  )
  if (own.length + shared.length > 0) return [...own, ...shared]
  throw new AuditError(
    `Events of the type ${types.join(', ')} are in no stream of one customer. Search for them without a customer.`,
  )
}

async function* about(customerId: number, events: AsyncIterable<RecordedEvent>): AsyncGenerator<RecordedEvent> {
  for await (const event of orGone(events)) {
    if ((event.data as { readonly customerId?: unknown } | null)?.customerId === customerId) yield event
  }
}

/** The streams that contain events of these types; undefined: all. The store filters out the others. */
function prefixesOf(types: readonly string[]): string[] | undefined {
  const prefixes = types.map(streamsWith)
  if (prefixes.length === 0 || prefixes.some((each) => each.length === 0)) return undefined
  return [...new Set(prefixes.flat())]
}
