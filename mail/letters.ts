/** The mails: for which events there is one, whom it goes to, what is in it, and whether it is still of use. */
import { readFileSync } from 'node:fs'
import { decode, type Recorded } from '../eventstore/codec.ts'
import { type EventStore, type RecordedEvent, StreamDeleted, StreamNotFound } from '../eventstore/port.ts'
import type { CustomerDocument, LinkRequest } from '../projections/customer.ts'
import { CUSTOMER_STREAMS, customerOf, foldCustomer } from '../projections/fold.ts'
import type { CustomerEvent, EventMetadata, SubscriberEvent } from '../schema/events.ts'
import type { MailPurpose, MailTokens } from '../schema/mail-tokens.ts'
import type { Store } from '../schema/store.ts'

export interface Letter {
  readonly purpose: MailPurpose
  /** Always the same for the same event: it makes a second copy known as one. */
  readonly messageId: string
  /** When it was asked for. */
  readonly at: Date
  readonly eventId: string
  readonly from: Address
  readonly to: Address
  readonly subject: string
  readonly text: string
  readonly html: string
}

export interface Address {
  /** May be empty. */
  readonly name: string
  readonly address: string
}

/** Why a mail is not sent: there is nobody any more, a newer one (or none) takes its place, or its link is over. */
export type Reason = 'gone' | 'superseded' | 'expired'

export interface Letters {
  /**
   * The mail that the event asks for, or why it is of no use any more.
   * @throws EventStoreUnavailable; another Error where the customer's stream can't be read
   */
  compose(event: RecordedEvent): Promise<Letter | Reason>
}

const SUBSCRIBER_PREFIX = 'newsletterSubscriber-'
export const STREAM_PREFIXES = [CUSTOMER_STREAMS, SUBSCRIBER_PREFIX]

const PURPOSES: Readonly<Record<string, MailPurpose>> = {
  PasswordResetRequested: 'reset-password',
  EmailConfirmationRequested: 'confirm-account',
  NewsletterConfirmationRequested: 'confirm-newsletter',
  GuestConfirmationRequested: 'confirm-newsletter',
}

/** The mail that an event asks for; undefined for all others. */
export function purposeOf({
  stream,
  type,
  metadata,
}: Pick<RecordedEvent, 'stream' | 'type' | 'metadata'>): MailPurpose | undefined {
  // Moving a shop in must not write to everybody who once left an account unconfirmed: they can ask for a mail.
  if ((metadata as Partial<EventMetadata> | undefined)?.actor === 'import') return undefined
  const isGuest = type === 'GuestConfirmationRequested'
  const isThere = isGuest ? stream.startsWith(SUBSCRIBER_PREFIX) : customerOf(stream) !== undefined
  return isThere && Object.hasOwn(PURPOSES, type) ? PURPOSES[type] : undefined
}

/** Where each purpose's link stands in the customer's document. */
const REQUESTS = {
  'reset-password': 'passwordReset',
  'confirm-account': 'confirmation',
  'confirm-newsletter': 'newsletterConfirmation',
} as const satisfies Record<MailPurpose, keyof CustomerDocument>

