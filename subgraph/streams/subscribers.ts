/**
 * Newsletter subscriptions of addresses that are no customer's: the newest event of `newsletterSubscriber-<keyed hash>`.
 * A customer's own subscription is in the customer's stream.
 *
 * A guest's subscription is over once a customer has the address. The customer's own events say whether that has happened. They
 * are there before `GuestBecameCustomer`: so it also holds where that event is missing, because a process was
 * killed before it or an earlier release did not write it. The event is for those who read the log.
 */

import { decode, type Recorded } from '../../eventstore/codec.ts'
import { comparePositions, type EventStore, type RecordedEvent, WrongExpectedRevision } from '../../eventstore/port.ts'
import { orNone } from '../../eventstore/read.ts'
import { type EmailEvent, isErased, type SubscriberEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { type Command, encodeAll } from '../commands/command.ts'
import type { GuestStatus } from '../domain/customer.ts'

export interface Subscribers {
  /** What the address has subscribed to as a guest's, and no customer has taken over. */
  status(email: string): Promise<GuestStatus>
  /** The id of the event that had the link sent by which the subscription is confirmed; undefined where none waits. */
  awaiting(email: string): Promise<string | undefined>
  /** Nothing where the address is subscribed, or waits for its confirmation, already. */
  append(
    type: Extract<SubscriberEvent['type'], 'GuestSubscribed' | 'GuestConfirmationRequested'>,
    email: string,
    command: Command,
  ): Promise<void>
  /** Ends what a guest has subscribed to, because the address is the customer's; nothing where there is nothing to end. */
  handOver(email: string, customerId: number, command: Command): Promise<void>
}

/** A stream's newest event, decoded and as it is stored. */
interface Newest {
  readonly event: Recorded<SubscriberEvent>
  readonly stored: RecordedEvent
}

/**
 * @param keysOf the keyed hashes of an address: the first is written under, what is there under a further one counts until
 * there is something newer
 */
export function createSubscribers(eventStore: EventStore, keysOf: (email: string) => readonly string[]): Subscribers {
  async function newest(email: string): Promise<Newest | undefined> {
    for (const key of keysOf(email)) {
      const events = eventStore.readStream(streamOf.subscriber(key), { direction: 'backwards', maxCount: 1 })
      for await (const stored of orNone(events)) return { event: decode<SubscriberEvent>(stored), stored }
    }
    return undefined
  }

  /** Whether a customer has got the address, or has left it, since the guest's event. */
  async function isTakenOver(email: string, since: RecordedEvent): Promise<boolean> {
    const keys = keysOf(email)
    const holders = new Set<number>()
    for (const key of keys) {
      for await (const claim of orNone(eventStore.readStream(streamOf.email(key)))) {
        holders.add(decode<EmailEvent>(claim).data.customerId)
      }
    }
    for (const id of holders) {
      for await (const event of orNone(eventStore.readStream(streamOf.customer(id)))) {
        if (comparePositions(event.position, since.position) > 0 && isOfAddress(event, keys)) return true
      }
    }
    return false
  }

  function isOfAddress({ type, data }: RecordedEvent, keys: readonly string[]): boolean {
    const { email, previousEmail, emailKeys } = (data ?? {}) as Readonly<Record<string, unknown>>
    if (type === 'CustomerDeleted') return Array.isArray(emailKeys) && emailKeys.some((key) => keys.includes(key))
    if (type !== 'CustomerRegistered' && type !== 'CustomerEmailChanged') return false
    return [email, previousEmail].some(
      (address) => typeof address === 'string' && !isErased(address) && keysOf(address)[0] === keys[0],
    )
  }

  /** @param decide gives what is appended after the newest event, again after a conflict; undefined: nothing */
  async function append(
    email: string,
    command: Command,
    decide: (last: Newest | undefined) => Promise<SubscriberEvent | undefined>,
  ): Promise<void> {
    const own = streamOf.subscriber(keysOf(email)[0] as string)
    for (;;) {
      const last = await newest(email)
      const event = await decide(last)
      if (event === undefined) return
      const revision = last?.stored.stream === own ? last.stored.revision : undefined
      const events = encodeAll(command, [event], `${event.type}:${revision ?? 'none'}`)
      try {
        await eventStore.append(own, events, { expected: revision ?? 'no_stream' })
        return
      } catch (error) {
        if (!(error instanceof WrongExpectedRevision)) throw error
      }
    }
  }

  return {
    async status(email) {
      const last = await newest(email)
      switch (last?.event.type) {
        case 'GuestConfirmationRequested':
          return 'unconfirmed'
        case 'GuestSubscribed':
          return (await isTakenOver(email, last.stored)) ? 'none' : 'subscribed'
        default:
          return 'none'
      }
    },

    async awaiting(email) {
      const last = await newest(email)
      return last?.event.type === 'GuestConfirmationRequested' ? last.event.id : undefined
    },

    append: (type, email, command) =>
      append(email, command, async (last) => {
        const isThere =
          last?.event.type === type &&
          (type === 'GuestConfirmationRequested' || !(await isTakenOver(email, last.stored)))
        return isThere ? undefined : { type, data: { email } }
      }),

    handOver: (email, customerId, command) =>
      append(email, command, async (last) =>
        last?.event.type === 'GuestSubscribed' || last?.event.type === 'GuestConfirmationRequested'
          ? { type: 'GuestBecameCustomer', data: { customerId } }
          : undefined,
      ),
  }
}
