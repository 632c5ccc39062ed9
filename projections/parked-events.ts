/** What an operator does about events that can't be applied: counting, replaying and dropping them. */
import type { EventStore } from '../eventstore/port.ts'
import { newestRevision } from '../eventstore/read.ts'
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
    const newest = await newestRevision(eventStore, streamOf.customer(each.customerId))
    return { parked: each, events: Math.max(1, (newest ?? each.revision) - each.revision + 1) }
  })
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
 * Brings the customers' documents up to the ends of their streams.
 * @throws EventStoreUnavailable | ReadModelUnavailable; it can be repeated
 */
export async function* replayParked(
  { eventStore, readModel }: Stores,
  events: readonly ParkedEvent[],
): AsyncGenerator<Replayed> {
  const failures: Failure[] = []
  const applier = createApplier({ eventStore, readModel, onFailure: (failure) => failures.push(failure) })
  for (const { customerId } of events) {
    const stream = streamOf.customer(customerId)
    const [document] = await readModel.documents([customerId])
    const from = (document ?? absentCustomer(customerId)).revision + 1
    const rest = []
    for await (const event of eventStore.readStream(stream, { from })) rest.push(event)
    await applier.apply(rest)
    const failure = failures.find((each) => each.stream === stream)
    if (failure) {
      yield { customerId, stuck: { revision: failure.revision, reason: (failure.error as Error).message } }
    } else {
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
  stores: Stores,
  events: readonly ParkedEvent[],
  { reason, actor }: { readonly reason: string; readonly actor: string },
): AsyncGenerator<Replayed> {
  for (const { customerId, revision } of events) {
    await skipEvent(stores.eventStore, { customerId, revision, reason, actor })
  }
  yield* replayParked(stores, events)
}
