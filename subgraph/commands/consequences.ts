/** Follow-up writes to other streams after a command's own event. An outage during them can't undo the command. */
import { EventStoreUnavailable } from '../../eventstore/port.ts'
import type { GuestStatus } from '../domain/customer.ts'
import type { Subscribers } from '../streams/newsletter-subscribers.ts'
import type { Command } from './command.ts'

/** Waits for the work, and ignores an outage of the event store: the command itself has succeeded. */
export async function leaveToOthers(work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!(error instanceof EventStoreUnavailable)) throw error
  }
}

/**
 * Ends a guest's subscription once the address belongs to the customer. One that still waits for its confirmation is
 * kept if the customer has not chosen: its link then subscribes the customer. For a crash in between, see
 * newsletter-subscribers.ts.
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
