/**
 * Checking passwords, with Magento's two brakes: an account is locked for a while after so many wrong passwords, and
 * sign-in under a user name is refused for a while after fewer. Both are counted from the log, so they hold on every
 * instance; an address that nobody has is counted too, so that the answers do not tell it apart.
 */
import type { Recorded } from '../../eventstore/codec.ts'
import type { EventStore } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import type { SignInEvent } from '../../schema/events.ts'
import type { Store } from '../../schema/store.ts'
import type { AccessLog } from '../access-log.ts'
import { type Command, encodeAll } from '../command.ts'
import type { Customers } from '../customers.ts'
import { isLocked, isUnconfirmed, lock } from '../domain/customer.ts'
import type { EmailClaims } from '../email-claims.ts'
import { accountLocked, accountUnconfirmed, authenticationFailed, CustomerError, invalidInput } from '../errors.ts'
import { createKeyedQueue } from '../keyed-queue.ts'
import { readNewest } from '../streams.ts'
import type { Credentials, StoredCredentials } from './credentials.ts'
import { hashPassword, isOutdated, verifyPassword } from './passwords.ts'

export interface SignIn {
  /** The customer whose address and password these are. @throws CustomerError (graphql-input, graphql-authentication) */
  signIn(email: string, password: string, command: Command): Promise<CustomerDocument>
  /**
   * Checks the password of a customer who is signed in.
   * @returns the credentials that it fits
   * @throws CustomerError (graphql-authentication): wrong, or the account is locked
   */
  confirm(customerId: number, password: string, command: Command): Promise<StoredCredentials>
  /** Wrong passwords so far no longer count towards a lock: the password was reset. */
  forgive(customerId: number, command: Command): Promise<void>
}

export function createSignIn(
  eventStore: EventStore,
  customers: Customers,
  claims: EmailClaims,
  credentials: Credentials,
  access: AccessLog,
  store: Store,
): SignIn {
  const { lockout, signInThrottle } = store
  const lockoutMs = lockout.minutes * 60_000
  /** More than either brake counts. */
  const keptEvents = 2 * Math.max(lockout.failures, signInThrottle.failures)
  // One check at a time per account: guesses sent at once must not all pass before the first is counted.
  const queue = createKeyedQueue<string>()
  const stream = (key: string | number) => `customerSignIns-${key}`
  const history = (key: string | number) => readNewest<SignInEvent>(eventStore, stream(key), keptEvents)

  async function record(key: string | number, event: SignInEvent, command: Command): Promise<void> {
    // Each attempt counts, also the same one repeated: an id of its own.
    const events = encodeAll({ ...command, id: crypto.randomUUID() }, [event])
    const { revision } = await eventStore.append(stream(key), events, { expected: 'any' })
    // At the start, and again now and then in case the first time was cut off.
    if (revision % 50 === 0) await eventStore.setStreamMetadata(stream(key), { $maxCount: keptEvents })
  }

  /** Locks the account where the failures that are on record call for it. */
  async function lockIfDue(customer: CustomerDocument, command: Command): Promise<boolean> {
    if (failuresToLock(await history(customer.id), customer.lockedUntil, lockoutMs) < lockout.failures) return false
    const until = new Date(command.at.getTime() + lockoutMs)
    await customers.execute(customer.id, { ...command, id: crypto.randomUUID(), repeatable: false }, (state) =>
      lock(state, command.at, until),
    )
    access.record(customer.id, 'locked', command)
    return true
  }

  async function recordFailure(
    customer: CustomerDocument,
    reason: 'sign-in' | 'change',
    command: Command,
  ): Promise<boolean> {
    await record(customer.id, { type: 'WrongPasswordGiven', data: { reason } }, command)
    return lockIfDue(customer, command)
  }

  /** A hash of another shop's is replaced while the password is at hand. What keeps it from it must not fail the sign-in. */
  async function upgradeHash(id: number, password: string, stored: StoredCredentials, command: Command): Promise<void> {
    if (!isOutdated(stored.passwordHash)) return
    try {
      await credentials.upgrade(id, await hashPassword(password), stored, command)
    } catch {
      // The next sign-in tries again.
    }
  }

  /** @param customer who has the address, if anybody has @throws CustomerError */
  async function check(
    customer: CustomerDocument | undefined,
    key: string | number,
    password: string,
    command: Command,
    refused: () => CustomerError,
  ): Promise<CustomerDocument> {
    if (isThrottled(await history(key), command.at, signInThrottle)) throw refused()
    // Read anew: the account may have been locked while this attempt waited for its turn.
    const current = customer && (await customers.load(customer.id))
    if (current && (isLocked(current, command.at) || (await lockIfDue(current, command)))) throw refused()
    const stored = current && (await credentials.read(current))
    if (!(await verifyPassword(password, stored?.passwordHash)) || !current) {
      if (current) await recordFailure(current, 'sign-in', command)
      else await record(key, { type: 'WrongPasswordGiven', data: { reason: 'sign-in' } }, command)
      throw refused()
    }
    if (isUnconfirmed(current, store)) throw accountUnconfirmed()
    if (stored) await upgradeHash(current.id, password, stored, command)
    await record(key, { type: 'SignInSucceeded', data: {} }, command)
    return current
  }

  return {
    async signIn(email, password, command) {
      for (const [name, value] of Object.entries({ email, password })) {
        if (value === '' || value === '0') throw invalidInput(`Specify the "${name}" value.`)
      }
      const refused = () =>
        authenticationFailed(
          'The account sign-in was incorrect or your account is disabled temporarily. Please wait and try again later.',
        )
      const customer = await claims.find(email)
      const key = customer?.id ?? claims.keyOf(email)
      return queue.run(String(key), async () => {
        try {
          const signedIn = await check(customer, key, password, command, refused)
          access.record(key, 'signed-in', command)
          return signedIn
        } catch (error) {
          if (error instanceof CustomerError) access.record(key, 'sign-in-failed', command)
          throw error
        }
      })
    },

    confirm(customerId, password, command) {
      return queue.run(String(customerId), async () => {
        const customer = await customers.load(customerId)
        if (isLocked(customer, command.at) || (await lockIfDue(customer, command))) {
          access.record(customerId, 'password-refused', command)
          throw accountLocked()
        }
        const stored = await credentials.read(customer)
        if (await verifyPassword(password, stored?.passwordHash)) return stored as StoredCredentials
        access.record(customerId, 'password-refused', command)
        if (await recordFailure(customer, 'change', command)) throw accountLocked()
        throw authenticationFailed('Invalid login or password.')
      })
    },

    forgive: (customerId, command) => record(customerId, { type: 'FailuresForgiven', data: {} }, command),
  }
}

/** Whether sign-in is refused: so many failures since the last success, the newest not long ago. */
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
    if (event.type === 'SignInSucceeded') failures = 0
    else if (event.type === 'WrongPasswordGiven' && event.data.reason === 'sign-in') {
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
    else if (Date.parse(event.metadata.at) > lockedAt) failures++
  }
  return failures
}
