/**
 * The customer document and the pure function that makes it from events: `evolve`, in the terms of event sourcing.
 * `decide` is subgraph/domain/customer.ts. They are in separate folders because the projections, the subgraph (for its
 * commands, and for reads ahead of the read model) and the mail worker all fold with this function, so their answers
 * can't differ, while only the subgraph has commands.
 */
import type { Recorded } from '../eventstore/codec.ts'
import {
  type AddressFields,
  type CustomAttributes,
  type CustomerDetails,
  type CustomerEvent,
  isErased,
} from '../schema/events.ts'

export type CustomerAddress = AddressFields & { readonly id: number }

/** One customer as of `revision` of the stream `customer-<id>`. */
export interface CustomerDocument extends Readonly<CustomerDetails> {
  readonly version: typeof DOCUMENT_VERSION
  readonly id: number
  /** The revision of the last event that this document reflects. */
  readonly revision: number
  /** `absent`: the stream exists, but has no registration yet. */
  readonly status: 'absent' | 'registered' | 'deleted'
  readonly email: string
  /** ISO 8601, UTC */
  readonly createdAt: string
  readonly groupId: number
  readonly newsletter: 'none' | 'subscribed' | 'unconfirmed' | 'unsubscribed'
  readonly customAttributes: CustomAttributes
  readonly rewardUpdateNotification: number | null
  readonly rewardWarningNotification: number | null
  readonly defaultBilling: number | null
  readonly defaultShipping: number | null
  /** In id order. */
  readonly addresses: readonly CustomerAddress[]
  /** The highest address id that was assigned to this customer here, 0 for none. An imported address keeps its id. */
  readonly lastAddressId: number
  /** Tokens of a lower generation are revoked. */
  readonly tokenGeneration: number
  /**
   * The id (claim `jti`) of the one token of an earlier generation that is still valid: it asked for the change that
   * revoked the others.
   */
  readonly keptToken: string | null
  /** Revision of the customer's current credentials; -1 for none. */
  readonly credentialsRevision: number
  /** ISO 8601, UTC; the account is locked until then. */
  readonly lockedUntil: string | null
  /** Set while the account can't be used, until its address is confirmed by the link of this request. */
  readonly confirmation: LinkRequest | null
  /** When links to confirm the account were requested in the hour up to the newest (ISO 8601, UTC), oldest first. */
  readonly confirmationRequests: readonly string[]
  /** The newest link to set a new password; a change of the password or of the address invalidates it. */
  readonly passwordReset: LinkRequest | null
  /** When such links were requested in the hour up to the newest (ISO 8601, UTC), oldest first. */
  readonly passwordResetRequests: readonly string[]
  /** The link that confirms a pending newsletter subscription; null also if a change of address has invalidated it. */
  readonly newsletterConfirmation: LinkRequest | null
  /** When such links were requested in the hour up to the newest (ISO 8601, UTC), oldest first. */
  readonly newsletterRequests: readonly string[]
}

/** The event that asked for a link, from which the link's token is derived, and its time. */
export interface LinkRequest {
  readonly eventId: string
  /** ISO 8601, UTC */
  readonly at: string
}

/**
 * The version of the documents: raised with each change of their content. Documents of another version are discarded
 * and rebuilt.
 */
export const DOCUMENT_VERSION = 3

const HOUR_MS = 3_600_000

const ABSENT: Omit<CustomerDocument, 'id' | 'revision'> = {
  version: DOCUMENT_VERSION,
  status: 'absent',
  email: '',
  createdAt: '',
  groupId: 0,
  newsletter: 'none',
  customAttributes: {},
  prefix: null,
  firstname: '',
  middlename: null,
  lastname: '',
  suffix: null,
  dob: null,
  taxvat: null,
  gender: null,
  allowRemoteShoppingAssistance: false,
  rewardUpdateNotification: null,
  rewardWarningNotification: null,
  defaultBilling: null,
  defaultShipping: null,
  addresses: [],
  lastAddressId: 0,
  tokenGeneration: 0,
  keptToken: null,
  credentialsRevision: -1,
  lockedUntil: null,
  confirmation: null,
  confirmationRequests: [],
  passwordReset: null,
  passwordResetRequests: [],
  newsletterConfirmation: null,
  newsletterRequests: [],
}

