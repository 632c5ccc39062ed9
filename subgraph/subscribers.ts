/**
 * Newsletter subscriptions of addresses that are no customer's: the newest event of `newsletterSubscriber-<keyed hash>`.
 * A customer's own subscription is in the customer's stream.
 */
import type { Recorded } from '../eventstore/codec.ts'
import { type EventStore, WrongExpectedRevision } from '../eventstore/port.ts'
import { readNewest } from '../eventstore/read.ts'
import type { SubscriberEvent } from '../schema/events.ts'
import { type Command, encodeAll } from './command.ts'

export interface Subscribers {
  status(email: string): Promise<'none' | 'subscribed' | 'unconfirmed'>
  /** The id of the event that had the link sent by which the subscription is confirmed; undefined where none waits. */
  awaiting(email: string): Promise<string | undefined>
  /** Nothing where the newest event is of that type already. */
  append(type: Exclude<SubscriberEvent['type'], 'GuestErased'>, email: string, command: Command): Promise<void>
}

/** @param keyOf the keyed hash of an address */
export function createSubscribers(eventStore: EventStore, keyOf: (email: string) => string): Subscribers {
  const stream = (email: string) => `newsletterSubscriber-${keyOf(email)}`
  const newest = async (email: string): Promise<Recorded<SubscriberEvent> | undefined> =>
    (await readNewest<SubscriberEvent>(eventStore, stream(email), 1))[0]

  return {
    async status(email) {
      const last = await newest(email)
      if (last === undefined || last.type === 'GuestErased') return 'none'
      return last.type === 'GuestSubscribed' ? 'subscribed' : 'unconfirmed'
    },

    async awaiting(email) {
      const last = await newest(email)
      return last?.type === 'GuestConfirmationRequested' ? last.id : undefined
    },

    async append(type, email, command) {
      for (;;) {
        const last = await newest(email)
        if (last?.type === type) return
        const events = encodeAll(command, [{ type, data: { email } }], `${type}:${last?.revision ?? 'none'}`)
        try {
          await eventStore.append(stream(email), events, { expected: last?.revision ?? 'no_stream' })
          return
        } catch (error) {
          if (!(error instanceof WrongExpectedRevision)) throw error
        }
      }
    },
  }
}
