/**
 * Who holds an e-mail address: the last event of `customerEmail-<keyed hash>`. The append with an expected revision
 * makes an address unique; no projection is trusted for it.
 *
 * A claim comes before the customer's own event (the registration, the change of address). If that event never came,
 * the claim is abandoned and can be taken over. Taking over is safe without a clock: the newcomer first writes
 * `EmailClaimAbandoned` into the holder's stream, at the revision at which it saw that the holder does not use the
 * address. A command of the holder that is still under way was decided on that revision or an older one, so its append
 * conflicts, and it claims again before it decides again (as every round of a command does) - which fails once the
 * claim has moved, and makes the newcomer's append fail if it has not.
 *
 * Earlier releases claimed an address under a key of another form of it (schema/email-key.ts). Such a claim counts as
 * long as its holder uses the address, and moves to the current key with the holder's next change. No new ones are
 * made.
 */

import { type EventStore, StreamDeleted, WrongExpectedRevision } from '../../eventstore/port.ts'
import { readNewest } from '../../eventstore/read.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import { allEmailKeysOf, emailKeyOf, emailKeysAsTyped, formerEmailKeysOf } from '../../schema/email-key.ts'
import type { EmailEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import { type Command, encodeAll, isCause } from '../commands/command.ts'
import type { Customers } from '../customers/customers.ts'
import { refusal, serviceUnavailable } from '../errors.ts'

/** How long a newcomer waits for a registration under way before it considers the claim abandoned, in milliseconds. */
const GRACE = 1_000
const POLL = 20
const GIVE_UP = 4_000

/** How often an address may be claimed in an hour: each registration and each change sends it a mail, whoever's it is. */
const MOST_CLAIMS = 20
const HOUR_MS = 3_600_000

/** The purpose of the claim: Magento has an error category for each. */
type Occasion = 'registration' | 'change'

const emailTaken = (occasion: Occasion) =>
  refusal(occasion === 'registration' ? 'EMAIL_TAKEN' : 'EMAIL_TAKEN_ON_CHANGE')

export interface EmailClaims {
  /** The keyed hash of the address. */
  keyOf(email: string): string
  /** That key, and those that earlier releases may have used for the address. */
  keysOf(email: string): readonly string[]
  /** The registered customer who uses the address. */
  find(email: string): Promise<CustomerDocument | undefined>
  /** The customer id of a claim that an earlier attempt of this command made. */
  claimedBy(email: string, command: Command): Promise<number | undefined>
  /**
   * Makes the customer the address's holder. @throws CustomerError (CONFLICT) if another customer uses it;
   * EMAIL_CLAIMED_TOO_OFTEN
   */
  claim(email: string, customerId: number, command: Command, occasion: Occasion): Promise<void>
  /** Releases the address; does nothing if the customer does not hold it. */
  release(email: string, customerId: number, command: Command): Promise<void>
  /**
   * The customer's claims of an address that a command is about to leave, for {@link releaseLeft}.
   * @param next the address that it moves to: if it is the same mailbox, only claims of earlier releases are left
   */
  leaving(email: string, customerId: number, next: string): Promise<readonly LeftClaim[]>
  /** Releases these claims, but none that the customer has renewed since, to move back to the address. */
  releaseLeft(left: readonly LeftClaim[], customerId: number, command: Command): Promise<void>
}

/** A claim as it stood when its holder left the address. */
export interface LeftClaim {
  readonly key: string
  readonly revision: number
}

/** @param hashKey the key of the hash, so that a guessed address can't be looked up in the log */
export function createEmailClaims(
  eventStore: EventStore,
  customers: Pick<Customers, 'load'>,
  hashKey: string,
): EmailClaims {
  const streams = createClaimStreams(eventStore)
  const keyOf = (email: string) => emailKeyOf(hashKey, email)
  const keysOf = (email: string) => allEmailKeysOf(hashKey, email)
  /**
   * Makes the same number of reads whoever has the address, under whichever key, so that the duration reveals nothing.
   */
  const newestOfAll = (email: string) => Promise.all(emailKeysAsTyped(hashKey, email).map(streams.newest))
  /** @param key of today's form */
  const uses = (state: CustomerDocument, key: string) => state.status === 'registered' && keyOf(state.email) === key

  /** Whether another customer uses the address with a claim of an earlier release. */
  async function isUsedByFormerClaim(email: string, customerId: number): Promise<boolean> {
    for (const former of formerEmailKeysOf(hashKey, email)) {
      const last = await streams.newest(former)
      if (last?.type !== 'EmailClaimed' || last.data.customerId === customerId) continue
      if (uses(await customers.load(last.data.customerId), keyOf(email))) return true
    }
    return false
  }

  return {
    keyOf,
    keysOf,

    async find(email) {
      const key = keyOf(email)
      for (const last of await newestOfAll(email)) {
        if (last?.type !== 'EmailClaimed') continue
        const state = await customers.load(last.data.customerId)
        if (uses(state, key)) return state
      }
      return undefined
    },

    async claimedBy(email, command) {
      for (const key of emailKeysAsTyped(hashKey, email)) {
        // Not the newest event alone: the customer may have left the address since.
        const newest = await readNewest<EmailEvent>(eventStore, streamOf.email(key), 2 * MOST_CLAIMS)
        const own = newest.findLast(
          ({ type, metadata }) => type === 'EmailClaimed' && isCause(command, metadata.$causationId),
        )
        if (own) return own.data.customerId
      }
      return undefined
    },

    async claim(email, customerId, command, occasion) {
      const key = keyOf(email)
      const started = performance.now()
      let seen: { readonly revision: number; readonly at: number } | undefined
      if (await isUsedByFormerClaim(email, customerId)) throw emailTaken(occasion)
      for (;;) {
        const last = await streams.newest(key)
        if (last && last.revision >= MOST_CLAIMS - 1 && (await streams.isClaimedTooOften(key, command))) {
          throw refusal('EMAIL_CLAIMED_TOO_OFTEN')
        }
        try {
          if (last?.type === 'EmailClaimed' && last.data.customerId !== customerId) {
            const holder = await customers.load(last.data.customerId)
            if (uses(holder, key)) throw emailTaken(occasion)
            if (seen?.revision !== last.revision) seen = { revision: last.revision, at: performance.now() }
            if (performance.now() - started > GIVE_UP) throw serviceUnavailable()
            // No wait is needed for an old claim. A wrong clock costs a wait or a round, never the uniqueness.
            const age = Math.max(performance.now() - seen.at, Date.now() - last.created.getTime())
            if (age < GRACE) {
              await new Promise((resolve) => setTimeout(resolve, POLL))
              continue
            }
            await streams.abandon(holder, key, command)
          }
          await streams.append(key, { type: 'EmailClaimed', data: { customerId } }, last?.revision, command)
          return
        } catch (error) {
          if (!(error instanceof WrongExpectedRevision)) throw error
        }
      }
    },

    release: async (email, customerId, command) =>
      releaseLeft(await heldOf(keysOf(email), customerId), customerId, command),

    leaving: (email, customerId, next) =>
      heldOf(
        keysOf(email).filter((key) => key !== keyOf(next)),
        customerId,
      ),

    releaseLeft,
  }

  /** The claims under these keys that the customer holds. */
  async function heldOf(keys: readonly string[], customerId: number): Promise<LeftClaim[]> {
    const held: LeftClaim[] = []
    for (const key of keys) {
      const last = await streams.newest(key)
      if (last?.type === 'EmailClaimed' && last.data.customerId === customerId) {
        held.push({ key, revision: last.revision })
      }
    }
    return held
  }

  async function releaseLeft(left: readonly LeftClaim[], customerId: number, command: Command): Promise<void> {
    for (const claim of left) await streams.release(claim, customerId, command)
  }
}

/** The streams of the claims, one for each key. */
function createClaimStreams(eventStore: EventStore) {
  const newest = async (key: string) => (await readNewest<EmailEvent>(eventStore, streamOf.email(key), 1))[0]

  async function append(key: string, event: EmailEvent, revision: number | undefined, command: Command): Promise<void> {
    // The revision is part of the event's id: each round's claim is an event of its own. So is the customer: of two
    // attempts of one registration, which have ids of their own, the store would otherwise take the second claim for the
    // first, and both would register.
    const part = `${event.type}:${key}:${revision ?? 'none'}:${event.data.customerId}`
    const [encoded] = encodeAll(command, [event], part)
    await eventStore.append(streamOf.email(key), encoded ? [encoded] : [], { expected: revision ?? 'no_stream' })
  }

  return {
    newest,
    append,

    /** A claim that the command itself has made is one that it may make again. */
    async isClaimedTooOften(key: string, command: Command): Promise<boolean> {
      const newest = await readNewest<EmailEvent>(eventStore, streamOf.email(key), 2 * MOST_CLAIMS)
      const claims = newest.filter(({ type }) => type === 'EmailClaimed')
      const lately = claims.filter(({ metadata }) => command.at.getTime() - Date.parse(metadata.at) < HOUR_MS)
      return lately.length >= MOST_CLAIMS && !claims.some(({ metadata }) => isCause(command, metadata.$causationId))
    },

    /** @throws WrongExpectedRevision if the holder's stream has moved */
    async abandon(holder: CustomerDocument, key: string, command: Command): Promise<void> {
      const [encoded] = encodeAll(
        command,
        [{ type: 'EmailClaimAbandoned', data: { emailKey: key } }],
        `abandon:${key}:${holder.revision}`,
      )
      const expected = holder.revision === -1 ? 'no_stream' : holder.revision
      try {
        await eventStore.append(streamOf.customer(holder.id), encoded ? [encoded] : [], { expected })
      } catch (error) {
        // Tombstoned by hand: nobody can register with this claim any more.
        if (!(error instanceof StreamDeleted)) throw error
      }
    },

    async release({ key, revision }: LeftClaim, customerId: number, command: Command): Promise<void> {
      try {
        await append(key, { type: 'EmailReleased', data: { customerId } }, revision, command)
      } catch (error) {
        // It was claimed again in the meantime: by somebody else, or by the customer, who moves back.
        if (!(error instanceof WrongExpectedRevision)) throw error
      }
    },
  }
}

/** Whether the two addresses are claimed under different keys. */
export const changesClaim = (claims: EmailClaims, from: string, to: string): boolean =>
  claims.keyOf(from) !== claims.keyOf(to)

/**
 * Whether a change of address moves its claim. It does even for the same mailbox, if its claim may come from an earlier
 * release.
 */
export const movesClaim = (claims: EmailClaims, from: string, to: string): boolean =>
  from !== to && (changesClaim(claims, from, to) || claims.keysOf(from).length > 1)
