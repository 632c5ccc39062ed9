/** The mails: which events ask for one, whom it goes to, what it says, and whether it is still wanted. */

import { readFileSync } from 'node:fs'
import { decode, type Recorded } from '../eventstore/codec.ts'
import type { EventStore, RecordedEvent } from '../eventstore/port.ts'
import { isOfNoStream } from '../eventstore/read.ts'
import { type CustomerDocument, isRegistered, type LinkRequest } from '../projections/customer.ts'
import { CUSTOMER_STREAMS, customerOf, foldCustomer } from '../projections/fold.ts'
import { type CustomerEvent, type EventMetadata, isErased, type SubscriberEvent } from '../schema/events.ts'
import type { MailPurpose, MailTokens } from '../schema/mail-tokens.ts'
import type { Store } from '../schema/store.ts'
import { STREAM_PREFIXES, streamOf } from '../schema/streams.ts'

/** Mails without a link that inform the customer of something that has happened. */
type Notice = 'welcome' | 'password-changed' | 'email-changed' | 'email-changed-from'
export type LetterPurpose = MailPurpose | Notice

export interface Letter {
  readonly purpose: LetterPurpose
  /** Always the same for the same event, so that a second copy can be recognised. */
  readonly messageId: string
  /** When the mail was requested. */
  readonly at: Date
  readonly eventId: string
  readonly from: Address
  readonly to: Address
  readonly subject: string
  readonly text: string
  readonly html: string
}

interface Address {
  /** May be empty. */
  readonly name: string
  readonly address: string
}

/**
 * Why a mail is not sent: the recipient is gone, a newer mail or none replaces it, its link has expired, or the account has
 * had too many notices.
 */
export type Reason = 'gone' | 'superseded' | 'expired' | 'too_many'

export interface Letters {
  /** The mails that an event asks for; none for most. */
  purposesOf(event: Pick<RecordedEvent, 'stream' | 'type' | 'metadata'>): readonly LetterPurpose[]
  /**
   * One of the mails that the event asks for, or why it is no longer wanted.
   * @throws EventStoreUnavailable; another Error if the customer's stream can't be read
   */
  compose(event: RecordedEvent, purpose: LetterPurpose): Promise<Letter | Reason>
}

const SUBSCRIBER_PREFIX = STREAM_PREFIXES.subscriber
export const MAIL_STREAMS = [CUSTOMER_STREAMS, SUBSCRIBER_PREFIX]

const NONE: readonly LetterPurpose[] = []

/** The mails that each type of event asks for, by the store's settings. */
function purposesByType({ account, mail }: Store): ReadonlyMap<string, readonly LetterPurpose[]> {
  const welcome = mail.welcome ? (['welcome'] as const) : NONE
  return new Map<string, readonly LetterPurpose[]>([
    ['PasswordResetRequested', ['reset-password']],
    ['EmailConfirmationRequested', ['confirm-account']],
    ['NewsletterConfirmationRequested', ['confirm-newsletter']],
    ['GuestConfirmationRequested', ['confirm-newsletter']],
    ['CustomerPasswordChanged', ['password-changed']],
    // Since 2.4.9 both addresses are informed, so that somebody who took over the account is not the only one to know.
    ['CustomerEmailChanged', ['email-changed', 'email-changed-from']],
    // Only a customer who can use the account is welcomed.
    [account.confirmationRequired ? 'EmailConfirmed' : 'CustomerRegistered', welcome],
  ])
}

/** The only event of a guest that asks for a mail. */
type GuestRequest = Extract<SubscriberEvent, { type: 'GuestConfirmationRequested' }>

/** The field of the customer's document that holds the link of each purpose. */
const REQUESTS = {
  'reset-password': 'passwordReset',
  'confirm-account': 'confirmation',
  'confirm-newsletter': 'newsletterConfirmation',
} as const satisfies Record<MailPurpose, keyof CustomerDocument>

const HOUR_MS = 3_600_000
/**
 * A notice of something that happened longer ago, for instance after an outage of the mails or at a first start, would
 * alarm more than it helps.
 */
export const NOTICE_HOURS = 72
/**
 * Of so many events of an account in an hour its address is told. Nobody has proved that the address is the customer's, so
 * an account could send somebody else as many mails as it can change its password.
 */
