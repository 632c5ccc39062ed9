/** The customer projection, event by event: given a document, when an event comes, then so much of it changes. */
import t, { type Test } from 'tap'
import { decode, type Recorded } from '../../eventstore/codec.ts'
import type { RecordedEvent } from '../../eventstore/port.ts'
import { absentCustomer, type CustomerDocument, project } from '../../projections/customer.ts'
import { type AddressFields, type CustomerEvent, customerEventSchemas, SCHEMA_VERSION } from '../../schema/events.ts'

const AT = '2026-03-04T05:06:07.000Z'

/** The event as the customer's next one. */
function next(document: CustomerDocument, event: CustomerEvent, at = AT): Recorded<CustomerEvent> {
  return {
    ...event,
    id: '0f8fad5b-d9cb-469f-a165-70867728950e',
    revision: document.revision + 1,
    created: new Date(0),
    metadata: { $correlationId: 'c', $causationId: 'c', actor: 'guest', at, schemaVersion: SCHEMA_VERSION },
  }
}

const given = (...events: readonly CustomerEvent[]) => {
  const document = events.reduce((current, event) => project(current, next(current, event)), absentCustomer(7))
  return {
    document,
    when: (event: CustomerEvent) => ({
      /** Nothing else may change, and nothing of the document before. */
      thenChanges(t: Test, changes: Partial<CustomerDocument>) {
        tested.add(event.type)
        const before = structuredClone(document)
        t.strictSame(project(document, next(document, event)), {
          ...before,
          ...changes,
          revision: before.revision + 1,
        })
        t.strictSame(document, before, 'the document before is left as it was')
      },
    }),
  }
}
const tested = new Set<string>()

const details = {
  ...{ prefix: 'Dr.', firstname: 'Ada', middlename: null, lastname: 'King', suffix: null },
  ...{ dob: '1815-12-10', taxvat: 'GB1', gender: 2, allowRemoteShoppingAssistance: false },
}
const registered: CustomerEvent = {
  type: 'CustomerRegistered',
  data: {
    ...details,
    ...{ customerId: 7, email: 'ada@example.com', groupId: 1, isSubscribed: false, credentialsRevision: 0 },
    ...{ customAttributes: { size: '39' }, rewardUpdateNotification: 1, rewardWarningNotification: 0, createdAt: AT },
  },
}
const fields: AddressFields = {
  ...{ prefix: null, firstname: 'Ada', middlename: null, lastname: 'King', suffix: null, company: null },
  ...{ street: ['12 St James Square', 'Floor 2'], city: 'London', postcode: 'SW1Y', countryId: 'GB', regionId: null },
  ...{ regionCode: null, region: null, telephone: '1', fax: null, vatId: null, customAttributes: {} },
}
const added = (addressId: number): CustomerEvent => ({ type: 'CustomerAddressAdded', data: { addressId, ...fields } })
const billing = (addressId: number | null): CustomerEvent => ({ type: 'DefaultBillingAddressSet', data: { addressId } })
const shipping = (addressId: number | null): CustomerEvent => ({
  type: 'DefaultShippingAddressSet',
  data: { addressId },
})

t.test('a registration makes the customer', async (t) => {
  given()
    .when(registered)
    .thenChanges(t, {
      ...details,
      ...{ status: 'registered', email: 'ada@example.com', createdAt: AT, groupId: 1, credentialsRevision: 0 },
      ...{ customAttributes: { size: '39' }, rewardUpdateNotification: 1, rewardWarningNotification: 0 },
    })
})

t.test('a registration after an abandoned claim', async (t) => {
  given({ type: 'EmailClaimAbandoned', data: { emailKey: 'k' } })
    .when(registered)
    .thenChanges(t, {
      ...details,
      ...{ status: 'registered', email: 'ada@example.com', createdAt: AT, groupId: 1, credentialsRevision: 0 },
      ...{ customAttributes: { size: '39' }, rewardUpdateNotification: 1, rewardWarningNotification: 0 },
    })
})

t.test('an abandoned claim changes nothing', async (t) => {
  given()
    .when({ type: 'EmailClaimAbandoned', data: { emailKey: 'k' } })
    .thenChanges(t, {})
  given(registered)
    .when({ type: 'EmailClaimAbandoned', data: { emailKey: 'k' } })
    .thenChanges(t, {})
})

t.test('changed details', async (t) => {
  given(registered)
    .when({ type: 'CustomerDetailsChanged', data: { lastname: 'Lovelace', dob: null, gender: 3 } })
    .thenChanges(t, { lastname: 'Lovelace', dob: null, gender: 3 })
  given(registered).when({ type: 'CustomerDetailsChanged', data: {} }).thenChanges(t, {})
})

t.test('another e-mail address', async (t) => {
  given(registered)
    .when({ type: 'CustomerEmailChanged', data: { email: 'new@example.com', previousEmail: 'ada@example.com' } })
    .thenChanges(t, { email: 'new@example.com' })
})

