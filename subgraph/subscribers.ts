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

/** @param keysOf the keyed hash of an address, then those of earlier releases: what they wrote counts until there is something newer */
export function createSubscribers(eventStore: EventStore, keysOf: (email: string) => readonly string[]): Subscribers {
  const stream = (key: string) => `newsletterSubscriber-${key}`
  const newestUnder = async (key: string): Promise<Recorded<SubscriberEvent> | undefined> =>
    (await readNewest<SubscriberEvent>(eventStore, stream(key), 1))[0]

  async function newest(keys: readonly string[]): Promise<Recorded<SubscriberEvent> | undefined> {
    for (const key of keys) {
      const last = await newestUnder(key)
      if (last !== undefined) return last
    }
    return undefined
  }

  return {
    async status(email) {
      const last = await newest(keysOf(email))
      if (last === undefined || last.type === 'GuestErased') return 'none'
      return last.type === 'GuestSubscribed' ? 'subscribed' : 'unconfirmed'
    },

    async awaiting(email) {
      const last = await newest(keysOf(email))
      return last?.type === 'GuestConfirmationRequested' ? last.id : undefined
    },

    async append(type, email, command) {
      const [key = '', ...former] = keysOf(email)
      for (;;) {
        const last = await newestUnder(key)
        if ((last ?? (await newest(former)))?.type === type) return
        const events = encodeAll(command, [{ type, data: { email } }], `${type}:${last?.revision ?? 'none'}`)
        try {
          await eventStore.append(stream(key), events, { expected: last?.revision ?? 'no_stream' })
          return
        } catch (error) {
          if (!(error instanceof WrongExpectedRevision)) throw error
        }
      }
    },
  }
}