const NOTICES_PER_HOUR = 10

/** @param options.now for tests */
export function createLetters(options: {
  readonly eventStore: EventStore
  readonly tokens: MailTokens
  readonly store: Store
  readonly now?: () => Date
}): Letters {
  const { eventStore, tokens, store, now = () => new Date() } = options
  const urls: Readonly<Record<MailPurpose, string>> = {
    'reset-password': store.mail.resetPasswordUrl,
    'confirm-account': store.mail.confirmAccountUrl,
    'confirm-newsletter': store.mail.confirmNewsletterUrl,
  }
  const purposes = purposesByType(store)
  const domain = store.mail.from.slice(store.mail.from.lastIndexOf('@') + 1)

  function write(purpose: MailPurpose, request: LinkRequest, to: Address): Letter {
    const { eventId } = request
    const link = fill(urls[purpose], {
      email: encodeURIComponent(to.address),
      token: tokens.of(purpose, eventId),
    })
    return letter(purpose, request, to, { link, validity: inWords(store.password.resetLinkHours) })
  }

  /** @param values for the template, beside those of every mail */
  function letter(purpose: LetterPurpose, { eventId, at }: LinkRequest, to: Address, values: Values): Letter {
    const greeting = to.name === '' ? 'Hello,' : `Hello ${to.name},`
    // A second mail for the same event has a message id of its own.
    const id = purpose === 'email-changed-from' ? `${eventId}.from` : eventId
    return {
      purpose,
      messageId: `<${id}@${domain}>`,
      at: new Date(at),
      eventId,
      from: { name: store.mail.storeName, address: store.mail.from },
      to,
      ...render(purpose, { greeting, store: store.mail.storeName, ...values }),
    }
  }

  /** A notice goes to the customer as of the event that it is about. */
  async function composeNotice(event: Recorded<CustomerEvent>, purpose: Notice, id: number) {
    const then = await foldCustomer(eventStore, id, undefined, event.revision)
    const today = await foldCustomer(eventStore, id, then)
    if (!isRegistered(today) || then.revision < event.revision) return 'gone'
    const { at } = event.metadata
    if (now().getTime() - Date.parse(at) > NOTICE_HOURS * HOUR_MS) return 'expired'
    if (await isOneTooMany(event, id)) return 'too_many'
    const previous = event.type === 'CustomerEmailChanged' ? event.data.previousEmail : then.email
    const address = purpose === 'email-changed-from' ? previous : then.email
    return letter(purpose, { eventId: event.id, at }, { name: nameOf(then), address }, {})
  }

  /** Whether the hour before the event has had enough events that the address was told of. */
  async function isOneTooMany({ revision, metadata }: Recorded<CustomerEvent>, id: number): Promise<boolean> {
    const from = revision - 1
    if (from < 0) return false
    let told = 0
    for await (const before of eventStore.readStream(streamOf.customer(id), { direction: 'backwards', from })) {
      if (Date.parse(metadata.at) - Date.parse((before.metadata as EventMetadata).at) >= HOUR_MS) return false
      if (purposes.get(before.type)?.some(isNotice) && ++told === NOTICES_PER_HOUR) return true
    }
    return false
  }

  async function composeForCustomer(event: Recorded<CustomerEvent>, purpose: MailPurpose, id: number) {
    const then = await foldCustomer(eventStore, id, undefined, event.revision)
    const today = await foldCustomer(eventStore, id, then)
    if (!isRegistered(today) || then.revision < event.revision) return 'gone'
    const request = today[REQUESTS[purpose]]
    // Links to an address that the customer no longer uses do not work.
    if (request?.eventId !== event.id || today.email !== then.email) return 'superseded'
    if (purpose === 'reset-password') {
      const age = now().getTime() - Date.parse(request.at)
      if (age > store.password.resetLinkHours * HOUR_MS) return 'expired'
    }
    return write(purpose, request, { name: nameOf(then), address: then.email })
  }

  async function composeForGuest({ id, data, metadata }: Recorded<GuestRequest>, stream: string) {
    for await (const newest of eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 })) {
      if (newest.id !== id) return 'superseded'
    }
    if (isErased(data.email)) return 'gone'
    return write('confirm-newsletter', { eventId: id, at: metadata.at }, { name: '', address: data.email })
  }

  return {
    purposesOf({ stream, type, metadata }) {
      // An import must not send mails to the customers: one who never confirmed the account can ask for a mail.
      if ((metadata as Partial<EventMetadata> | undefined)?.actor === 'import') return NONE
      const isGuest = type === 'GuestConfirmationRequested'
      const isThere = isGuest ? stream.startsWith(SUBSCRIBER_PREFIX) : customerOf(stream) !== undefined
      return (isThere && purposes.get(type)) || NONE
    },

    async compose(event, purpose) {
      const customer = customerOf(event.stream)
      try {
        if (customer === undefined) return await composeForGuest(decode<GuestRequest>(event), event.stream)
        const decoded = decode<CustomerEvent>(event)
        if (isNotice(purpose)) return await composeNotice(decoded, purpose, customer)
        return await composeForCustomer(decoded, purpose, customer)
      } catch (error) {
        if (isOfNoStream(error)) return 'gone'
        throw error
      }
    },
  }
}

