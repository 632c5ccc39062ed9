import {
  type AppendResult,
  comparePositions,
  type EventStore,
  type Json,
  type NewEvent,
  type Position,
  type RecordedEvent,
  type Subscription,
  type SubscriptionBatch,
} from '../../../eventstore/port.ts'

export const anEvent = (data: Json | Uint8Array = {}, type = 'Happened'): NewEvent => ({
  id: crypto.randomUUID(),
  type,
  data,
})
/** Events whose data are `first`, `first + 1`, … */
export const someEvents = (count: number, first = 0): NewEvent[] =>
  Array.from({ length: count }, (_, index) => anEvent(first + index))

export async function all(events: AsyncIterable<RecordedEvent>): Promise<RecordedEvent[]> {
  const collected: RecordedEvent[] = []
  for await (const event of events) collected.push(event)
  return collected
}

/** Pulls batches until one passes (its batches so far are given too), and gives all of them. The subscription goes on. */
export async function pull(
  subscription: Subscription,
  last: (batch: SubscriptionBatch, events: readonly RecordedEvent[]) => boolean,
): Promise<{ readonly batches: SubscriptionBatch[]; readonly events: RecordedEvent[] }> {
  const iterator = subscription[Symbol.asyncIterator]()
  const batches: SubscriptionBatch[] = []
  const events: RecordedEvent[] = []
  for (;;) {
    const { value, done } = await iterator.next()
    if (done) throw new Error('The subscription has ended.')
    batches.push(value)
    events.push(...value.events)
    if (last(value, events)) return { batches, events }
  }
}

export const caughtUp = (batch: SubscriptionBatch) => batch.caughtUp
export const having = (count: number) => (_: SubscriptionBatch, events: readonly RecordedEvent[]) =>
  events.length >= count
export const ids = (events: readonly { readonly id: string }[]) => events.map(({ id }) => id)
export const datas = (events: readonly RecordedEvent[]) => events.map(({ data }) => data)
export const revisions = (events: readonly RecordedEvent[]) => events.map(({ revision }) => revision)
export const before = (a: Position | undefined, b: Position | undefined) =>
  a !== undefined && b !== undefined && comparePositions(a, b) === -1

/** What each case works with. */
export interface Contract {
  readonly store: EventStore
  /** Another handle on the same log. */
  readonly open: () => EventStore | Promise<EventStore>
  /** How many appends are begun at once; each has its deadline, also on a busy machine. */
  readonly flood: number
  /** What the names of this run's streams begin with. */
  readonly run: string
  /** The name of a stream that is not there. */
  readonly fresh: () => string
  /** Appends so many events to a stream, whatever is in it. */
  readonly append: (stream: string, count: number, first?: number) => Promise<AppendResult>
  /** The end of the log, more or less: the position of an event of ours. */
  readonly marker: () => Promise<Position>
  /** What a WrongExpectedRevision looks like. */
  readonly wrong: (
    stream: string,
    expected: unknown,
    actual: unknown,
  ) => { readonly name: string; readonly stream: string }
}
