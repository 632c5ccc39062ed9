/**
 * The event catalogue: every event this service writes, as one schema each. The TypeScript types, the checks on
 * writing and the published JSON schemas all come from here. An older version of an event is brought up to date
 * by {@link upcast}, here and nowhere else. The events of auditors are in audit-events.ts.
 */
import { z } from 'zod'
import {
  accessEventSchemas,
  auditEventSchemas,
  checkpointEventSchemas,
  noteEventSchemas,
  requestEventSchemas,
  serviceTokenEventSchemas,
  verificationEventSchemas,
} from './audit-events.ts'
import { id, optionalPersonalText, personal, personalText, position } from './event-fields.ts'

/** The fields of a customer that a plain change may touch. null: not set. */
const customerDetails = z.strictObject({
  prefix: optionalPersonalText,
  firstname: personalText,
  middlename: optionalPersonalText,
  lastname: personalText,
  suffix: optionalPersonalText,
  /** YYYY-MM-DD */
  dob: optionalPersonalText,
  taxvat: optionalPersonalText,
  /** 1 male, 2 female, 3 not specified */
  gender: personal(z.int().nullable()),
  /** Whether the customer allows the shop's staff to see the shop as the customer does (module LoginAsCustomer). */
  allowRemoteShoppingAssistance: z.boolean(),
})
export type CustomerDetails = z.infer<typeof customerDetails>

/**
 * Values of the store's own attributes by code: a text, or the values of the chosen options. The store's configuration
 * defines the attributes. Values of attributes that it no longer defines are kept.
 */
const customAttributes = personal(z.record(z.string(), z.union([z.string(), z.array(z.string())])))
export type CustomAttributes = z.infer<typeof customAttributes>

/** What an address holds beside its id. null: not set. */
export const addressFields = z.strictObject({
  prefix: optionalPersonalText,
  firstname: personalText,
  middlename: optionalPersonalText,
  lastname: personalText,
  suffix: optionalPersonalText,
  company: optionalPersonalText,
  street: personal(z.array(z.string())),
  city: personalText,
  postcode: optionalPersonalText,
  /** ISO 3166-1 alpha-2 */
  countryId: personalText,
  regionId: personal(z.int().nullable()),
  regionCode: optionalPersonalText,
  region: optionalPersonalText,
  telephone: personalText,
  fax: optionalPersonalText,
  vatId: optionalPersonalText,
  customAttributes,
})
export type AddressFields = z.infer<typeof addressFields>

/** Streams `customer-<id>`. */
export const customerEventSchemas = {
  CustomerRegistered: z.strictObject({
    customerId: id,
    email: personalText,
    ...customerDetails.shape,
    groupId: z.int(),
    isSubscribed: z.boolean(),
    customAttributes,
    rewardUpdateNotification: z.int().nullable(),
    rewardWarningNotification: z.int().nullable(),
    /** When the account was opened: in the past for an imported one. */
    createdAt: z.iso.datetime(),
    /** Revision of the credentials stream that this registration set; -1: an account without a password. */
    credentialsRevision: z.int(),
  }),
  /** Only what changed. */
  CustomerDetailsChanged: customerDetails.partial(),
  /** Only what changed; null: no longer set. */
  CustomerAttributesChanged: z.strictObject({
    attributes: personal(z.record(z.string(), z.union([z.string(), z.array(z.string()), z.null()]))),
  }),
  CustomerEmailChanged: z.strictObject({ email: personalText, previousEmail: personalText }),
  /** The fact alone: the hash is in the credentials stream, at this revision. */
  CustomerPasswordChanged: z.strictObject({ credentialsRevision: z.int() }),
  /** The same password with a stronger hash, at this revision of the credentials stream. */
  PasswordHashUpgraded: z.strictObject({ credentialsRevision: z.int() }),
  /**
   * Asks for a mail with a link to set a new password. The link's token is derived from this event's id
   * (mail-tokens.ts).
   */
  PasswordResetRequested: z.strictObject({}),
  /** The account can't be used until its address is confirmed. Asks for a mail with the link. */
  EmailConfirmationRequested: z.strictObject({}),
  EmailConfirmed: z.strictObject({}),
  NewsletterSubscribed: z.strictObject({}),
  /** The subscription waits until its address is confirmed. Asks for a mail with the link. */
  NewsletterConfirmationRequested: z.strictObject({}),
  NewsletterUnsubscribed: z.strictObject({}),
  CustomerAddressAdded: z.strictObject({ addressId: id, ...addressFields.shape }),
  /** An imported address, which keeps its id. */
  CustomerAddressImported: z.strictObject({ addressId: id, ...addressFields.shape }),
  /** Only what changed. */
  CustomerAddressChanged: z.strictObject({ addressId: id, ...addressFields.partial().shape }),
  CustomerAddressRemoved: z.strictObject({ addressId: id }),
  DefaultBillingAddressSet: z.strictObject({ addressId: id.nullable() }),
  DefaultShippingAddressSet: z.strictObject({ addressId: id.nullable() }),
  /** Revokes all tokens issued so far, except the one with this id (claim `jti`), which asked for the change. */
  CustomerTokensRevoked: z.strictObject({ keptToken: z.string().optional() }),
  /** Too many wrong passwords: sign-in and use of the account are refused until then. */
  CustomerLocked: z.strictObject({ until: z.iso.datetime() }),
  /**
   * The first step of a deletion. `emailKeys`: the keyed hashes of all addresses that the customer has had; with them
   * any reader of this event can finish the erasure (projections/erasure.ts). `reason`: given by the operator who
   * erased the customer.
   */
  CustomerDeleted: z.strictObject({ reason: z.string().optional(), emailKeys: z.array(z.string()).optional() }),
  /**
   * A customer is being imported with this id, which is in a block that is already reserved: the owner of the block
   * must skip it. The registration follows.
   */
  CustomerIdImported: z.strictObject({}),
  /**
   * Another registration took over an e-mail claim that this customer held but never came to use. Written before the
   * take-over, so that a command of this customer still under way gets a conflict and checks its claim again.
   */
  EmailClaimAbandoned: z.strictObject({ emailKey: z.string() }),
} as const

