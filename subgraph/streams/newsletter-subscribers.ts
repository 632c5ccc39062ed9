/**
 * Newsletter subscriptions of guests, addresses without an account: the newest event of `newsletterSubscriber-<keyed
 * hash>`. A customer's own subscription is in the customer's stream.
 *
 * A guest's subscription ends once a customer has the address. The customer's own events decide whether that has
 * happened. They are written before `GuestBecameCustomer`, so this also holds if that event is missing, because a
 * process was killed or an earlier release did not write it. The event is there for readers of the log.
 */

import { decode, type Recorded } from '../../eventstore/codec.ts'
import { comparePositions, type EventStore, type RecordedEvent, WrongExpectedRevision } from '../../eventstore/port.ts'
import { orGone, orNone } from '../../eventstore/read.ts'
import { type EmailEvent, type EventMetadata, isErased, type SubscriberEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { type Command, encodeAll, isCause } from '../commands/command.ts'
import type { GuestStatus } from '../domain/customer.ts'

export interface Subscribers {
  /** The guest subscription of the address, unless a customer has taken it over. */
  status(email: string): Promise<GuestStatus>
  /** The id of the event that asked for the confirmation link; undefined if no confirmation is pending. */
  awaiting(email: string): Promise<string | undefined>
  /** Whether an earlier attempt of the command has changed the guest's subscription. */
  isRepetition(email: string, command: Command): Promise<boolean>
  /** Does nothing if the address is already subscribed or waits for its confirmation. */
  append(
    type: Extract<SubscriberEvent['type'], 'GuestSubscribed' | 'GuestConfirmationRequested'>,
    email: string,
    command: Command,
  ): Promise<void>
  /** Ends a guest's subscription because the address now belongs to a customer; does nothing if there is none. */
  handOver(email: string, customerId: number, command: Command): Promise<void>
}

/** How far back an earlier attempt of a command is searched for. */
const REPETITION_WINDOW = 200

/** The newest event of a stream, decoded and as stored. */
interface Newest {
  readonly event: Recorded<SubscriberEvent>
  readonly stored: RecordedEvent
}

/**
 * What the event says, if anybody can read it: undefined for a subscription that was written while the address was
 * erased, with a key that is destroyed.
 */
const kindOf = ({ event }: Newest): SubscriberEvent['type'] | undefined =>
  'email' in event.data && isErased(event.data.email) ? undefined : event.type

/**
 * @param keysOf the keyed hashes of an address: the first is used for writing; an event under another one counts until
 * there is a newer one
 */
export function createSubscribers(eventStore: EventStore, keysOf: (email: string) => readonly string[]): Subscribers {
  async function newest(email: string): Promise<Newest | undefined> {
    for (const key of keysOf(email)) {
      const events = eventStore.readStream(streamOf.subscriber(key), { direction: 'backwards', maxCount: 1 })
      for await (const stored of orNone(events)) return { event: decode<SubscriberEvent>(stored), stored }
    }
    return undefined
  }

  /** Whether a customer has taken, or left, the address since the guest's event. */
  async function isTakenOver(email: string, since: RecordedEvent): Promise<boolean> {
    const keys = keysOf(email)
    const holders = new Set<number>()
    for (const key of keys) {
      for await (const claim of orNone(eventStore.readStream(streamOf.email(key)))) {
        holders.add(decode<EmailEvent>(claim).data.customerId)
      }
    }
    for (const id of holders) {
      for await (const event of orGone(eventStore.readStream(streamOf.customer(id)))) {
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

  /**
   * @param decide returns what to append after the newest event, and is called again after a conflict; undefined:
   * nothing
   */
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
      switch (last && kindOf(last)) {
        case 'GuestConfirmationRequested':
          return 'unconfirmed'
        case 'GuestSubscribed':
          return (await isTakenOver(email, (last as Newest).stored)) ? 'none' : 'subscribed'
        default:
          return 'none'
      }
    },

    async awaiting(email) {
      const last = await newest(email)
      return last && kindOf(last) === 'GuestConfirmationRequested' ? last.event.id : undefined
    },

    async isRepetition(email, command) {
      if (!command.repeatable) return false
      for (const key of keysOf(email)) {
        const events = eventStore.readStream(streamOf.subscriber(key), {
          direction: 'backwards',
          maxCount: REPETITION_WINDOW,
        })
        for await (const { metadata } of orNone(events)) {
          if (isCause(command, (metadata as Partial<EventMetadata> | undefined)?.$causationId)) return true
        }
      }
      return false
    },

    append: (type, email, command) =>
      append(email, command, async (last) => {
        const isThere =
          last !== undefined &&
          kindOf(last) === type &&
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
