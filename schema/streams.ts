/**
 * The table of streams: every stream that the service writes, with its events and its policies. The log refuses an
 * append to a stream that is not here, and an event that does not belong in its stream
 * (eventstore/encryption/clear-text-guard.ts). Encryption, the proof's tree and the auditor's search derive from it.
 *
 * A new stream is one more entry. Two rules:
 * - Whether a family is personal follows from its events: it is if one of them has a personal field (`PERSONAL_FIELDS`).
 *   Then `of` has to say whose key encrypts it.
 * - `inTree` can't change after the release that brings the stream: the proof's tree must stay the same.
 */
import {
  accessEventSchemas,
  checkpointEventSchemas,
  noteEventSchemas,
  requestEventSchemas,
  serviceTokenEventSchemas,
  verificationEventSchemas,
} from './audit-events.ts'
import {
  credentialsEventSchemas,
  customerEventSchemas,
  type DomainEvent,
  emailEventSchemas,
  mailEventSchemas,
  PERSONAL_FIELDS,
  signInEventSchemas,
  skipEventSchemas,
  subscriberEventSchemas,
} from './events.ts'

/** What follows the prefix in a stream's name: the owner of the stream. */
type Owner =
  /** A customer's id. */
  | 'customer'
  /** The keyed hash of an e-mail address (schema/email-key.ts). */
  | 'address'
  /** Either: a customer's id, or the keyed hash of an address that is no customer's. */
  | 'customer or address'
  /** An address id, a block of keys, or a worker's name. */
  | 'other'

export interface StreamFamily {
  /** The name of the stream. For many streams, the common prefix, including the `-`. */
  readonly name: string
  /** The types of the events in it. */
  readonly events: readonly DomainEvent['type'][]
  /** undefined: there is one stream of this name. */
  readonly of?: Owner
  /**
   * Whether its events are leaves of the proof's tree (audit/proof/tree.ts): only for streams whose events are kept for
   * good.
   */
  readonly inTree: boolean
  /**
   * What erasing a customer does to it: `key`, the key of its personal fields is destroyed; `stream`, it is deleted;
   * `event`, a last event ends it; `nothing`, it says nothing about the person.
   */
  readonly erasure: 'key' | 'stream' | 'event' | 'nothing'
  /**
   * How long its events are kept: `newest`, the newest one or few; `retention`, for the days that the store's settings
   * name.
   */
  readonly kept: 'for good' | 'newest' | 'retention'
}

/**
 * The prefixes of the families with many streams. No stream is named by a literal anywhere else: {@link streamOf} makes
 * the names.
 */
export const STREAM_PREFIXES = {
  customer: 'customer-',
  email: 'customerEmail-',
  skips: 'customerSkips-',
  addressOwner: 'addressOwner-',
  subscriber: 'newsletterSubscriber-',
  credentials: 'customerCredentials-',
  signIns: 'customerSignIns-',
  access: 'customerAccess-',
  privacyNotes: 'privacyNotes-',
  mailCheckpoint: 'mailCheckpoint-',
  keys: 'customerKeys-',
} as const

/**
 * The names of the streams of each family. In a name, an e-mail address is replaced by its keyed hash
 * (schema/email-key.ts).
 */
export const streamOf = {
  customer: (id: number | string) => `${STREAM_PREFIXES.customer}${id}`,
  email: (emailKey: string) => `${STREAM_PREFIXES.email}${emailKey}`,
  skips: (customerId: number) => `${STREAM_PREFIXES.skips}${customerId}`,
  addressOwner: (addressId: number) => `${STREAM_PREFIXES.addressOwner}${addressId}`,
  subscriber: (emailKey: string) => `${STREAM_PREFIXES.subscriber}${emailKey}`,
  credentials: (customerId: number) => `${STREAM_PREFIXES.credentials}${customerId}`,
  /** @param owner a customer's id, or the keyed hash of an address that is no customer's */
  signIns: (owner: number | string) => `${STREAM_PREFIXES.signIns}${owner}`,
  /** @param owner a customer's id, or the keyed hash of an address that is no customer's */
  access: (owner: number | string) => `${STREAM_PREFIXES.access}${owner}`,
  /** @param owner a customer's id, or the keyed hash of an address that is no customer's */
  privacyNotes: (owner: number | string) => `${STREAM_PREFIXES.privacyNotes}${owner}`,
  mailCheckpoint: (worker: string) => `${STREAM_PREFIXES.mailCheckpoint}${worker}`,
  /** @param block a number, or `of-` and the keyed hash of an address */
  keys: (block: number | string) => `${STREAM_PREFIXES.keys}${block}`,
} as const

/** The name of the mail workers that share the work, in the name of their checkpoint's stream. */
export const MAIL_WORKERS = 'default'