/** Streams `customerEmail-<keyed hash of the normalised address>`. */
export const emailEventSchemas = {
  EmailClaimed: z.strictObject({ customerId: id }),
  EmailReleased: z.strictObject({ customerId: id }),
} as const

/** Streams `customerCredentials-<id>`, of which only the newest event is kept. */
export const credentialsEventSchemas = {
  /**
   * `upgrade`: of the same password. `keptToken`: as in CustomerTokensRevoked, for a change that is completed later;
   * it is kept only if the customer's tokens still have the generation `tokenGeneration`: otherwise it was revoked since.
   */
  CredentialsSet: z.strictObject({
    passwordHash: personalText,
    upgrade: z.literal(true).optional(),
    keptToken: z.string().optional(),
    tokenGeneration: z.int().min(0).optional(),
  }),
} as const

/** The stream `passwordHashKinds`: which kinds of hash there are (subgraph/identity/password-checks.ts). */
const hashKindEventSchemas = {
  PasswordHashKindFound: z.strictObject({ kind: z.string() }),
} as const

/** Streams `customerSignIns-<id>` (or the keyed hash of an address that nobody has): the newest few are kept. */
export const signInEventSchemas = {
  SignInSucceeded: z.strictObject({}),
  /**
   * `reason`: where the wrong password was given; `locked`: at a sign-in that was refused because the account is
   * locked, whatever the password, which counts for the throttle and not for the next lock.
   */
  WrongPasswordGiven: z.strictObject({ reason: z.enum(['sign-in', 'change', 'locked']) }),
  /** A reset of the password: wrong ones before it no longer count towards a lock, nor for the throttle. */
  FailuresForgiven: z.strictObject({}),
} as const

/** Streams `newsletterSubscriber-<keyed hash of the address>`: of addresses that are no customer's. */
export const subscriberEventSchemas = {
  GuestSubscribed: z.strictObject({ email: personalText }),
  GuestConfirmationRequested: z.strictObject({ email: personalText }),
  /** A customer has the address: from then on the customer's own subscription counts, and this one is over. */
  GuestBecameCustomer: z.strictObject({ customerId: id }),
  /** Nothing is known of the address any more. */
  GuestErased: z.strictObject({}),
} as const

/** Streams `customerIds` and `addressIds`: the revision of a reservation is the number of the reserved block. */
const idEventSchemas = {
  CustomerIdsReserved: z.strictObject({}),
  /**
   * The block belongs to one customer: so an address id shows whose it is. `floor`: what the block lies above, 0 if
   * absent.
   */
  AddressIdsReserved: z.strictObject({ customerId: id, floor: id.optional() }),
} as const

/**
 * Streams `customerIdFloor` and `addressIdFloor`, and `addressOwner-<id>`: ids that came from elsewhere. Blocks
 * reserved from then on lie above the floor.
 */
const importedIdEventSchemas = {
  IdFloorRaised: z.strictObject({ floor: id }),
  AddressIdImported: z.strictObject({ customerId: id }),
} as const

/** An event and its place in the log. Earlier releases stored the position alone. */
const eventPlace = z.strictObject({
  ...position.shape,
  id: z.uuid().optional(),
  stream: z.string().optional(),
  revision: z.int().nonnegative().optional(),
})

