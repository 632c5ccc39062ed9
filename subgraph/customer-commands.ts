/** The mutations: what each looks up, decides and appends, in an order in which a crash between two appends leaves nothing stuck. */
import { keysOf } from '../eventstore/encryption/customer-keys.ts'
import { type EventStore, EventStoreUnavailable, WrongExpectedRevision } from '../eventstore/port.ts'
import { absentCustomer, type CustomerAddress, type CustomerDocument } from '../projections/customer.ts'
import { customerDeleted, finishErasure, readAccount } from '../projections/erasure.ts'
import type { CustomerEvent } from '../schema/events.ts'
import type { Store } from '../schema/store.ts'
import type { AccessLog } from './access-log.ts'
import type { Command } from './command.ts'
import type { Customers, Decide, Outcome } from './customers.ts'
import type { AddressInput } from './domain/address.ts'
import {
  type AddressTexts,
  addAddress,
  BY_ID,
  type CustomerInput,
  changeAddress,
  checkNotEmpty,
  checkRegistration,
  checkUsable,
  passwordChanged,
  register,
  removeAddress,
  revokeTokens,
  update,
} from './domain/customer.ts'
import { checkPassword } from './domain/password.ts'
import type { EmailClaims } from './email-claims.ts'
import { emailTaken, forbidden, invalidInput, notAuthorized, notFound } from './errors.ts'
import type { Credentials } from './identity/credentials.ts'
import { hashPassword } from './identity/passwords.ts'
import type { SignIn } from './identity/sign-in.ts'
import { type Caller, isCurrent, isSameCustomer } from './identity/tokens.ts'
import type { Ids } from './ids.ts'
import type { Subscribers } from './subscribers.ts'

export interface Commands {
  createCustomer(input: CustomerInput, command: Command): Promise<CustomerDocument>
  updateCustomer(caller: Caller | null, input: CustomerInput, command: Command): Promise<CustomerDocument>
  changePassword(
    caller: Caller | null,
    passwords: { readonly currentPassword: string; readonly newPassword: string },
    command: Command,
  ): Promise<CustomerDocument>
  deleteCustomer(caller: Caller | null, command: Command): Promise<void>
  signIn(email: string, password: string, command: Command): Promise<CustomerDocument>
  revokeTokens(caller: Caller | null, command: Command): Promise<void>
  createAddress(caller: Caller | null, input: AddressInput, command: Command): Promise<AddressOutcome>
  /** @param texts how the address is named in errors: by default by its id */
  updateAddress(
    caller: Caller | null,
    addressId: number,
    input: AddressInput | null | undefined,
    command: Command,
    texts?: AddressTexts,
  ): Promise<AddressOutcome>
  deleteAddress(caller: Caller | null, addressId: number, command: Command, texts?: AddressTexts): Promise<void>
}

export interface AddressOutcome {
  readonly customer: CustomerDocument
  readonly address: CustomerAddress
}

/** The customer if the caller is signed in as it. @throws CustomerError for a guest, a revoked token, a customer who is gone */
export function authorize(caller: Caller | null, state: CustomerDocument): CustomerDocument {
  if (caller === null || state.status !== 'registered') throw notAuthorized()
  if (!isCurrent(caller, state) || !isSameCustomer(caller, state)) throw notAuthorized()
  return state
}

/** What follows from an event that has decided: an outage can't undo it, and is no failure of the command's. */
async function leaveToOthers(work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!(error instanceof EventStoreUnavailable)) throw error
  }
}

/** A registration that lost its id to one who took over its claim starts over; this often. */
const MAX_REGISTRATION_ATTEMPTS = 5