/** The names of single streams. */
export const STREAM_NAMES = {
  customerIds: 'customerIds',
  customerIdFloor: 'customerIdFloor',
  addressIds: 'addressIds',
  addressIdFloor: 'addressIdFloor',
  reveals: 'auditReveals',
  exports: 'auditExports',
  serviceTokens: 'serviceTokens',
  privacyRequests: 'privacyRequests',
  passwordHashKinds: 'passwordHashKinds',
  logCheckpoints: 'logCheckpoints',
  logVerifications: 'logVerifications',
  readModelFence: 'readModelFence',
  keyFingerprints: 'keyFingerprints',
  keyStore: 'keyStore',
  keyBlocks: 'customerKeyBlocks',
  addressKeys: 'addressKeys',
  keyStoreOfLog: 'keyStoreOfLog',
} as const

const types = (schemas: object) => Object.keys(schemas) as DomainEvent['type'][]

/** In the order in which the tree's streams are named in its documentation. */
export const STREAMS: readonly StreamFamily[] = [
  {
    name: STREAM_PREFIXES.customer,
    events: types(customerEventSchemas),
    of: 'customer',
    inTree: true,
    erasure: 'key',
    kept: 'for good',
  },
  {
    name: STREAM_PREFIXES.email,
    events: types(emailEventSchemas),
    of: 'address',
    inTree: true,
    erasure: 'event',
    kept: 'for good',
  },
  {
    name: STREAM_NAMES.customerIds,
    events: ['CustomerIdsReserved'],
    inTree: true,
    erasure: 'nothing',
    kept: 'for good',
  },
  { name: STREAM_NAMES.customerIdFloor, events: ['IdFloorRaised'], inTree: true, erasure: 'nothing', kept: 'for good' },
  {
    name: STREAM_PREFIXES.skips,
    events: types(skipEventSchemas),
    of: 'customer',
    inTree: true,
    erasure: 'nothing',
    kept: 'for good',
  },
  { name: STREAM_NAMES.addressIds, events: ['AddressIdsReserved'], inTree: true, erasure: 'nothing', kept: 'for good' },
  { name: STREAM_NAMES.addressIdFloor, events: ['IdFloorRaised'], inTree: true, erasure: 'nothing', kept: 'for good' },
  {
    name: STREAM_PREFIXES.addressOwner,
    events: ['AddressIdImported'],
    of: 'other',
    inTree: true,
    erasure: 'nothing',
    kept: 'for good',
  },
  {
    name: STREAM_PREFIXES.subscriber,
    events: types(subscriberEventSchemas),
    of: 'address',
    inTree: true,
    erasure: 'key',
    kept: 'for good',
  },
  { name: STREAM_NAMES.exports, events: ['EventsExported'], inTree: true, erasure: 'nothing', kept: 'for good' },
  { name: STREAM_NAMES.reveals, events: ['PersonalDataRevealed'], inTree: true, erasure: 'nothing', kept: 'for good' },
  {
    name: STREAM_NAMES.serviceTokens,
    events: types(serviceTokenEventSchemas),
    inTree: true,
    erasure: 'nothing',
    kept: 'for good',
  },
  {
    name: STREAM_NAMES.passwordHashKinds,
    events: ['PasswordHashKindFound'],
    inTree: true,
    erasure: 'nothing',
    kept: 'for good',
  },
  {
    name: STREAM_NAMES.privacyRequests,
    events: types(requestEventSchemas),
    inTree: true,
    erasure: 'nothing',
    kept: 'for good',
  },
  {
    name: STREAM_PREFIXES.privacyNotes,
    events: types(noteEventSchemas),
    of: 'customer or address',
    inTree: true,
    erasure: 'key',
    kept: 'for good',
  },
  {
    name: STREAM_PREFIXES.credentials,
    events: types(credentialsEventSchemas),
    of: 'customer',
    inTree: false,
    erasure: 'stream',
    kept: 'newest',
  },
  {
    name: STREAM_PREFIXES.signIns,
    events: types(signInEventSchemas),
    of: 'customer or address',
    inTree: false,
    erasure: 'stream',
    kept: 'newest',
  },
  {
    name: STREAM_PREFIXES.access,
    events: types(accessEventSchemas),
    of: 'customer or address',
    inTree: false,
    erasure: 'key',
    kept: 'retention',
  },
  {
    name: STREAM_PREFIXES.mailCheckpoint,
    events: types(mailEventSchemas),
    of: 'other',
    inTree: false,
    erasure: 'nothing',
    kept: 'newest',
  },
  {
    name: STREAM_NAMES.logCheckpoints,
    events: types(checkpointEventSchemas),
    inTree: false,
    erasure: 'nothing',
    kept: 'for good',
  },
  {
    name: STREAM_NAMES.logVerifications,
    events: types(verificationEventSchemas),
    inTree: false,
    erasure: 'nothing',
    kept: 'for good',
  },
  {
    name: STREAM_NAMES.readModelFence,
    events: ['ReadModelFenceSet'],
    inTree: false,
    erasure: 'nothing',
    kept: 'newest',
  },
  {
    name: STREAM_NAMES.keyFingerprints,
    events: ['KeyFingerprintSet'],
    inTree: false,
    erasure: 'nothing',
    kept: 'for good',
  },
  // Of the key store, which may be the log itself.
  {
    name: STREAM_PREFIXES.keys,
    events: ['CustomerKeysSet'],
    of: 'other',
    inTree: false,
    erasure: 'event',
    kept: 'newest',
  },
  { name: STREAM_NAMES.keyStore, events: ['MasterKeySet'], inTree: false, erasure: 'nothing', kept: 'for good' },
  { name: STREAM_NAMES.keyBlocks, events: ['KeyBlockBegun'], inTree: false, erasure: 'nothing', kept: 'for good' },
  { name: STREAM_NAMES.addressKeys, events: ['AddressKeyBegun'], inTree: false, erasure: 'nothing', kept: 'newest' },
  { name: STREAM_NAMES.keyStoreOfLog, events: ['KeyStoreChosen'], inTree: false, erasure: 'nothing', kept: 'for good' },
]

