/** Between the catalogue's events and stored ones. */
import t from 'tap'
import { check, decode, encode } from '../../eventstore/codec.ts'
import { InvalidEvent } from '../../eventstore/errors.ts'
import type { RecordedEvent } from '../../eventstore/port.ts'
import { type DomainEvent, eventJsonSchemas, eventMetadata, eventSchemas, SCHEMA_VERSION } from '../../schema/events.ts'

const SECRET = 'secret-value'
const id = crypto.randomUUID()
const metadata = {
  $correlationId: 'correlation',
  $causationId: 'causation',
  actor: 'customer:7',
  at: '2026-01-02T03:04:05.000Z',
  traceparent: '00-1-2-01',
}
const address = {
  addressId: 3,
  prefix: null,
  firstname: 'Zoë',
  middlename: null,
  lastname: 'Lee',
  suffix: null,
  company: null,
  street: ['1 Main St', '2nd floor'],
  city: 'Austin',
  postcode: '78701',
  countryId: 'US',
  regionId: 57,
  regionCode: 'TX',
  region: 'Texas',
  telephone: '555',
  fax: null,
  vatId: null,
  customAttributes: {},
}
const details = {
  prefix: null,
  firstname: 'Zoë',
  middlename: null,
  lastname: 'Lee',
  suffix: null,
  dob: '2000-01-31',
  taxvat: null,
  gender: 2,
  allowRemoteShoppingAssistance: false,
}