export function createCommands(parts: {
  readonly eventStore: EventStore
  readonly customers: Customers
  readonly ids: Ids
  readonly claims: EmailClaims
  readonly credentials: Credentials
  readonly signIn: SignIn
  readonly subscribers: Subscribers
  readonly access: AccessLog
  readonly store: Store
}): Commands {
  const { eventStore, customers, ids, claims, credentials, subscribers, access, store } = parts

  /** Runs a command on the caller's own customer; the token is checked on the very state that the events are decided on. */
  async function execute(caller: Caller | null, command: Command, decide: Decide): Promise<Outcome> {
    if (caller === null) throw notAuthorized()
    const outcome = await customers.execute(caller.customerId, command, (state) => decide(authorize(caller, state)))
    authorize(caller, outcome.state) // a repetition decides nothing
    return outcome
  }

  async function signedIn(caller: Caller | null): Promise<CustomerDocument> {
    if (caller === null) throw notAuthorized()
    return authorize(caller, await customers.load(caller.customerId))
  }

  async function createCustomer(input: CustomerInput, command: Command): Promise<CustomerDocument> {
    const registration = checkRegistration(input, store, command.at)
    const { email } = registration
    const password = input.password ?? undefined
    if (password !== undefined) checkPassword(password, email, 'registration', store.password)

    // A repetition goes on with the id of the first time.
    let customerId = command.repeatable ? await claims.claimedBy(email, command) : undefined
    if (customerId !== undefined) {
      const state = await customers.load(customerId)
      if (state.status === 'registered') return state
      if (state.status !== 'absent' || state.revision !== -1) customerId = undefined
    } else if (await claims.find(email)) throw emailTaken('graphql-input') // before the costly hash

    // One who has subscribed as a guest stays subscribed, unless the input says otherwise.
    const isSubscribed = registration.isSubscribed ?? (await subscribers.status(email)) === 'subscribed'
    const passwordHash = password === undefined ? undefined : await hashPassword(password)
    for (let attempt = 1; ; attempt++) {
      const id = customerId ?? (await freeId(command))
      await claims.claim(email, id, command, 'graphql-input')
      try {
        // Appended once for each id: where a repetition finds it there, the same event id makes it succeed again.
        const credentialsRevision = passwordHash === undefined ? -1 : await firstCredentials(id, passwordHash, command)
        const { state } = await customers.execute(id, { ...command, repeatable: false }, (state) =>
          register(
            state,
            { ...registration, isSubscribed, customerId: id, credentialsRevision, at: command.at },
            store,
          ),
        )
        return state
      } catch (error) {
        // The id was fenced off by one who took this registration for dead, or was imported: the address may still be free.
        const { status, revision, email: holder } = await customers.load(id)
        const isLost = status === 'absent' ? revision !== -1 : changesClaim(holder, email)
        if (!isLost || attempt === MAX_REGISTRATION_ATTEMPTS) throw error
        await claims.release(email, id, command) // or the next round would wait for this one
        customerId = undefined
      }
    }
  }

  /** An id that nobody has had: one may have been imported while this instance had its block. */
  async function freeId(command: Command): Promise<number> {
    for (;;) {
      const id = await ids.nextCustomerId(command)
      if ((await customers.load(id)).revision === -1) return id
    }
  }

  /** The salt differs each time, so what a repetition finds stored counts, not what it would store. */
  async function firstCredentials(id: number, passwordHash: string, command: Command): Promise<number> {
    const stored = await credentials.read(absentCustomer(id))
    return stored?.revision ?? credentials.set(id, passwordHash, undefined, command)
  }

  async function updateCustomer(
    caller: Caller | null,
    input: CustomerInput,
    command: Command,
  ): Promise<CustomerDocument> {
    if (caller === null) throw notAuthorized()
    checkNotEmpty(input)
    const customerId = caller.customerId
    if (input.email == null) return (await execute(caller, command, (state) => decideUpdate(state))).state

    const newEmail = input.email
    const before = await signedIn(caller)
    checkUsable(before, command.at, store)
    if (newEmail !== before.email) {
      if (!input.password) throw invalidInput('Provide the current "password" to change "email".')
      await parts.signIn.confirm(customerId, input.password, command)
    }
    let previousEmail = before.email
    const { state } = await execute(caller, command, async (state) => {
      const events = decideUpdate(state)
      previousEmail = state.email
      if (changesClaim(state.email, newEmail)) {
        // In every round anew, and after the state was read: see email-claims.ts.
        await claims.claim(newEmail, customerId, command, 'graphql-already-exists')
      }
      return events
    })
    // Where this is cut off, the next one who wants the address takes the claim over.
    if (changesClaim(previousEmail, newEmail)) {
      await leaveToOthers(claims.release(previousEmail, customerId, command))
    }
    return state

    function decideUpdate(state: CustomerDocument): CustomerEvent[] {
      checkUsable(state, command.at, store)
      const events = update(state, input, store, command.at)
      // The address is what the customer signs in with, and where a forgotten password is set anew.
      const isOther = events.some(({ type }) => type === 'CustomerEmailChanged')
      return isOther ? [...events, ...revokeTokens(caller?.tokenId)] : events
    }
  }

  const changesClaim = (from: string, to: string) => claims.keyOf(from) !== claims.keyOf(to)

  async function changePassword(
    caller: Caller | null,
    { currentPassword, newPassword }: { readonly currentPassword: string; readonly newPassword: string },
    command: Command,
  ): Promise<CustomerDocument> {
    if (caller === null) throw notAuthorized()
    for (const [name, value] of Object.entries({ currentPassword, newPassword })) {
      if (value.trim() === '') throw invalidInput(`Specify the "${name}" value.`)
    }
    const customer = await signedIn(caller)
    const { id, email } = customer
    checkUsable(customer, command.at, store)
    if (command.repeatable) {
      await credentials.read(customer) // completes the first time, where it was cut off
      const done = await customers.repetition(id, command)
      if (done) return done.state
    }
    for (;;) {
      const current = await parts.signIn.confirm(id, currentPassword, command)
      checkPassword(newPassword, email, 'change', store.password)
      const hash = await hashPassword(newPassword)
      // Another change may have ended this token meanwhile. One that comes after this look meets a conflict.
      await signedIn(caller)
      try {
        const revision = await credentials.set(id, hash, current, command, caller.tokenId)
        const { state } = await execute(caller, command, (state) => passwordChanged(state, revision, caller.tokenId))
        access.record(id, 'password-changed', command)
        return state
      } catch (error) {
        // Another change came first: then its password is the current one.
        if (!(error instanceof WrongExpectedRevision)) throw error
      }
    }
  }

  /** The event comes first: cut off after it, whoever meets it does the rest. Cut off before it, nothing has happened. */
  async function deleteCustomer(caller: Caller | null, command: Command): Promise<void> {
    if (caller === null) throw notAuthorized()
    keysOf(eventStore) // a log that can't erase anybody deletes nobody
    const { customerId } = caller
    if (command.repeatable && (await customers.repetition(customerId, command))) return
    let emailKeys: string[] = []
    await customers.execute(customerId, command, async (state) => {
      checkUsable(authorize(caller, state), command.at, store)
      const { addresses } = await readAccount(eventStore, customerId)
      emailKeys = [...new Set([state.email, ...addresses.toReversed()].map(claims.keyOf))]
      return [customerDeleted(emailKeys)]
    })
    const eraser = { actor: command.actor, correlationId: command.correlationId, at: command.at }
    await leaveToOthers(finishErasure(eventStore, { customerId, emailKeys }, eraser))
  }

  async function createAddress(caller: Caller | null, input: AddressInput, command: Command): Promise<AddressOutcome> {
    if (caller === null) throw notAuthorized()
    checkNotEmpty(input)
    let reserved: number | undefined
    const { state, events } = await execute(caller, command, async (state) => {
      // Checked before an id is spent on it.
      const free = ids.nextAddressId(state) ?? reserved
      if (free !== undefined) return addAddress(state, free, input, store)
      addAddress(state, 0, input, store)
      reserved = await ids.reserveAddressIds(state.id, command)
      return addAddress(state, reserved, input, store)
    })
    const added = events.find((event) => event.type === 'CustomerAddressAdded')
    return outcome(state, added?.data.addressId ?? 0)
  }

  async function updateAddress(
    caller: Caller | null,
    addressId: number,
    input: AddressInput | null | undefined,
    command: Command,
    texts = BY_ID,
  ): Promise<AddressOutcome> {
    if (caller === null) throw notAuthorized()
    if (addressId === 0) throw invalidInput('Address "id" value must be specified')
    if (input == null || Object.keys(input).length === 0) throw invalidInput('"input" value must be specified')
    const { state } = await execute(caller, command, async (state) => {
      await requireOwnAddress(state, addressId, texts)
      return changeAddress(state, addressId, input, store, texts)
    })
    return outcome(state, addressId)
  }

  function outcome(customer: CustomerDocument, addressId: number): AddressOutcome {
    const address = customer.addresses.find(({ id }) => id === addressId)
    // A repetition of a change whose address was deleted since.
    if (address === undefined) throw notFound(BY_ID.notFound(addressId))
    return { customer, address }
  }

  /** @throws CustomerError: not found, or somebody else's */
  async function requireOwnAddress(state: CustomerDocument, addressId: number, texts: AddressTexts): Promise<void> {
    if (state.addresses.some(({ id }) => id === addressId)) return
    const owner = await ids.addressOwner(addressId)
    if (owner !== undefined && owner !== state.id) {
      const { addresses } = await customers.load(owner)
      if (addresses.some(({ id }) => id === addressId)) {
        throw forbidden(texts.notOwn(addressId))
      }
    }
    throw notFound(texts.notFound(addressId))
  }

  return {
    createCustomer,
    updateCustomer,
    changePassword,
    deleteCustomer,
    signIn: parts.signIn.signIn,

    async revokeTokens(caller, command) {
      if (caller === null) throw notAuthorized()
      await customers.execute(caller.customerId, command, (state) => {
        authorize(caller, state)
        return revokeTokens()
      })
      access.record(caller.customerId, 'tokens-revoked', command)
    },

    createAddress,
    updateAddress,

    async deleteAddress(caller, addressId, command, texts = BY_ID) {
      await execute(caller, command, async (state) => {
        await requireOwnAddress(state, addressId, texts)
        return removeAddress(state, addressId, texts)
      })
    },
  }
}
