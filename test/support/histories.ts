/** Random valid histories of customers, for property tests (fast-check), and ways to make stored events of them. */
import fc from 'fast-check'
import { encode } from '../../eventstore/codec.ts'
import type { NewEvent, RecordedEvent } from '../../eventstore/port.ts'
import type { AddressFields, CustomerDetails, CustomerEvent } from '../../schema/events.ts'

/** What happened to one customer, in order: the event at index n is revision n of `customer-<id>`. */
export interface History {
  readonly id: number
  readonly events: readonly CustomerEvent[]
}

const text = fc.string({ unit: 'grapheme', maxLength: 12 })
const optionalText = fc.option(text)
const email = fc.emailAddress({ size: 'small' })
const day = fc
  .date({ min: new Date('1900-01-01'), max: new Date('2026-01-01'), noInvalidDate: true })
  .map((date) => date.toISOString().slice(0, 10))

const attributeCode = fc.constantFrom('shoe_size', 'interests', 'club')
const attributes = fc.dictionary(attributeCode, fc.oneof(text, fc.array(text, { minLength: 1, maxLength: 2 })))

const details = {
  prefix: optionalText,
  firstname: text,
  middlename: optionalText,
  lastname: text,
  suffix: optionalText,
  dob: fc.option(day),
  taxvat: optionalText,
  gender: fc.option(fc.integer({ min: 1, max: 3 })),
  allowRemoteShoppingAssistance: fc.boolean(),
} satisfies { [K in keyof CustomerDetails]: fc.Arbitrary<CustomerDetails[K]> }

const address = {
  prefix: optionalText,
  firstname: text,
  middlename: optionalText,
  lastname: text,
  suffix: optionalText,
  company: optionalText,
  street: fc.array(text, { minLength: 1, maxLength: 3 }),
  city: text,
  postcode: optionalText,
  countryId: fc.constantFrom('US', 'DE', 'CZ', 'JP'),
  regionId: fc.option(fc.integer({ min: 1, max: 600 })),
  regionCode: optionalText,
  region: optionalText,
  telephone: text,
  fax: optionalText,
  vatId: optionalText,
  customAttributes: attributes,
} satisfies { [K in keyof AddressFields]: fc.Arbitrary<AddressFields[K]> }

/** Which of the customer's addresses an event is about; taken modulo their number. */
const which = fc.nat(100)

const LINKS = [
  'PasswordResetRequested',
  'EmailConfirmationRequested',
  'EmailConfirmed',
  'NewsletterConfirmationRequested',
] as const

/** What may happen to a registered customer, still without the ids and former values that depend on what was before. */
const move = fc.oneof(
  fc.record({ type: fc.constant('details'), changed: fc.record(details, { requiredKeys: [] }) }),
  fc.record({ type: fc.constant('email'), email }),
  fc.record({ type: fc.constant('password') }),
  fc.record({
    type: fc.constant('attributes'),
    attributes: fc.dictionary(attributeCode, fc.option(fc.oneof(text, fc.array(text, { minLength: 1, maxLength: 2 })))),
  }),
  fc.record({ type: fc.constant('link'), link: fc.constantFrom(...LINKS) }),
  fc.record({ type: fc.constant('newsletter') }),
  fc.record({ type: fc.constant('add'), fields: fc.record(address) }),
  fc.record({ type: fc.constant('change'), which, changed: fc.record(address, { requiredKeys: [] }) }),
  fc.record({ type: fc.constant('remove'), which }),
  fc.record({ type: fc.constantFrom('billing', 'shipping'), which, none: fc.boolean() }),
  fc.record({ type: fc.constant('revoke') }),
  fc.record({ type: fc.constant('lock'), minutes: fc.integer({ min: 1, max: 60 }) }),
  fc.record({ type: fc.constant('abandon') }),
)
type Move = typeof move extends fc.Arbitrary<infer M> ? M : never

const START = Date.parse('2026-01-01T00:00:00Z')

/**
 * A customer's history as the domain could have written it: perhaps an abandoned claim, the registration, changes of what
 * is there, perhaps the deletion.
 * @param options.maxChanges the most events between registration and deletion; default 20
 */