/** One valid event of every type: a type without one is a type error. */
const examples: { [T in DomainEvent['type']]: Extract<DomainEvent, { type: T }>['data'] } = {
  CustomerRegistered: {
    customerId: 7,
    email: 'zoe@example.com',
    ...details,
    groupId: 1,
    isSubscribed: false,
    customAttributes: { shoe_size: '39', interests: ['1', '2'] },
    rewardUpdateNotification: null,
    rewardWarningNotification: null,
    createdAt: '2026-01-02T03:04:05.000Z',
    credentialsRevision: -1,
  },
  CustomerDetailsChanged: { lastname: 'Li', gender: null },
  CustomerAttributesChanged: { attributes: { shoe_size: null, interests: ['2'] } },
  CustomerEmailChanged: { email: 'b@example.com', previousEmail: 'a@example.com' },
  CustomerPasswordChanged: { credentialsRevision: 2 },
  PasswordHashUpgraded: { credentialsRevision: 1 },
  PasswordResetRequested: {},
  EmailConfirmationRequested: {},
  EmailConfirmed: {},
  NewsletterSubscribed: {},
  NewsletterConfirmationRequested: {},
  NewsletterUnsubscribed: {},
  CustomerAddressAdded: address,
  CustomerAddressImported: address,
  CustomerAddressChanged: { addressId: 3, street: ['2 Main St'] },
  CustomerAddressRemoved: { addressId: 3 },
  DefaultBillingAddressSet: { addressId: null },
  DefaultShippingAddressSet: { addressId: 3 },
  CustomerTokensRevoked: {},
  CustomerLocked: { until: '2026-01-02T03:04:05.000Z' },
  CustomerDeleted: {},
  CustomerIdImported: {},
  EmailClaimAbandoned: { emailKey: 'key' },
  EmailClaimed: { customerId: 7 },
  EmailReleased: { customerId: 7 },
  CredentialsSet: {
    passwordHash: '$argon2id$…',
    keptToken: '1b4e28ba-2fa1-41d2-883f-0016d3cca427',
    tokenGeneration: 1,
  },
  PasswordHashKindFound: { kind: 'argon2id:19456:2:1' },
  SignInSucceeded: {},
  WrongPasswordGiven: { reason: 'sign-in' },
  FailuresForgiven: {},
  GuestSubscribed: { email: 'a@example.com' },
  GuestConfirmationRequested: { email: 'a@example.com' },
  PrivacyRequestReceived: {
    request: 1,
    kind: 'erasure',
    customerId: 7,
    channel: 'letter',
    receivedOn: '2026-01-31',
  },
  RequesterIdentified: { request: 1, how: 'mailed-link' },
  PrivacyRequestExtended: { request: 1, ground: 'complexity', toldOn: '2026-02-03', dueOn: '2026-04-30' },
  PrivacyRequestApproved: { request: 1, expiresAt: '2026-01-02T03:04:05.000Z' },
  ApprovalWaived: { request: 1, reason: 'ticket 7' },
  LegalHoldPlaced: { request: 1, ground: 'legal-claim' },
  LegalHoldReleased: { request: 1 },
  PrivacyRequestRefused: { request: 1, ground: 'excessive' },
  ExecutionBegun: { request: 1, approval: 'given' },
  PrivacyRequestDone: { request: 1, outcome: 'erased', eventsInClear: 0 },
  ErasureStepDone: { request: 1, step: 'backups' },
  PrivacyNoteWritten: { text: 'asked twice' },
  CustomerIdsReserved: {},
  AddressIdsReserved: { customerId: 7 },
  IdFloorRaised: { floor: 1000 },
  AddressIdImported: { customerId: 7 },
  MailCheckpointSet: { commit: '12', prepare: '12', unsent: [{ commit: '1', prepare: '1' }], holder: null },
  ReadModelFenceSet: {
    trusted: ['a'],
    settling: [{ incarnation: 'b', by: 'c' }],
    retired: [],
    contest: null,
    period: 'p',
    fences: [{ writer: 'w', challenger: null, answers: 0 }],
  },
  EventSkipped: { revision: 3, reason: 'unknown type' },
  LogCheckpointWritten: {
    size: 3,
    root: 'r',
    position: { commit: '3', prepare: '3' },
    time: '2026-01-02T03:04:05.000Z',
    keyId: 'k',
    signature: 's',
    edge: ['a', 'b'],
  },
  LogVerified: {
    by: 'operator:olga',
    at: '2026-01-02T03:04:05.000Z',
    events: 9,
    streams: 2,
    faults: 0,
    uncovered: 1,
    checkpoints: 1,
  },
  EventsExported: { customerId: null, command: 'console: export --format csv', revealed: false },
  AccessRecorded: { kind: 'signed-in', clientAddress: '203.0.113.0/24', userAgent: 'curl/8' },
  GuestErased: {},
  GuestBecameCustomer: { customerId: 7 },
  CustomerKeysSet: { generation: 0, masterKeyId: '0123456789abcdef', wrapped: 'AAAA', destroyed: [3] },
  MasterKeySet: { keyStoreId: '5f0c8e7a-0b1d-4c57-9a53-5a1f3c1f2b11', masterKeyId: '0123456789abcdef' },
  KeyFingerprintSet: { key: 'email-hash', fingerprint: 'f' },
  KeyStoreChosen: { keyStoreId: '5f0c8e7a-0b1d-4c57-9a53-5a1f3c1f2b11' },
  KeyBlockBegun: { block: 1 },
  AddressKeyBegun: { emailKey: 'ZW1haWw', generation: 1 },
  PersonalDataRevealed: { customerId: 7, command: 'history', reason: 'ticket 12' },
  ServiceTokenEnded: { jti: 'j', reason: 'ticket 7' },
  ServiceTokenIssued: { subject: 'crm', scope: 'customers:audit', jti: id, expiresAt: '2026-01-02T03:04:05.000Z' },
}
const events = Object.entries(examples).map(([type, data]) => ({ type, data }) as DomainEvent)

/** As a store gives back what was appended. */
function stored({ type, data, metadata }: Pick<RecordedEvent, 'type' | 'data' | 'metadata'>): RecordedEvent {
  const position = { commit: 9n, prepare: 9n }
  const copy = JSON.parse(JSON.stringify({ data, metadata }))
  return { stream: 'customer-7', revision: 4, position, id, type, isJson: true, created: new Date(0), ...copy }
}

function refusal(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (error instanceof InvalidEvent) return error.message
    throw error
  }
  return 'accepted'
}

