/** Commands on one customer: decided on its folded stream, appended with the revision that they were decided on. */

import { setTimeout as delay } from 'node:timers/promises'
import { decode, type Recorded } from '../../eventstore/codec.ts'
import type { EventPlace } from '../../eventstore/event-place.ts'
import { type EventStore, StreamDeleted, WrongExpectedRevision } from '../../eventstore/port.ts'
import { isOfNoStream } from '../../eventstore/read.ts'
import { type CustomerDocument, project } from '../../projections/customer.ts'
import type { Marks } from '../../projections/fence/marks.ts'
import type { Log } from '../../runtime/log.ts'
import { endWith, startSpan, traceIds } from '../../runtime/tracing.ts'
import type { CustomerEvent, EventMetadata } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { type Command, encodeAll, isCause } from '../commands/command.ts'
import { isRefusal, serviceUnavailable } from '../errors.ts'
import type { CustomerStates } from './customer-states.ts'
import type { Decide, Outcome, Repetition } from './customers.ts'
import { createKeyedQueue } from './keyed-queue.ts'

/** How many rounds of load, decide and append a command makes in competition with other writers of the customer. */
const MAX_ATTEMPTS = 100
/** How far back in a stream an earlier execution of a retried command is searched for. */
const REPETITION_WINDOW = 200

export function createExecution(options: {
  readonly eventStore: EventStore
  readonly states: CustomerStates
  readonly marks: Pick<Marks, 'acknowledge'>
  readonly log: Log
}) {
  const { eventStore, states, marks, log } = options
  const queue = createKeyedQueue<number>()
  let appended: EventPlace | undefined

  /** The events of the command, or of another attempt of it, and the stream's newest revision; -1 without a stream. */
  async function earlierEvents(id: number, command: Command) {
    const events: Recorded<CustomerEvent>[] = []
    let newest = -1
    try {
      const newestFirst = eventStore.readStream(streamOf.customer(id), {
        direction: 'backwards',
        maxCount: REPETITION_WINDOW,
      })
      for await (const stored of newestFirst) {
        newest = Math.max(newest, stored.revision)
        const { $causationId } = (stored.metadata ?? {}) as Partial<EventMetadata>
        if (isCause(command, $causationId)) events.unshift(decode<CustomerEvent>(stored))
        else if (events.length > 0) break
      }
    } catch (error) {
      if (!isOfNoStream(error)) throw error
    }
    return { events, newest }
  }

  async function repetition(id: number, command: Command): Promise<Repetition | undefined> {
    const { events } = await earlierEvents(id, command)
    return events.length > 0 ? { state: await states.load(id), events } : undefined
  }

  async function decideAndAppend(id: number, command: Command, decide: Decide): Promise<Outcome> {
    // A cached state saves the read, because the append fails if it was outdated. Only a decision that writes nothing
    // (a refusal, or no change) has to be made on a state that was just read.
    let state = states.cached(id)
    let fresh = state === undefined
    /** Up to this revision there are no events of another attempt. */
    let searched = Number.NEGATIVE_INFINITY
    for (let attempt = 1; ; attempt++) {
      state = fresh || state === undefined ? await states.fold(id, command.traceparent) : state
      if (command.repeatable && state.revision > searched) {
        // After the state was read: another attempt may have come first at any time.
        const earlier = await earlierEvents(id, command)
        if (earlier.events.length > 0) return { state: await states.load(id), events: earlier.events }
        searched = earlier.newest
      }
      let events: readonly CustomerEvent[]
      try {
        events = await decide(state)
      } catch (error) {
        if (!isRefusal(error)) throw error
        if (fresh) {
          await states.shown(state)
          throw error
        }
        fresh = true
        continue
      }
      if (events.length === 0) {
        if (fresh) return { state: await states.shown(state), events }
        fresh = true
        continue
      }
      try {
        return await append(state, command, events)
      } catch (error) {
        // A stream that was tombstoned by hand has no customer any more, as it is read.
        if (!(error instanceof WrongExpectedRevision || (error instanceof StreamDeleted && !fresh))) throw error
        if (attempt === MAX_ATTEMPTS) {
          log.warn(
            { customerId: id, attempts: attempt, ...traceIds(command.traceparent) },
            'command gave up after conflicts',
          )
          throw serviceUnavailable()
        }
        fresh = true
        if (attempt > 1) await delay(Math.random() * Math.min(2 ** attempt, 50))
      }
    }
  }

  async function append(state: CustomerDocument, command: Command, events: readonly CustomerEvent[]): Promise<Outcome> {
    const encoded = encodeAll(command, events, command.attempt)
    const expected = state.revision === -1 ? 'no_stream' : state.revision
    const span = startSpan('append customer', { parent: command.traceparent })
    const stream = streamOf.customer(state.id)
    const { position, revision } = await endWith(span, eventStore.append(stream, encoded, { expected }))
    if (position) appended = { position, id: encoded.at(-1)?.id ?? '', stream, revision }
    const after = events.reduce((current: CustomerDocument, event, index) => {
      const { id, metadata } = encoded[index] as { id: string; metadata: unknown }
      const recorded = { ...event, id, metadata, revision: current.revision + 1, created: command.at }
      return project(current, recorded as Recorded<CustomerEvent>)
    }, state)
    states.remember({ document: after, eventId: encoded.at(-1)?.id })
    await marks.acknowledge(after.id, after.revision)
    return { state: after, events }
  }

  return {
    execute: (id: number, command: Command, decide: Decide): Promise<Outcome> =>
      queue.run(id, () => decideAndAppend(id, command, decide)),
    repetition,
    /** The newest event that was appended here; undefined before the first. */
    newestAppended: () => appended,
    /** The log was replaced by another one. */
    forget() {
      appended = undefined
    },
  }
}