t.test('another password', async (t) => {
  given(registered)
    .when({ type: 'CustomerPasswordChanged', data: { credentialsRevision: 3 } })
    .thenChanges(t, { credentialsRevision: 3 })
})

t.test('a better hash of the same password leaves its link as it is', async (t) => {
  given(registered, { type: 'PasswordResetRequested', data: {} })
    .when({ type: 'PasswordHashUpgraded', data: { credentialsRevision: 1 } })
    .thenChanges(t, { credentialsRevision: 1 })
})

/** The id of all events here. */
const LINK = { eventId: '0f8fad5b-d9cb-469f-a165-70867728950e', at: AT }

t.test('links to reset the password', async (t) => {
  const requested: CustomerEvent = { type: 'PasswordResetRequested', data: {} }
  given(registered)
    .when(requested)
    .thenChanges(t, { passwordReset: LINK, passwordResetRequests: [AT] })
  const { document } = given(registered, requested)
  const later = '2026-03-04T06:06:06.000Z'
  t.same(project(document, next(document, requested, later)).passwordResetRequests, [AT, later])
  const muchLater = '2026-03-04T06:06:07.000Z'
  t.same(project(document, next(document, requested, muchLater)).passwordResetRequests, [muchLater], 'of an hour')
  given(registered, requested)
    .when({ type: 'CustomerPasswordChanged', data: { credentialsRevision: 3 } })
    .thenChanges(t, { credentialsRevision: 3, passwordReset: null })
})

t.test('confirmation of the account', async (t) => {
  const requested: CustomerEvent = { type: 'EmailConfirmationRequested', data: {} }
  given(registered)
    .when(requested)
    .thenChanges(t, { confirmation: LINK, confirmationRequests: [AT] })
  given(registered, requested).when({ type: 'EmailConfirmed', data: {} }).thenChanges(t, { confirmation: null })
})

t.test('another address ends every link that was sent to the one before', async (t) => {
  given(
    registered,
    { type: 'PasswordResetRequested', data: {} },
    { type: 'NewsletterConfirmationRequested', data: {} },
    { type: 'EmailConfirmationRequested', data: {} },
  )
    .when({ type: 'CustomerEmailChanged', data: { email: 'new@example.com', previousEmail: 'ada@example.com' } })
    .thenChanges(t, { email: 'new@example.com', passwordReset: null, newsletterConfirmation: null })
})

t.test('revoked tokens: a new generation, and the one token that goes on', async (t) => {
  const keptToken = '1b4e28ba-2fa1-41d2-883f-0016d3cca427'
  const revoked: CustomerEvent = { type: 'CustomerTokensRevoked', data: { keptToken } }
  given(registered).when(revoked).thenChanges(t, { tokenGeneration: 1, keptToken })
  given(registered, revoked)
    .when({ type: 'CustomerTokensRevoked', data: {} })
    .thenChanges(t, { tokenGeneration: 2, keptToken: null })
})

t.test("the store's own attributes", async (t) => {
  given(registered)
    .when({ type: 'CustomerAttributesChanged', data: { attributes: { size: null, interests: ['1'] } } })
    .thenChanges(t, { customAttributes: { interests: ['1'] } })
})

t.test('events of version 1 are read as those of today', async (t) => {
  const { allowRemoteShoppingAssistance: _, ...oldDetails } = details
  const metadata = { $correlationId: 'c', $causationId: 'c', actor: 'guest', at: AT, schemaVersion: 1 }
  const stored = (type: string, data: object, revision: number) =>
    decode<CustomerEvent>({ stream: 'customer-7', type, data, metadata, revision, id: '' } as unknown as RecordedEvent)
  const data = { ...oldDetails, customerId: 7, email: 'ada@example.com', groupId: 1, isSubscribed: true }
  const { customAttributes: __, ...oldFields } = fields
  const document = [
    stored('CustomerRegistered', { ...data, credentialsRevision: 0 }, 0),
    stored('CustomerAddressAdded', { addressId: 12, ...oldFields }, 1),
  ].reduce(project, absentCustomer(7))
  t.match(document, {
    createdAt: AT,
    newsletter: 'subscribed',
    customAttributes: {},
    allowRemoteShoppingAssistance: false,
    addresses: [{ id: 12, ...fields }],
  })
})

t.test('the newsletter', async (t) => {
  const subscribed: CustomerEvent = { type: 'NewsletterSubscribed', data: {} }
  given(registered).when(subscribed).thenChanges(t, { newsletter: 'subscribed' })
  given(registered, subscribed)
    .when({ type: 'NewsletterUnsubscribed', data: {} })
    .thenChanges(t, { newsletter: 'unsubscribed' })
  const requested: CustomerEvent = { type: 'NewsletterConfirmationRequested', data: {} }
  given(registered)
    .when(requested)
    .thenChanges(t, { newsletter: 'unconfirmed', newsletterConfirmation: LINK, newsletterRequests: [AT] })
  given(registered, requested)
    .when(subscribed)
    .thenChanges(t, { newsletter: 'subscribed', newsletterConfirmation: null })
})