export function history(id: number, options: { readonly maxChanges?: number } = {}): fc.Arbitrary<History> {
  return fc
    .record({
      abandoned: fc.boolean(),
      registration: fc.record({
        email,
        ...details,
        groupId: fc.integer({ min: 0, max: 3 }),
        isSubscribed: fc.boolean(),
        customAttributes: attributes,
        rewardUpdateNotification: fc.option(fc.integer({ min: 0, max: 1 })),
        rewardWarningNotification: fc.option(fc.integer({ min: 0, max: 1 })),
        createdAt: fc.constant(new Date(0).toISOString()),
        credentialsRevision: fc.integer({ min: -1, max: 0 }),
      }),
      moves: fc.array(move, { maxLength: options.maxChanges ?? 20 }),
      deleted: fc.boolean(),
    })
    .map(({ abandoned, registration, moves, deleted }) => ({
      id,
      events: [
        ...(abandoned ? [abandonment(id)] : []),
        { type: 'CustomerRegistered', data: { customerId: id, ...registration } },
        ...happen(id, registration, moves),
        ...(deleted ? [{ type: 'CustomerDeleted', data: {} } as const] : []),
      ],
    }))
}

/** Histories of the customers 1 to `customers` (default 4). */
export function histories(
  options: { readonly customers?: number; readonly maxChanges?: number } = {},
): fc.Arbitrary<readonly History[]> {
  const { customers = 4, ...each } = options
  return fc.tuple(...Array.from({ length: customers }, (_, index) => history(index + 1, each)))
}

const abandonment = (id: number): CustomerEvent => ({ type: 'EmailClaimAbandoned', data: { emailKey: `key${id}` } })

/** The moves as events; those that can't happen (to an address where there is none) are left out. */
function happen(
  id: number,
  registration: { readonly email: string; readonly isSubscribed: boolean; readonly credentialsRevision: number },
  moves: readonly Move[],
): CustomerEvent[] {
  let { email: previousEmail, isSubscribed, credentialsRevision } = registration
  let lastAddressId = id * 1000
  let addresses: number[] = []

  const apply = (move: Move): CustomerEvent | undefined => {
    const addressId = 'which' in move ? addresses[move.which % addresses.length] : undefined
    switch (move.type) {
      case 'details':
        return { type: 'CustomerDetailsChanged', data: move.changed }
      case 'email': {
        const data = { email: move.email, previousEmail }
        previousEmail = move.email
        return { type: 'CustomerEmailChanged', data }
      }
      case 'password':
        credentialsRevision++
        return { type: 'CustomerPasswordChanged', data: { credentialsRevision } }
      case 'attributes':
        return { type: 'CustomerAttributesChanged', data: { attributes: move.attributes } }
      case 'link':
        return { type: move.link, data: {} }
      case 'newsletter':
        isSubscribed = !isSubscribed
        return { type: isSubscribed ? 'NewsletterSubscribed' : 'NewsletterUnsubscribed', data: {} }
      case 'add':
        addresses.push(++lastAddressId)
        return { type: 'CustomerAddressAdded', data: { addressId: lastAddressId, ...move.fields } }
      case 'change':
        return addressId ? { type: 'CustomerAddressChanged', data: { addressId, ...move.changed } } : undefined
      case 'remove':
        addresses = addresses.filter((each) => each !== addressId)
        return addressId ? { type: 'CustomerAddressRemoved', data: { addressId } } : undefined
      case 'billing':
      case 'shipping': {
        const type = move.type === 'billing' ? 'DefaultBillingAddressSet' : 'DefaultShippingAddressSet'
        return { type, data: { addressId: move.none ? null : (addressId ?? null) } }
      }
      case 'revoke':
        return { type: 'CustomerTokensRevoked', data: {} }
      case 'lock':
        return { type: 'CustomerLocked', data: { until: new Date(START + move.minutes * 60_000).toISOString() } }
      case 'abandon':
        return abandonment(id)
    }
  }
  return moves.map(apply).filter((event) => event !== undefined)
}

/** The history's events ready to append, with ids of their own; each is decided one second after the one before. */
export function encoded({ id, events }: History): NewEvent[] {
  return events.map((event, index) =>
    encode(event, crypto.randomUUID(), {
      $correlationId: `correlation-${id}`,
      $causationId: `command-${id}-${index}`,
      actor: `customer:${id}`,
      at: new Date(START + index * 1000).toISOString(),
    }),
  )
}

/** The history as a store would give it back: for tests without one. Positions mean nothing. */
export function recorded(history: History): RecordedEvent[] {
  return encoded(history).map(({ id, type, data, metadata }, revision) => ({
    stream: `customer-${history.id}`,
    revision,
    position: { commit: BigInt(revision), prepare: BigInt(revision) },
    id,
    type,
    isJson: true,
    // As from the log: nothing undefined in it, no prototypes, no sharing.
    data: JSON.parse(JSON.stringify(data)),
    metadata: JSON.parse(JSON.stringify(metadata)),
    created: new Date(START + revision * 1000),
  }))
}
