/** What follows from a command's own event, in other streams: an outage can't undo what was decided. */
import { EventStoreUnavailable } from '../../eventstore/port.ts'
import type { GuestStatus } from '../domain/customer.ts'
import type { Subscribers } from '../streams/subscribers.ts'
import type { Command } from './command.ts'

/** Waits for the work; that the event store is away is no failure of the command's. */
export async function leaveToOthers(work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!(error instanceof EventStoreUnavailable)) throw error
  }
}

/**
 * Ends what a guest has subscribed to, once the address is the customer's. One that waits for its confirmation stays where
 * the customer has not chosen: its link then subscribes the customer. See subscribers.ts for where this is cut off.
 */
export async function handOver(
  subscribers: Subscribers,
  email: string,
  customerId: number,
  guest: GuestStatus,
  choice: boolean | null | undefined,
  command: Command,
): Promise<void> {
  if (guest !== 'subscribed' && choice == null) return
  await leaveToOthers(subscribers.handOver(email, customerId, command))
}