const HOUR_MS = 3_600_000

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
  const domain = store.mail.from.slice(store.mail.from.lastIndexOf('@') + 1)

  function write(purpose: MailPurpose, request: LinkRequest, to: Address): Letter {
    const { eventId, at } = request
    const link = fill(urls[purpose], {
      email: encodeURIComponent(to.address),
      token: tokens.of(purpose, eventId),
    })
    const values = {
      greeting: to.name === '' ? 'Hello,' : `Hello ${to.name},`,
      store: store.mail.storeName,
      validity: inWords(store.password.resetLinkHours),
      link,
    }
    return {
      purpose,
      messageId: `<${eventId}@${domain}>`,
      at: new Date(at),
      eventId,
      from: { name: store.mail.storeName, address: store.mail.from },
      to,
      ...render(purpose, values),
    }
  }

  async function composeForCustomer(event: Recorded<CustomerEvent>, purpose: MailPurpose, id: number) {
    const then = await foldCustomer(eventStore, id, undefined, event.revision)
    const today = await foldCustomer(eventStore, id, then)
    if (today.status !== 'registered' || then.revision < event.revision) return 'gone'
    const request = today[REQUESTS[purpose]]
    // Of an address that the customer has left, no link works.
    if (request?.eventId !== event.id || today.email !== then.email) return 'superseded'
    if (purpose === 'reset-password') {
      const age = now().getTime() - Date.parse(request.at)
      if (age > store.password.resetLinkHours * HOUR_MS) return 'expired'
    }
    return write(purpose, request, { name: nameOf(then), address: then.email })
  }

  async function composeForGuest({ id, data, metadata }: Recorded<SubscriberEvent>, stream: string) {
    for await (const newest of eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 })) {
      if (newest.id !== id) return 'superseded'
    }
    return write('confirm-newsletter', { eventId: id, at: metadata.at }, { name: '', address: data.email })
  }

  return {
    async compose(event) {
      const purpose = purposeOf(event)
      const customer = customerOf(event.stream)
      try {
        if (purpose === undefined) return 'gone'
        if (customer === undefined) return await composeForGuest(decode<SubscriberEvent>(event), event.stream)
        return await composeForCustomer(decode<CustomerEvent>(event), purpose, customer)
      } catch (error) {
        if (error instanceof StreamNotFound || error instanceof StreamDeleted) return 'gone'
        throw error
      }
    },
  }
}

/** Without what would break a line or a header. */
function nameOf({ firstname, lastname }: CustomerDocument): string {
  return `${firstname} ${lastname}`.replace(/[\p{Cc}\p{Zl}\p{Zp}\s]+/gu, ' ').trim()
}

function inWords(hours: number): string {
  const [count, unit] = Number.isInteger(hours) ? [hours, 'hour'] : [Math.max(1, Math.round(hours * 60)), 'minute']
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}

type Values = Readonly<Record<string, string>>

/** Puts values in the place of `{name}`; what is in a value stays as it is. */
function fill(template: string, values: Values): string {
  return template.replace(/\{(\w+)\}/g, (placeholder, name: string) => values[name] ?? placeholder)
}

function render(purpose: MailPurpose, values: Values): Pick<Letter, 'subject' | 'text' | 'html'> {
  const template = TEMPLATES[purpose]
  const subject = insert(template.subject, values)
  const escaped = Object.fromEntries(
    Object.entries({ ...values, subject }).map(([name, value]) => [name, escapeHtml(value)]),
  )
  const html = insert(LAYOUT, { ...escaped, body: insert(template.html, escaped) })
  return { subject, text: insert(template.text, values), html }
}

/** Puts values in the place of `{{name}}`. @throws TypeError for a name that there is no value for */
function insert(template: string, values: Values): string {
  return template.replace(/\{\{(\w+)\}\}/g, (_, name: string) => {
    const value = values[name]
    if (value === undefined) throw new TypeError(`A template of the mails asks for {{${name}}}, which there is not.`)
    return value
  })
}

const ENTITIES: Values = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] as string)
}

const read = (file: string) => readFileSync(new URL(`templates/${file}`, import.meta.url), 'utf8')

/** A text's first line is the mail's subject. */
function template(purpose: MailPurpose) {
  const [, subject = '', text = ''] = /^Subject: (.+)\n\n([\s\S]*)$/.exec(read(`${purpose}.txt`)) ?? []
  return { subject, text, html: read(`${purpose}.html`) }
}

const LAYOUT = read('layout.html')
const TEMPLATES = {
  'reset-password': template('reset-password'),
  'confirm-account': template('confirm-account'),
  'confirm-newsletter': template('confirm-newsletter'),
} as const satisfies Record<MailPurpose, unknown>