t.test('an id that is taken for a customer who moves in changes nothing yet', async (t) => {
  given().when({ type: 'CustomerIdImported', data: {} }).thenChanges(t, {})
})

t.test('an address is added', async (t) => {
  given(registered)
    .when(added(12))
    .thenChanges(t, { addresses: [{ id: 12, ...fields }], lastAddressId: 12 })
})

t.test('an imported address is no id given out here', async (t) => {
  given(registered)
    .when({ type: 'CustomerAddressImported', data: { addressId: 12, ...fields } })
    .thenChanges(t, { addresses: [{ id: 12, ...fields }] })
})

t.test('addresses stay in the order of their ids', async (t) => {
  given(registered, added(12), added(30))
    .when(added(21))
    .thenChanges(t, {
      addresses: [12, 21, 30].map((id) => ({ id, ...fields })),
      lastAddressId: 30,
    })
})

t.test('an address is changed, and no other', async (t) => {
  given(registered, added(12), added(13))
    .when({ type: 'CustomerAddressChanged', data: { addressId: 12, street: ['1 New Street'], region: 'Kent' } })
    .thenChanges(t, {
      addresses: [
        { id: 12, ...fields, street: ['1 New Street'], region: 'Kent' },
        { id: 13, ...fields },
      ],
    })
})

t.test('an address is removed, with the defaults that named it', async (t) => {
  const removed: CustomerEvent = { type: 'CustomerAddressRemoved', data: { addressId: 12 } }
  const left = [{ id: 13, ...fields }]
  given(registered, added(12), added(13), billing(12), shipping(13)).when(removed).thenChanges(t, {
    addresses: left,
    defaultBilling: null,
  })
  given(registered, added(12), added(13), billing(13), shipping(12)).when(removed).thenChanges(t, {
    addresses: left,
    defaultShipping: null,
  })
  given(registered, added(12), billing(12), shipping(12))
    .when(removed)
    .thenChanges(t, {
      ...{ addresses: [], defaultBilling: null, defaultShipping: null },
    })
})

t.test('an id is not given again: the highest one stays known', async (t) => {
  const { document } = given(registered, added(12), { type: 'CustomerAddressRemoved', data: { addressId: 12 } })
  t.equal(document.lastAddressId, 12)
})

t.test('default addresses are set and taken away', async (t) => {
  given(registered, added(12)).when(billing(12)).thenChanges(t, { defaultBilling: 12 })
  given(registered, added(12)).when(shipping(12)).thenChanges(t, { defaultShipping: 12 })
  given(registered, added(12), billing(12)).when(billing(null)).thenChanges(t, { defaultBilling: null })
  given(registered, added(12), shipping(12)).when(shipping(null)).thenChanges(t, { defaultShipping: null })
})

t.test('revoked tokens', async (t) => {
  const revoked: CustomerEvent = { type: 'CustomerTokensRevoked', data: {} }
  given(registered).when(revoked).thenChanges(t, { tokenGeneration: 1 })
  given(registered, revoked).when(revoked).thenChanges(t, { tokenGeneration: 2 })
})

t.test('a locked account', async (t) => {
  const until = '2026-03-04T05:16:07.000Z'
  given(registered).when({ type: 'CustomerLocked', data: { until } }).thenChanges(t, { lockedUntil: until })
})

t.test('a deletion leaves nothing personal and ends all tokens', async (t) => {
  const deleted: CustomerEvent = { type: 'CustomerDeleted', data: {} }
  const before = given(registered, added(12), billing(12), { type: 'CustomerTokensRevoked', data: {} })
  const { id: _, revision: __, ...blank } = absentCustomer(7)
  before.when(deleted).thenChanges(t, { ...blank, status: 'deleted', tokenGeneration: 2 })
  t.notMatch(JSON.stringify(project(before.document, next(before.document, deleted))), /ada|king|london|gb1/i)
})

t.test('every type of the catalogue is here', async (t) => {
  t.same([...tested].sort(), Object.keys(customerEventSchemas).sort())
})

t.test('an event that is not the next one is refused', async (t) => {
  const { document } = given(registered)
  for (const revision of [0, 2]) {
    const event = { ...next(document, { type: 'NewsletterSubscribed', data: {} }), revision }
    t.throws(() => project(document, event), RangeError)
  }
})

t.test('what can not be a customer’s event is refused, and nothing personal is said', async (t) => {
  const { document } = given(registered)
  const refused = (event: object) =>
    t.throws(() => project(document, next(document, event as CustomerEvent)), {
      name: 'TypeError',
      message: /^(?!.*ada)/i,
    })
  refused({ type: 'EmailClaimed', data: { customerId: 7 } })
  refused({ type: 'CustomerDetailsChanged', data: '{"firstname": "Ada", ' })
  refused({ type: 'CustomerDetailsChanged', data: null })
  refused({ type: 'CustomerDetailsChanged', data: ['Ada'] })
  refused({ type: 'CustomerRegistered', data: { ...registered.data, customerId: 8 } })
})
