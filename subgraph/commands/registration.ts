/** `createCustomer`: claims the address, stores the credentials, then registers the customer. */
import { decode } from '../../eventstore/codec.ts'
import { hasKeys } from '../../eventstore/encryption/customer-keys.ts'
import { absentCustomer, type CustomerDocument, isRegistered, project } from '../../projections/customer.ts'
import type { CustomerEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { type CustomerInput, checkRegistration, register } from '../domain/customer.ts'
import { fault } from '../domain/faults.ts'
import { checkPassword } from '../domain/password.ts'
import { isRefusal } from '../errors.ts'
import { hashPassword } from '../identity/passwords.ts'
import { changesClaim } from '../streams/email-claims.ts'
import { type Command, isCause } from './command.ts'
import { handOver } from './consequences.ts'
import type { CommandParts, Commands } from './customer-commands.ts'

/** How often a registration starts over after losing its id to a later one that claimed the address. */
const MAX_ATTEMPTS = 5
/** More events than a registration has. */
const FIRST_EVENTS = 8

export function createRegistration(parts: CommandParts): Pick<Commands, 'createCustomer'> {
  const { eventStore, customers, ids, claims, credentials, subscribers, store } = parts

  async function createCustomer(input: CustomerInput, command: Command): Promise<CustomerDocument> {
    const registration = checkRegistration(input, store, command.at)
    const { email } = registration
    const password = input.password ?? undefined
    if (password !== undefined) checkPassword(password, email, 'registration', store.password)
    try {
      return await claimAndRegister(registration, password, command)
    } catch (error) {
      if (!command.repeatable || !isRefusal(error)) throw error
      // Another attempt of the same request, under way at the same time, may have come first.
      const customerId = await claims.claimedBy(email, command)
      const state = customerId === undefined ? undefined : await customers.load(customerId)
      if (state === undefined || !isRegistered(state)) throw error
      return asRegistered(state.id, command)
    }
  }

  async function claimAndRegister(
    registration: ReturnType<typeof checkRegistration>,
    password: string | undefined,
    command: Command,
  ): Promise<CustomerDocument> {
    const { email } = registration
    // A retry continues with the id of the first attempt.
    let customerId = command.repeatable ? await claims.claimedBy(email, command) : undefined
    if (customerId !== undefined) {
      const state = await customers.load(customerId)
      if (isRegistered(state)) return asRegistered(customerId, command)
      if (state.status !== 'absent' || state.revision !== -1) customerId = undefined
    } else if (await claims.find(email)) throw fault('EMAIL_TAKEN') // before the costly hash

    const guest = await subscribers.status(email)
    const passwordHash = password === undefined ? undefined : await hashPassword(password)
    for (let attempt = 1; ; attempt++) {
      const id = customerId ?? (await freeId(command))
      await claims.claim(email, id, command, 'registration')
      try {
        const credentialsRevision = passwordHash === undefined ? -1 : await firstCredentials(id, passwordHash, command)
        const { state } = await customers.execute(id, { ...command, repeatable: false }, (state) =>
          register(state, { ...registration, guest, customerId: id, credentialsRevision, at: command.at }, store),
        )
        if (guest !== 'none') await handOver(subscribers, email, id, guest, registration.isSubscribed, command)
        return state
      } catch (error) {
        // The id was fenced off by a registration that considered this one dead, or it was imported. The address may
        // still be free.
        const { status, revision, email: holder } = await customers.load(id)
        const isLost = status === 'absent' ? revision !== -1 : changesClaim(claims, holder, email)
        if (!isLost || attempt === MAX_ATTEMPTS) throw error
        await claims.release(email, id, command) // or the next round would wait for this one
        customerId = undefined
      }
    }
  }

  /**
   * The customer as the command registered it. What the account got later is not shown: whoever repeats the request
   * has not signed in, and may have registered the address of somebody else, who has the account by now.
   */
  async function asRegistered(id: number, command: Command): Promise<CustomerDocument> {
    let state = absentCustomer(id)
    for await (const stored of eventStore.readStream(streamOf.customer(id), { maxCount: FIRST_EVENTS })) {
      const event = decode<CustomerEvent>(stored)
      if (!isCause(command, event.metadata.$causationId)) break
      state = project(state, event)
    }
    return state
  }

  /**
   * An id that was never used. It could have been imported while this instance had its block, or have belonged to
   * somebody who was erased after the backup from which the log was restored.
   */
  async function freeId(command: Command): Promise<number> {
    for (;;) {
      const id = await ids.nextCustomerId(command)
      if ((await customers.load(id)).revision === -1 && !(await isKeyDestroyed(id))) return id
    }
  }

  /** Usually needs no read, because the keys of neighbouring ids are in memory. */
  async function isKeyDestroyed(id: number): Promise<boolean> {
    const keys = hasKeys(eventStore) ? eventStore.keys : undefined
    const known = keys?.peek(String(id))
    return known ? known.bytes === undefined : ((await keys?.isDestroyed(String(id))) ?? false)
  }

  /** The salt differs each time, so on a retry the stored hash counts, not the new one. */
  async function firstCredentials(id: number, passwordHash: string, command: Command): Promise<number> {
    const stored = await credentials.read(absentCustomer(id))
    return stored?.revision ?? credentials.set(id, passwordHash, undefined, command)
  }

  return { createCustomer }
}
