/**
 * Checks passwords with Magento's two limits: after a number of wrong passwords an account is locked for a while, and
 * after fewer, sign-in under that user name is throttled. Failures under unknown addresses are counted too, so that the
 * answers do not reveal which are known.
 */
import type { EventStore } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import type { Store } from '../../schema/store.ts'
import { type Command, checkDeadline } from '../commands/command.ts'
import type { Customers } from '../customers/customers.ts'
import { createKeyedQueue } from '../customers/keyed-queue.ts'
import { isLocked, isUnconfirmed } from '../domain/customer.ts'
import { fault } from '../domain/faults.ts'
import { isRefusal, refusal } from '../errors.ts'
import type { AccessLog } from '../streams/access-log.ts'
import type { EmailClaims } from '../streams/email-claims.ts'
import type { Credentials, StoredCredentials } from './credentials.ts'
import type { PasswordChecks } from './password-checks.ts'
import { formsOf, hashPassword, isOutdated, verifyPassword } from './passwords.ts'
import { createSignInHistory, isThrottled, type SignInKey } from './sign-in-history.ts'

export interface SignIn {
  /**
   * Returns the customer with this address and password. @throws CustomerError (graphql-input, graphql-authentication)
   */
  signIn(email: string, password: string, command: Command): Promise<CustomerDocument>
  /**
   * Checks the password of a customer who is signed in.
   * @returns the credentials that it matches
   * @throws CustomerError (graphql-authentication): wrong, or the account is locked
   */
  confirm(customerId: number, password: string, command: Command): Promise<StoredCredentials>
  /** Resets the count of wrong passwords towards a lock, after a reset of the password. */
  forgive(customerId: number, command: Command): Promise<void>
}

/** The id of a customer that does not exist: an unknown address costs the same reads as a known one. */
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
  const { customers, claims, credentials, passwords, access, store } = parts
  const history = createSignInHistory(parts)
  // One check at a time per account, so that concurrent guesses can't all pass before the first is counted.
  const queue = createKeyedQueue<string>()
  /** Of somebody else's guesses, those that were answered meanwhile must not keep the account's owner waiting. */
  const inTurn = <T>(key: SignInKey, command: Command, attempt: () => Promise<T>): Promise<T> =>
    queue.run(String(key), async () => {
      checkDeadline(command)
      return attempt()
    })

  /**
   * Whatever the reason for a refusal (a wrong password, a lock, the throttle, an account without a password, an
   * unknown address), it costs the same reads and the same number of hashes of each kind.
   * @param id the id of the customer with the address, if there is one
   * @throws CustomerError
   */
  async function check(
    id: number | undefined,
    key: SignInKey,
    password: string,
    command: Command,
  ): Promise<CustomerDocument> {
    const failures = await history.read(key)
    // Read again: the account may have been locked while this attempt waited for its turn.
    let read = await customers.load(id ?? NOBODY)
    const stored = await credentials.read(read)
    // Reading the credentials completed an interrupted change, which ended the tokens of the state before.
    if (stored && stored.revision > read.credentialsRevision) read = await customers.load(read.id)
    const customer = id === undefined ? undefined : read
    const isRefused = isThrottled(failures, command.at, store.signInThrottle)
    const isOff =
      !isRefused &&
      customer !== undefined &&
      (isLocked(customer, command.at) || (await history.lockIfDue(customer, failures, command)))
    const hash = isRefused || isOff ? undefined : stored?.passwordHash
    const fits = await passwords.check(password, hash, command)
    if (isRefused) throw refusal('SIGN_IN_REFUSED')
    if (!fits || customer === undefined) {
      await history.recordFailure(key, customer, isOff ? 'locked' : 'sign-in', command)
      throw refusal('SIGN_IN_REFUSED')
    }
    if (isUnconfirmed(customer, store)) throw fault('ACCOUNT_UNCONFIRMED')
    if (stored) await upgradeHash(credentials, customer.id, password, stored, command)
    await history.record(key, { type: 'SignInSucceeded', data: {} }, command)
    return customer
  }

  return {
    async signIn(email, password, command) {
      for (const [name, value] of Object.entries({ email, password })) {
        if (value === '' || value === '0') throw refusal('VALUE_MISSING', { name })
      }
      const customer = await claims.find(email)
      if (customer === undefined) await customers.load(NOBODY)
      const key = customer?.id ?? claims.keyOf(email)
      return inTurn(key, command, async () => {
        try {
          const signedIn = await check(customer?.id, key, password, command)
          access.record(key, 'signed-in', command)
          return signedIn
        } catch (error) {
          if (isRefusal(error)) access.record(key, 'sign-in-failed', command)
          throw error
        }
      })
    },

    confirm(customerId, password, command) {
      return inTurn(customerId, command, async () => {
        const customer = await customers.load(customerId)
        if (
          isLocked(customer, command.at) ||
          (await history.lockIfDue(customer, await history.read(customerId), command))
        ) {
          access.record(customerId, 'password-refused', command)
          throw fault('ACCOUNT_LOCKED')
        }
        const stored = await credentials.read(customer)
        for (const form of formsOf(password)) {
          if (await verifyPassword(form, stored?.passwordHash)) return stored as StoredCredentials
        }
        access.record(customerId, 'password-refused', command)
        if (await history.recordFailure(customerId, customer, 'change', command)) throw fault('ACCOUNT_LOCKED')
        throw refusal('PASSWORD_WRONG')
      })
    },

    forgive: (customerId, command) => history.record(customerId, { type: 'FailuresForgiven', data: {} }, command),
  }
}

/**
 * Replaces an imported hash while the password is available. A failure of the replacement must not fail the sign-in.
 */
async function upgradeHash(
  credentials: Credentials,
  customerId: number,
  password: string,
  stored: StoredCredentials,
  command: Command,
): Promise<void> {
  if (!isOutdated(stored.passwordHash)) return
  try {
    await credentials.upgrade(customerId, await hashPassword(password), stored, command)
  } catch {
    // The next sign-in tries again.
  }
}
