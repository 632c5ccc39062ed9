/**
 * Wrong passwords, recorded in the log: when they lock an account, and when sign-in under a user name is throttled.
 * Both apply on every instance, because they are counted from the log.
 */

import type { Recorded } from '../../eventstore/codec.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { readNewest } from '../../eventstore/read.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import type { SignInEvent } from '../../schema/events.ts'
import type { Store } from '../../schema/store.ts'
import { streamOf } from '../../schema/streams.ts'
import { type Command, encodeAll } from '../commands/command.ts'
import type { Customers } from '../customers/customers.ts'
import { lock } from '../domain/customer.ts'
import type { AccessLog } from '../streams/access-log.ts'

/** The key of a history: the customer's id, or the keyed hash of an unknown address. */
export type SignInKey = string | number

export interface SignInHistory {
  /** The newest events, as many as lock and throttle need, oldest first. */
  read(key: SignInKey): Promise<readonly Recorded<SignInEvent>[]>
  record(key: SignInKey, event: SignInEvent, command: Command): Promise<void>
  /** Locks the account if the recorded failures require it. @returns whether they do */
  lockIfDue(customer: CustomerDocument, failures: readonly Recorded<SignInEvent>[], command: Command): Promise<boolean>
  /** @param customer the customer with that key, if there is one @returns whether this failure locks the account */
  recordFailure(
    key: SignInKey,
    customer: CustomerDocument | undefined,
    reason: 'sign-in' | 'change' | 'locked',
    command: Command,
  ): Promise<boolean>
}

export function createSignInHistory(parts: {
  readonly eventStore: EventStore
  readonly customers: Customers
  readonly access: AccessLog
  readonly store: Store
}): SignInHistory {
  const { eventStore, customers, access } = parts
  const { lockout, signInThrottle } = parts.store
  const lockoutMs = lockout.minutes * 60_000
  /** More than lock and throttle count. */
  const keptEvents = 2 * Math.max(lockout.failures, signInThrottle.failures)
  const read = (key: SignInKey) => readNewest<SignInEvent>(eventStore, streamOf.signIns(key), keptEvents)

  async function record(key: SignInKey, event: SignInEvent, command: Command): Promise<void> {
    // Every attempt counts, also a retry, so it has an id of its own.
    const events = encodeAll({ ...command, id: crypto.randomUUID() }, [event])
    const { revision } = await eventStore.append(streamOf.signIns(key), events, { expected: 'any' })
    // Set at the start, and again now and then in case the first time was interrupted.
    if (revision % 50 === 0) await eventStore.setStreamMetadata(streamOf.signIns(key), { $maxCount: keptEvents })
  }

  async function lockIfDue(
    customer: CustomerDocument,
    failures: readonly Recorded<SignInEvent>[],
    command: Command,
  ): Promise<boolean> {
    if (failuresToLock(failures, customer.lockedUntil, lockoutMs) < lockout.failures) return false
    const until = new Date(command.at.getTime() + lockoutMs)
    await customers.execute(customer.id, { ...command, id: crypto.randomUUID(), repeatable: false }, (state) =>
      lock(state, command.at, until),
    )
    access.record(customer.id, 'locked', command)
    return true
  }

  async function recordFailure(
    key: SignInKey,
    customer: CustomerDocument | undefined,
    reason: 'sign-in' | 'change' | 'locked',
    command: Command,
  ): Promise<boolean> {
    await record(key, { type: 'WrongPasswordGiven', data: { reason } }, command)
    const failures = await read(key)
    return customer !== undefined && lockIfDue(customer, failures, command)
  }

  return { read, record, lockIfDue, recordFailure }
}

/** Whether sign-in is throttled: too many failures since the last success or reset, the newest one recently. */
export function isThrottled(
  history: readonly Recorded<SignInEvent>[],
  now: Date,
  { failures: most, seconds }: Store['signInThrottle'],
): boolean {
  const throttleMs = seconds * 1000
  let failures = 0
  let last = 0
  for (const event of history) {
    const at = Date.parse(event.metadata.at)
    if (event.type !== 'WrongPasswordGiven') failures = 0
    else if (event.data.reason !== 'change') {
      failures = at - last > throttleMs ? 1 : failures + 1
      last = at
    }
  }
  return failures >= most && now.getTime() - last < throttleMs
}

/** Wrong passwords that count towards the next lock: those since the last success, reset or lock. */
export function failuresToLock(
  history: readonly Recorded<SignInEvent>[],
  lockedUntil: string | null,
  lockoutMs: number,
): number {
  const lockedAt = lockedUntil === null ? 0 : Date.parse(lockedUntil) - lockoutMs
  let failures = 0
  for (const event of history) {
    if (event.type !== 'WrongPasswordGiven') failures = 0
    else if (event.data.reason !== 'locked' && Date.parse(event.metadata.at) > lockedAt) failures++
  }
  return failures
}
