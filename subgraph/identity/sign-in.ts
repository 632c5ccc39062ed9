/**
 * Checking passwords, with Magento's two brakes: an account is locked for a while after so many wrong passwords, and
 * sign-in under a user name is refused for a while after fewer. Both are counted from the log, so they hold on every
 * instance; an address that nobody has is counted too, so that the answers do not tell it apart.
 */
import type { Recorded } from '../../eventstore/codec.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { readNewest } from '../../eventstore/read.ts'
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
import type { Credentials, StoredCredentials } from './credentials.ts'
import type { PasswordChecks } from './password-checks.ts'
import { formsOf, hashPassword, isOutdated, verifyPassword } from './passwords.ts'

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

/** The id of a customer that there is not: for an address that nobody has, as much is read as for one that somebody has. */
const NOBODY = Number.MAX_SAFE_INTEGER

export function createSignIn(parts: {
  readonly eventStore: EventStore
  readonly customers: Customers
  readonly claims: EmailClaims
  readonly credentials: Credentials
  readonly passwords: PasswordChecks
  readonly access: AccessLog
  readonly store: Store
}): SignIn {
  const { eventStore, customers, claims, credentials, passwords, access, store } = parts
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

  /** @param customer who has the key, if anybody has @returns whether the account is locked by it */
  async function recordFailure(
    key: string | number,
    customer: CustomerDocument | undefined,
    reason: 'sign-in' | 'change' | 'locked',
    command: Command,
  ): Promise<boolean> {
    await record(key, { type: 'WrongPasswordGiven', data: { reason } }, command)
    const failures = await history(key)
    return customer !== undefined && lockIfDue(customer, failures, command)
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

  /**
   * Whatever it is refused for (a wrong password, a lock, the throttle, an account without a password, an address that
   * nobody has), as many hashes are made of each kind, and as much is read.
   * @param id of who has the address, if anybody has
   * @throws CustomerError
   */
  async function check(
    id: number | undefined,
    key: string | number,
    password: string,
    command: Command,
    refused: () => CustomerError,
  ): Promise<CustomerDocument> {
    const failures = await history(key)
    // Read anew: the account may have been locked while this attempt waited for its turn.
    const read = await customers.load(id ?? NOBODY)
    const stored = await credentials.read(read)
    const customer = id === undefined ? undefined : read
    const isRefused = isThrottled(failures, command.at, signInThrottle)
    const isOff =
      !isRefused &&
      customer !== undefined &&
      (isLocked(customer, command.at) || (await lockIfDue(customer, failures, command)))
    const hash = isRefused || isOff ? undefined : stored?.passwordHash
    const fits = await passwords.check(password, hash, command)
    if (isRefused) throw refused()
    if (!fits || customer === undefined) {
      await recordFailure(key, customer, isOff ? 'locked' : 'sign-in', command)
      throw refused()
    }
    if (isUnconfirmed(customer, store)) throw accountUnconfirmed()
    if (stored) await upgradeHash(customer.id, password, stored, command)
    await record(key, { type: 'SignInSucceeded', data: {} }, command)
    return customer
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
      if (customer === undefined) await customers.load(NOBODY)
      const key = customer?.id ?? claims.keyOf(email)
      return queue.run(String(key), async () => {
        try {
          const signedIn = await check(customer?.id, key, password, command, refused)
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
        if (isLocked(customer, command.at) || (await lockIfDue(customer, await history(customerId), command))) {
          access.record(customerId, 'password-refused', command)
          throw accountLocked()
        }
        const stored = await credentials.read(customer)
        for (const form of formsOf(password)) {
          if (await verifyPassword(form, stored?.passwordHash)) return stored as StoredCredentials
        }
        access.record(customerId, 'password-refused', command)
        if (await recordFailure(customerId, customer, 'change', command)) throw accountLocked()
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
    else if (event.type === 'WrongPasswordGiven' && event.data.reason !== 'change') {
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