/**
 * Whether the customer has an account. A destroyed key also means no account: the log may have been restored to a state
 * before the deletion, while the key store was not.
 */
export function isRegistered({ status, email }: Pick<CustomerDocument, 'status' | 'email'>): boolean {
  return status === 'registered' && !isErased(email)
}

/** The document of a customer without events: revision -1. */
export function absentCustomer(id: number): CustomerDocument {
  return { ...ABSENT, id, revision: -1 }
}

/**
 * The document after `event`. Pure. The event must be the document's next one.
 * @throws RangeError if it is not; TypeError for an event that does not belong to a customer
 */
export function project(document: CustomerDocument, event: Recorded<CustomerEvent>): CustomerDocument {
  if (event.revision !== document.revision + 1) {
    throw new RangeError(
      `Customer ${document.id} is at revision ${document.revision}; event ${event.revision} is not the next.`,
    )
  }
  // Malformed JSON is read as a string; spread into a document, it would silently corrupt it.
  if (typeof event.data !== 'object' || event.data === null || Array.isArray(event.data)) {
    throw new TypeError(`Event ${event.revision} of customer ${document.id} has no data that could be applied.`)
  }
  return { ...document, ...change(document, event), revision: event.revision }
}

function change(document: CustomerDocument, event: Recorded<CustomerEvent>): Partial<CustomerDocument> {
  switch (event.type) {
    case 'CustomerRegistered': {
      const { customerId } = event.data
      if (customerId !== document.id) {
        throw new TypeError(`The stream of customer ${document.id} holds the registration of ${customerId}.`)
      }
      return registered(event.data)
    }
    case 'CustomerDetailsChanged':
      return event.data as Partial<CustomerDetails>
    case 'CustomerAttributesChanged': {
      const merged = { ...document.customAttributes, ...event.data.attributes }
      const set = Object.entries(merged).filter((entry): entry is [string, string | string[]] => entry[1] !== null)
      return { customAttributes: Object.fromEntries(set) }
    }
    case 'CustomerEmailChanged':
      return {
        email: event.data.email,
        // All links were sent to the previous address. An account that waits for its confirmation keeps waiting: this
        // event sends no mail, so no link is derived from its id.
        passwordReset: null,
        confirmation: document.confirmation && linkOf(event),
        newsletterConfirmation: null,
      }
    case 'CustomerPasswordChanged':
      return { credentialsRevision: event.data.credentialsRevision, passwordReset: null }
    case 'PasswordHashUpgraded':
      return { credentialsRevision: event.data.credentialsRevision }
    case 'PasswordResetRequested':
      return {
        passwordReset: linkOf(event),
        passwordResetRequests: withRequest(document.passwordResetRequests, event),
      }
    case 'EmailConfirmationRequested':
      return {
        confirmation: linkOf(event),
        confirmationRequests: withRequest(document.confirmationRequests, event),
      }
    case 'EmailConfirmed':
      return { confirmation: null }
    case 'NewsletterSubscribed':
      return { newsletter: 'subscribed', newsletterConfirmation: null }
    case 'NewsletterConfirmationRequested':
      return {
        newsletter: 'unconfirmed',
        newsletterConfirmation: linkOf(event),
        newsletterRequests: withRequest(document.newsletterRequests, event),
      }
    case 'NewsletterUnsubscribed':
      return { newsletter: 'unsubscribed', newsletterConfirmation: null }
    case 'CustomerAddressAdded':
    case 'CustomerAddressImported': {
      const { addressId } = event.data
      return {
        addresses: withAddress(document.addresses, addressOf(event.data)),
        ...(event.type === 'CustomerAddressAdded' && { lastAddressId: Math.max(document.lastAddressId, addressId) }),
      }
    }
    case 'CustomerAddressChanged': {
      const { addressId, ...changed } = event.data
      return {
        addresses: document.addresses.map((address) =>
          address.id === addressId ? ({ ...address, ...changed } as CustomerAddress) : address,
        ),
      }
    }
    case 'CustomerAddressRemoved': {
      const { addressId } = event.data
      return {
        addresses: document.addresses.filter((address) => address.id !== addressId),
        ...(document.defaultBilling === addressId && { defaultBilling: null }),
        ...(document.defaultShipping === addressId && { defaultShipping: null }),
      }
    }
    case 'DefaultBillingAddressSet':
      return { defaultBilling: event.data.addressId }
    case 'DefaultShippingAddressSet':
      return { defaultShipping: event.data.addressId }
    case 'CustomerTokensRevoked':
      return { tokenGeneration: document.tokenGeneration + 1, keptToken: event.data.keptToken ?? null }
    case 'CustomerLocked':
      return { lockedUntil: event.data.until }
    case 'CustomerDeleted':
      return { ...ABSENT, status: 'deleted', tokenGeneration: document.tokenGeneration + 1 }
    case 'CustomerIdImported':
    case 'EmailClaimAbandoned':
      return {}
    default:
      throw new TypeError(`Event type "${(event as { type: string }).type}" is not a customer's.`)
  }
}