/** Streams `mailCheckpoint-<name>`, of which only the newest event is kept: how far the log's mails have been sent. */
export const mailEventSchemas = {
  MailCheckpointSet: z.strictObject({
    ...eventPlace.shape,
    /** Events up to there whose mails are still to be sent. */
    unsent: z.array(eventPlace),
    /** The process that is about to send mails; null: none is. */
    holder: z.string().nullable(),
  }),
} as const

/**
 * The stream `readModelFence`, of which only the newest event is kept: what the instances have agreed on about the read
 * model (docs/read-your-writes.md).
 */
const fenceEventSchemas = {
  ReadModelFenceSet: z.strictObject({
    /** Incarnations of the read model whose documents may be believed. */
    trusted: z.array(z.string()),
    /**
     * Incarnations that will be trusted once they contain what was acknowledged before them, and the instance that
     * copies it.
     */
    settling: z.array(z.strictObject({ incarnation: z.string(), by: z.string() })),
    /** Incarnations that were succeeded by others. */
    retired: z.array(z.string()),
    /** A retired incarnation that an instance still reaches, and the instance that asks whether anybody objects. */
    contest: z.strictObject({ incarnation: z.string(), by: z.string() }).nullable(),
    /** The time since which there has been a fence without a break; null while there is none. */
    period: z.string().nullable(),
    /** Writers that have acknowledged a change whose mark they could not write. */
    fences: z.array(
      z.strictObject({
        writer: z.string(),
        /** The instance that asks whether the writer is still alive; null: none. */
        challenger: z.string().nullable(),
        /** How often the writer has answered. */
        answers: z.int().nonnegative(),
      }),
    ),
  }),
} as const

/** Streams `customerSkips-<id>`: what an operator decided about events of `customer-<id>` that can't be applied. */
export const skipEventSchemas = {
  /** As long as the event at this revision can't be applied, it is skipped. */
  EventSkipped: z.strictObject({ revision: z.int().nonnegative(), reason: z.string() }),
} as const

/**
 * Streams `customerKeys-<block>` of the key store, of which only the newest event counts: the keys of the customers of
 * a block of ids, or of one guest, wrapped by a master key (eventstore/encryption/customer-keys.ts).
 */
const keyEventSchemas = {
  CustomerKeysSet: z.strictObject({
    /** The number of a guest's current key: how many were destroyed before it. */
    generation: z.int().nonnegative(),
    masterKeyId: z.string(),
    /** Base64. Destroyed keys are not in it. */
    wrapped: z.string(),
    /** Places in the block. */
    destroyed: z.array(z.int().nonnegative()),
  }),
  /** Stream `keyStore` of the key store. The newest says by which master key new keys are wrapped. */
  MasterKeySet: z.strictObject({ keyStoreId: z.string(), masterKeyId: z.string() }),
  /**
   * Stream `keyFingerprints` of the log: which key it depends on, by its fingerprint; the newest of each name counts.
   */
  KeyFingerprintSet: z.strictObject({
    key: z.enum(['email-hash', 'token-signing', 'audit-signing']),
    fingerprint: z.string(),
  }),
  /** Stream `keyStoreOfLog` of the log: which key store has the keys of its customers. */
  KeyStoreChosen: z.strictObject({ keyStoreId: z.string() }),
  /** Stream `customerKeyBlocks` of the log: the keys of a block of customers are made in the key store. */
  KeyBlockBegun: z.strictObject({ block: z.int().nonnegative() }),
  /**
   * Stream `addressKeys` of the log: a key of an address that is no customer's is made in the key store, the first one
   * (generation 0), or another after it was destroyed.
   */
  AddressKeyBegun: z.strictObject({ emailKey: z.string(), generation: z.int().nonnegative() }),
} as const

export const eventSchemas = {
  ...customerEventSchemas,
  ...emailEventSchemas,
  ...credentialsEventSchemas,
  ...hashKindEventSchemas,
  ...signInEventSchemas,
  ...subscriberEventSchemas,
  ...idEventSchemas,
  ...importedIdEventSchemas,
  ...mailEventSchemas,
  ...fenceEventSchemas,
  ...skipEventSchemas,
  ...checkpointEventSchemas,
  ...verificationEventSchemas,
  ...accessEventSchemas,
  ...auditEventSchemas,
  ...requestEventSchemas,
  ...noteEventSchemas,
  ...serviceTokenEventSchemas,
  ...keyEventSchemas,
} as const

type EventsOf<S extends Record<string, z.ZodType>> = {
  [T in keyof S & string]: { readonly type: T; readonly data: Readonly<z.infer<S[T]>> }
}[keyof S & string]