/** Whether events of the family have personal fields: they are stored encrypted with its owner's key. */
export const isPersonal = ({ events }: StreamFamily): boolean => events.some((type) => PERSONAL_FIELDS.has(type))

/** A family's entry, prepared for the check of each append. */
interface Known {
  readonly family: StreamFamily
  readonly types: ReadonlySet<string>
  readonly isPersonal: boolean
}

/** @throws Error for a table that contradicts itself */
export function indexStreams(streams: readonly StreamFamily[]): ReadonlyMap<string, Known> {
  const known = new Map<string, Known>()
  for (const family of streams) {
    const { name, of, events } = family
    if (known.has(name)) throw new Error(`The table of streams has ${name} twice.`)
    if (name.endsWith('-') !== (of !== undefined) || name.slice(0, -1).includes('-')) {
      throw new Error(`The table of streams: ${name} ends with "-" if and only if it says whose the streams are.`)
    }
    const personal = isPersonal(family)
    if (personal && (of === undefined || of === 'other')) {
      throw new Error(`The table of streams: ${name} has personal events, but not whose key encrypts them.`)
    }
    known.set(name, { family, types: new Set(events), isPersonal: personal })
  }
  return known
}

const KNOWN = indexStreams(STREAMS)

const CUSTOMER = /^[1-9]\d{0,15}$/
const ADDRESS = /^[\w-]+$/
const IS_OWNER: Readonly<Record<Owner, (text: string) => boolean>> = {
  customer: (text) => CUSTOMER.test(text),
  address: (text) => ADDRESS.test(text),
  'customer or address': (text) => CUSTOMER.test(text) || ADDRESS.test(text),
  other: (text) => text !== '',
}

function lookUp(stream: string): Known | undefined {
  const dash = stream.indexOf('-')
  return KNOWN.get(dash === -1 ? stream : stream.slice(0, dash + 1))
}

/** Why an event of this type may not be appended to the stream; undefined if it may. */
export function refusalOf(stream: string, type: string): string | undefined {
  const known = lookUp(stream)
  if (known === undefined) return `Stream "${stream}" is not in the table of streams (schema/streams.ts).`
  const { family, types } = known
  if (family.of && !IS_OWNER[family.of](stream.slice(family.name.length))) {
    return `Stream "${stream}" does not end with what its family ${family.name} is of: ${family.of}.`
  }
  if (!types.has(type)) return `Event type "${type}" does not belong in stream "${stream}" (schema/streams.ts).`
  return undefined
}

/**
 * Whose key encrypts the stream's personal fields: a customer's id or an address's hash; undefined if it has no
 * personal fields.
 */
export function personalOwnerOf(stream: string): string | undefined {
  const known = lookUp(stream)
  return known?.isPersonal ? stream.slice(known.family.name.length) : undefined
}

/**
 * Whose stream it is: a customer's id or an address's hash, whether its events are personal or not; undefined for the
 * streams of nobody.
 */
export function ownerOf(stream: string): string | undefined {
  const { name, of } = lookUp(stream)?.family ?? {}
  return name === undefined || of === undefined || of === 'other' ? undefined : stream.slice(name.length)
}

/** The families whose streams are a customer's: `streamOf` of the customer's id is one of each. */
export const CUSTOMER_FAMILIES: readonly StreamFamily[] = STREAMS.filter(({ of }) => of?.startsWith('customer'))

/** The names, or prefixes, of the streams that may contain an event of this type. */
export const streamsWith = (type: string): readonly string[] =>
  STREAMS.filter(({ events }) => (events as readonly string[]).includes(type)).map(({ name }) => name)