t.test('every event of the catalogue comes back as it was encoded', async (t) => {
  t.same(Object.keys(examples).sort(), Object.keys(eventSchemas).sort())
  for (const event of events) {
    const encoded = encode(event, id, metadata)
    t.match(encoded, { id, type: event.type, metadata: { ...metadata, schemaVersion: SCHEMA_VERSION } })
    t.ok(eventMetadata.safeParse(encoded.metadata).success)
    const decoded = decode(stored({ metadata: undefined, ...encoded }))
    t.same(decoded, {
      ...event,
      id,
      revision: 4,
      metadata: { ...metadata, schemaVersion: SCHEMA_VERSION },
      created: new Date(0),
    })
  }
})

t.test('data that does not fit is refused on writing; the message names fields, never values', async (t) => {
  const refused: [DomainEvent['type'], unknown, RegExp][] = [
    ['CustomerRegistered', { ...examples.CustomerRegistered, email: 42_4242 }, /"CustomerRegistered".*\bemail\b/],
    ['CustomerRegistered', { ...examples.CustomerRegistered, customerId: SECRET }, /\bcustomerId\b/],
    ['CustomerRegistered', { ...examples.CustomerRegistered, customerId: 0 }, /\bcustomerId\b/],
    ['CustomerRegistered', { email: SECRET }, /\bcustomerId\b.*\bfirstname\b/],
    ['CustomerAddressAdded', { ...address, street: ['a', { [SECRET]: SECRET }] }, /\bstreet\.1\b/],
    ['CustomerLocked', { until: SECRET }, /\buntil\b/],
    ['WrongPasswordGiven', { reason: SECRET }, /\breason\b/],
    ['CredentialsSet', { passwordHash: [SECRET] }, /\bpasswordHash\b/],
    ['CustomerDetailsChanged', { dob: 424242 }, /\bdob\b/],
    ['EmailClaimed', { customerId: 1.424242 }, /\bcustomerId\b/],
    ['CustomerDeleted', SECRET, /\bdata\b/],
    ['CustomerDeleted', null, /\bdata\b/],
    ['CustomerDeleted', [SECRET], /\bdata\b/],
  ]
  for (const [type, data, fields] of refused) {
    const message = refusal(() => encode({ type, data } as DomainEvent, id, metadata))
    t.match(message, fields)
    t.notMatch(message, /secret|4242/, 'no value')
    t.notMatch(message, /\n/, 'one line')
    t.equal(
      refusal(() => check(type, data)),
      message,
    )
  }
})

t.test('a field that the schema does not have is refused by name', async (t) => {
  for (const event of events) {
    const message = refusal(() => check(event.type, { ...event.data, nickname: SECRET }))
    t.match(message, /\bnickname\b/, event.type)
    t.notMatch(message, SECRET)
  }
})

t.test('a type that the catalogue does not know', async (t) => {
  for (const type of ['CustomerTeleported', '$streamDeleted', 'toString', '__proto__']) {
    const message = refusal(() => decode(stored({ type, data: { email: SECRET }, metadata })))
    t.match(message, 'is not in the catalogue')
    t.match(message, type)
    t.notMatch(message, SECRET)
    t.match(
      refusal(() => check(type as DomainEvent['type'], {})),
      'is not in the catalogue',
    )
  }
})

t.test('an event without our metadata is refused on reading, not a crash', async (t) => {
  for (const metadata of [undefined, null, SECRET, 3, Uint8Array.of(1)]) {
    const event = { ...stored({ type: 'CustomerDeleted', data: {}, metadata: undefined }), metadata }
    const message = refusal(() => decode(event))
    t.match(message, /"CustomerDeleted".*metadata/)
    t.notMatch(message, SECRET)
  }
})

t.test('the JSON schemas cover every type and refuse what the catalogue refuses', async (t) => {
  const schemas = eventJsonSchemas() as Record<
    string,
    { type: string; additionalProperties: unknown; required?: string[] }
  >
  t.same(Object.keys(schemas).sort(), Object.keys(eventSchemas).sort())
  for (const [type, schema] of Object.entries(schemas)) {
    t.match(schema, {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      additionalProperties: false,
    })
    const required = schema.required ?? []
    t.ok(
      required.every((field) => field in examples[type as DomainEvent['type']]),
      `${type} requires ${required.join(', ') || 'nothing'}`,
    )
  }
  t.same(JSON.parse(JSON.stringify(schemas)), schemas, 'plain JSON')
})