export type CustomerEvent = EventsOf<typeof customerEventSchemas>
export type EmailEvent = EventsOf<typeof emailEventSchemas>
export type CredentialsEvent = EventsOf<typeof credentialsEventSchemas>
export type HashKindEvent = EventsOf<typeof hashKindEventSchemas>
export type SignInEvent = EventsOf<typeof signInEventSchemas>
export type SubscriberEvent = EventsOf<typeof subscriberEventSchemas>
export type IdEvent = EventsOf<typeof idEventSchemas>
export type ImportedIdEvent = EventsOf<typeof importedIdEventSchemas>
export type MailEvent = EventsOf<typeof mailEventSchemas>
export type FenceEvent = EventsOf<typeof fenceEventSchemas>
export type SkipEvent = EventsOf<typeof skipEventSchemas>
export type CheckpointEvent = EventsOf<typeof checkpointEventSchemas>
export type VerificationEvent = EventsOf<typeof verificationEventSchemas>
export type RequestEvent = EventsOf<typeof requestEventSchemas>
export type NoteEvent = EventsOf<typeof noteEventSchemas>
export type ServiceTokenEvent = EventsOf<typeof serviceTokenEventSchemas>
export type KeyEvent = EventsOf<typeof keyEventSchemas>
export type DomainEvent = EventsOf<typeof eventSchemas>

/** The version in which events of this release are written; stored in each event's metadata. */
export const SCHEMA_VERSION = 2

/** What stands in every event's metadata. */
export const eventMetadata = z.looseObject({
  $correlationId: z.string(),
  $causationId: z.string(),
  /**
   * Who did it: `customer:<id>`, `service:<name>`, `operator:<user>`, `guest`, or the name of a part of the service.
   */
  actor: z.string(),
  /** When the command was decided (ISO 8601, UTC): the time that rules and documents use. */
  at: z.iso.datetime(),
  /** W3C trace context. */
  traceparent: z.string().optional(),
  schemaVersion: z.int(),
  /** The hash chain (eventstore/hash-chain.ts); put in when it is appended. */
  $hash: z.string().optional(),
  $previous: z.string().nullable().optional(),
})
export type EventMetadata = z.infer<typeof eventMetadata>

/**
 * Brings an event's data from the version it was written in to {@link SCHEMA_VERSION}.
 * Version 2: the store's own attributes, and a registration that says itself when it was.
 */
export function upcast(type: string, data: unknown, { schemaVersion, at }: EventMetadata): unknown {
  // Malformed JSON is kept as a string; applying the event then fails.
  if (schemaVersion >= SCHEMA_VERSION || typeof data !== 'object' || data === null) return data
  switch (type) {
    case 'CustomerRegistered':
      return {
        ...data,
        allowRemoteShoppingAssistance: false,
        customAttributes: {},
        rewardUpdateNotification: null,
        rewardWarningNotification: null,
        createdAt: at,
      }
    case 'CustomerAddressAdded':
      return { ...data, customAttributes: {} }
    default:
      return data
  }
}

const required = (schema: z.ZodType): z.ZodType =>
  schema instanceof z.ZodOptional ? (schema.unwrap() as z.ZodType) : schema

/** The personal fields of the events that have any, by type. */
export const PERSONAL_FIELDS: ReadonlyMap<string, ReadonlyMap<string, z.ZodType>> = new Map(
  Object.entries(eventSchemas).flatMap(([type, { shape }]) => {
    const fields = Object.entries(shape as Record<string, z.ZodType>)
      .map(([name, schema]) => [name, required(schema)] as const)
      .filter(([, schema]) => schema.meta()?.personal)
    return fields.length > 0 ? [[type, new Map(fields)] as const] : []
  }),
)

/**
 * The value of a personal field whose key has been destroyed: a text with the revision of the stream in which the field
 * was set, or the nearest value that the field's schema allows.
 */
export function erasedValue(field: z.ZodType, revision: number): unknown {
  const text = `[erased:${revision}]`
  return [text, [text], null, {}].find((value) => field.safeParse(value).success)
}

const ERASED = /^\[erased:\d+\]$/

/** Whether a value replaces one that was erased. */
export const isErased = (value: unknown): boolean =>
  typeof value === 'string' ? ERASED.test(value) : Array.isArray(value) && value.length === 1 && isErased(value[0])

/** The JSON schemas (draft 2020-12) of all events, by type: for consumers outside this repository. */
export function eventJsonSchemas(): Record<string, unknown> {
  return Object.fromEntries(Object.entries(eventSchemas).map(([type, schema]) => [type, z.toJSONSchema(schema)]))
}