const isNotice = (purpose: LetterPurpose): purpose is Notice => !Object.hasOwn(REQUESTS, purpose)

/** Characters of a first and a last name together. */
const MOST_NAME = 80
/** Programs make a link of a host, and of digits a telephone number. */
const LIKE_CONTACT = /\p{Nd}|[\p{L}\p{M}]\.\p{L}{2}/u

/**
 * The customer's name, without what would break a line or a header. Anybody can register anybody's address, and could have
 * the shop send advertisements as names: none where it is too long, or may lead somewhere.
 */
function nameOf({ firstname, lastname }: CustomerDocument): string {
  const name = `${firstname} ${lastname}`.replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, ' ').trim()
  return name.length > MOST_NAME || LIKE_CONTACT.test(name) ? '' : name
}

function inWords(hours: number): string {
  const [count, unit] = Number.isInteger(hours) ? [hours, 'hour'] : [Math.max(1, Math.round(hours * 60)), 'minute']
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}

type Values = Readonly<Record<string, string>>

/** Replaces each `{name}` by its value; values are not replaced again. */
function fill(template: string, values: Values): string {
  return template.replace(/\{(\w+)\}/g, (placeholder, name: string) => values[name] ?? placeholder)
}

function render(purpose: LetterPurpose, values: Values): Pick<Letter, 'subject' | 'text' | 'html'> {
  const template = TEMPLATES[purpose]
  const subject = insert(template.subject, values)
  const escaped = Object.fromEntries(
    Object.entries({ ...values, subject }).map(([name, value]) => [name, escapeHtml(value)]),
  )
  const link = values.link === undefined ? '' : insert(LINK, escaped)
  const html = insert(LAYOUT, { ...escaped, body: insert(template.html, escaped) + link })
  return { subject, text: insert(template.text, values), html }
}

/** Replaces each `{{name}}` by its value. @throws TypeError for a name without a value */
function insert(template: string, values: Values): string {
  return template.replace(/\{\{(\w+)\}\}/g, (_, name: string) => {
    const value = values[name]
    if (value === undefined) throw new TypeError(`A mail template uses {{${name}}}, which does not exist.`)
    return value
  })
}

const ENTITIES: Values = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] as string)
}

const read = (file: string) => readFileSync(new URL(`templates/${file}`, import.meta.url), 'utf8')

/** A text's first line is the mail's subject. */
function template(purpose: LetterPurpose) {
  const [, subject = '', text = ''] = /^Subject: (.+)\n\n([\s\S]*)$/.exec(read(`${purpose}.txt`)) ?? []
  return { subject, text, html: read(`${purpose}.html`) }
}

const LAYOUT = read('layout.html')
/** Below the body of a mail with a link. */
const LINK = read('link.html')
const TEMPLATES = {
  'reset-password': template('reset-password'),
  'confirm-account': template('confirm-account'),
  'confirm-newsletter': template('confirm-newsletter'),
  welcome: template('welcome'),
  'password-changed': template('password-changed'),
  'email-changed': template('email-changed'),
  'email-changed-from': template('email-changed-from'),
} as const satisfies Record<LetterPurpose, unknown>