type DataOf<T extends CustomerEvent['type']> = Extract<CustomerEvent, { readonly type: T }>['data']

/**
 * What a registration says of the customer. Field by field, as in `addressOf`: an object rest (`...others`) takes V8
 * twenty times as long.
 */
function registered(data: DataOf<'CustomerRegistered'>) {
  return {
    status: 'registered',
    newsletter: data.isSubscribed ? 'subscribed' : 'none',
    email: data.email,
    prefix: data.prefix,
    firstname: data.firstname,
    middlename: data.middlename,
    lastname: data.lastname,
    suffix: data.suffix,
    dob: data.dob,
    taxvat: data.taxvat,
    gender: data.gender,
    allowRemoteShoppingAssistance: data.allowRemoteShoppingAssistance,
    groupId: data.groupId,
    customAttributes: data.customAttributes,
    rewardUpdateNotification: data.rewardUpdateNotification,
    rewardWarningNotification: data.rewardWarningNotification,
    createdAt: data.createdAt,
    credentialsRevision: data.credentialsRevision,
  } satisfies Required<Omit<DataOf<'CustomerRegistered'>, 'customerId' | 'isSubscribed'>> & Partial<CustomerDocument>
}

function addressOf(data: DataOf<'CustomerAddressAdded'>): CustomerAddress {
  return {
    id: data.addressId,
    prefix: data.prefix,
    firstname: data.firstname,
    middlename: data.middlename,
    lastname: data.lastname,
    suffix: data.suffix,
    company: data.company,
    street: data.street,
    city: data.city,
    postcode: data.postcode,
    countryId: data.countryId,
    regionId: data.regionId,
    regionCode: data.regionCode,
    region: data.region,
    telephone: data.telephone,
    fax: data.fax,
    vatId: data.vatId,
    customAttributes: data.customAttributes,
  } satisfies Record<keyof CustomerAddress, unknown>
}

const withAddress = (addresses: readonly CustomerAddress[], added: CustomerAddress): readonly CustomerAddress[] =>
  [...addresses, added].sort((a, b) => a.id - b.id)

/** The requests in the hour up to this one. */
function withRequest(requests: readonly string[], { metadata: { at } }: Recorded<CustomerEvent>): string[] {
  return [...requests.filter((each) => Date.parse(at) - Date.parse(each) < HOUR_MS), at]
}

function linkOf({ id, metadata }: Recorded<CustomerEvent>): LinkRequest {
  return { eventId: id, at: metadata.at }
}
