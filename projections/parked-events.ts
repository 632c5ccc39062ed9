/** What an operator does about events that can't be applied: counting, replaying and dropping them. */
import { type EventStore, type RecordedEvent, StreamDeleted } from '../eventstore/port.ts'
import { orNone } from '../eventstore/read.ts'
import { inBatches } from '../runtime/in-batches.ts'
import { streamOf } from '../schema/streams.ts'
import { absentCustomer } from './customer.ts'
import type { ParkedEvent, ReadModel } from './read-model.ts'
import { skipEvent } from './skips.ts'
import { createApplier } from './worker/apply-events.ts'
import type { Failure } from './worker/parking.ts'

interface Stores {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
}

/** A parked event, and how many events of its customer wait: the parked one and those behind it. */
export interface Waiting {
  readonly parked: ParkedEvent
  readonly events: number
}

/** @throws EventStoreUnavailable */
export function waitingEvents(eventStore: EventStore, parked: readonly ParkedEvent[]): Promise<readonly Waiting[]> {
  return inBatches(parked, async (each) => {
    const stream = streamOf.customer(each.customerId)
    const [newest] = await leftOf(eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 }))
    return { parked: each, events: Math.max(1, (newest?.revision ?? each.revision) - each.revision + 1) }
  })
}

/** The events of a stream; none if it is unknown, or was deleted. */
async function leftOf(events: AsyncIterable<RecordedEvent>): Promise<readonly RecordedEvent[]> {
  const left: RecordedEvent[] = []
  try {
    for await (const event of orNone(events)) left.push(event)
  } catch (error) {
    if (!(error instanceof StreamDeleted)) throw error
  }
  return left
}

/** What a replay is about to do: `12 events of 3 customers`. */
export function waitingText(waiting: readonly Waiting[]): string {
  const events = waiting.reduce((sum, each) => sum + each.events, 0)
  return `${events} ${events === 1 ? 'event' : 'events'} of ${waiting.length} ${waiting.length === 1 ? 'customer' : 'customers'}`
}

/** What came of one customer's replay. */
export interface Replayed {
  readonly customerId: number
  /** Where it is stuck again, and why; undefined: the document is at the end of its stream. */
  readonly stuck?: { readonly revision: number; readonly reason: string }
}

/**
 * Brings the customers' documents up to the ends of their streams. Who gets there is parked no more, unless the parked event
 * is still missing from its stream.
 * @throws EventStoreUnavailable | ReadModelUnavailable; it can be repeated
 */
export async function* replayParked(
  { eventStore, readModel }: Stores,
  events: readonly ParkedEvent[],
): AsyncGenerator<Replayed> {
  const replay = replaying({ eventStore, readModel })
  for (const { customerId, revision, reason } of events) {
    const { reached, stuck } = await replay(customerId)
    if (stuck) yield { customerId, stuck }
    else if (reached < revision) yield { customerId, stuck: { revision: reached + 1, reason } }
    else {
      await readModel.unpark(customerId)
      yield { customerId }
    }
  }
}

/**
 * Skips parked events, on record, and replays what is behind them.
 * @param decision.actor who decided it, as in other events' metadata
 * @throws as {@link replayParked}
 */
export async function* dropParked(
  { eventStore, readModel }: Stores,
  events: readonly ParkedEvent[],
  { reason, actor }: { readonly reason: string; readonly actor: string },
): AsyncGenerator<Replayed> {
  for (const { customerId, revision } of events) {
    await skipEvent(eventStore, { customerId, revision, reason, actor })
  }
  const replay = replaying({ eventStore, readModel })
  for (const { customerId } of events) {
    const { stuck } = await replay(customerId)
    if (!stuck) await readModel.unpark(customerId)
    yield stuck ? { customerId, stuck } : { customerId }
  }
}

/** Brings documents up to the ends of their streams. @returns a function that tells how far a customer's has come */
function replaying({ eventStore, readModel }: Stores) {
  const failures: Failure[] = []
  const applier = createApplier({ eventStore, readModel, onFailure: (failure) => failures.push(failure) })
  return async (customerId: number): Promise<{ readonly reached: number } & Pick<Replayed, 'stuck'>> => {
    const stream = streamOf.customer(customerId)
    const [document] = await readModel.documents([customerId])
    const { revision } = document ?? absentCustomer(customerId)
    const rest = await leftOf(eventStore.readStream(stream, { from: revision + 1 }))
    await applier.apply(rest)
    const failure = failures.find((each) => each.stream === stream)
    if (failure) {
      return {
        reached: failure.revision - 1,
        stuck: { revision: failure.revision, reason: (failure.error as Error).message },
      }
    }
    return { reached: rest.at(-1)?.revision ?? revision }
  }
}
