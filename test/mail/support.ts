/** What the mail tests share: events written straight to the store, a real SMTP server, workers. */
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type ParsedMail, simpleParser } from 'mailparser'
import { SMTPServer } from 'smtp-server'
import type { Test } from 'tap'
import { encode } from '../../eventstore/codec.ts'
import { type EventStore, StreamNotFound } from '../../eventstore/port.ts'
import { openSqliteEventStore } from '../../eventstore/sqlite/event-store.ts'
import { createLetters } from '../../mail/letters.ts'
import { openOutbox } from '../../mail/outbox.ts'
import { type MailWorkerOptions, startMailWorker } from '../../mail/worker.ts'
import type { CustomerEvent, SubscriberEvent } from '../../schema/events.ts'
import { createMailTokens } from '../../schema/mail-tokens.ts'
import { type PartialStore, store } from '../../schema/store.ts'

export const HASH_KEY = 'k'.repeat(32)
export const tokens = createMailTokens(HASH_KEY)

/** The embedded event store in a folder, closed with the test. */
export function openEvents(t: Test, folder: string): EventStore {
  const eventStore = openSqliteEventStore({ path: join(folder, 'events.db') })
  t.teardown(() => eventStore.close())
  return eventStore
}

/** Appends events as a command would; gives their ids. */
export async function append(
  eventStore: EventStore,
  stream: string,
  events: readonly (CustomerEvent | SubscriberEvent)[],
  at = new Date(),
): Promise<string[]> {
  const encoded = events.map((event) => {
    const id = crypto.randomUUID()
    const metadata = { $correlationId: id, $causationId: id, actor: 'guest', at: at.toISOString() }
    return encode(event, id, metadata)
  })
  await eventStore.append(stream, encoded, { expected: 'any' })
  return encoded.map(({ id }) => id)
}

export const RESET: CustomerEvent = { type: 'PasswordResetRequested', data: {} }
export const CONFIRMATION: CustomerEvent = { type: 'EmailConfirmationRequested', data: {} }
export const NEWSLETTER: CustomerEvent = { type: 'NewsletterConfirmationRequested', data: {} }

export function registered(id: number, email = emailOf(id), names: { firstname?: string; lastname?: string } = {}) {
  return {
    type: 'CustomerRegistered',
    data: {
      customerId: id,
      email,
      prefix: null,
      firstname: 'Ann',
      middlename: null,
      lastname: 'Lee',
      suffix: null,
      dob: null,
      taxvat: null,
      gender: null,
      allowRemoteShoppingAssistance: false,
      groupId: 1,
      isSubscribed: false,
      customAttributes: {},
      rewardUpdateNotification: null,
      rewardWarningNotification: null,
      createdAt: '2026-01-01T00:00:00Z',
      credentialsRevision: 0,
      ...names,
    },
  } as const satisfies CustomerEvent
}

export const emailOf = (id: number) => `customer${id}@example.com`

/** Customers `first` to `last`, each with a request that has a mail sent. */
export async function requestResets(eventStore: EventStore, first: number, last: number): Promise<void> {
  for (let id = first; id <= last; id++) await append(eventStore, `customer-${id}`, [registered(id), RESET])
}

export interface Smtp {
  readonly url: string
  readonly port: number
  /** What it has taken, in order. */
  readonly mails: ParsedMail[]
  /** The recipients of what it has taken, sorted. */
  recipients(): string[]
  /** Attempts to sign in. */
  logins: number
  /** Attempts, by recipient. */
  readonly asked: string[]
  /** The answer to a recipient, where it is not a yes. */
  refuse: (address: string) => { readonly code: number; readonly text: string } | undefined
  /** What is waited for before a mail is answered. */
  hold: (address: string) => Promise<unknown> | undefined
  stop(): Promise<void>
  start(): Promise<void>
}

/** A real SMTP server, stopped with the test. */
export async function startSmtp(
  t: Test,
  options: { readonly user?: string; readonly password?: string; readonly tls?: { key: Buffer; cert: Buffer } } = {},
): Promise<Smtp> {
  const mails: ParsedMail[] = []
  const asked: string[] = []
  let server: SMTPServer | undefined
  let port = 0
  const smtp = {
    mails,
    asked,
    logins: 0,
    recipients: () => mails.map((mail) => toOf(mail)).sort(),
    refuse: (_: string): { code: number; text: string } | undefined => undefined,
    hold: (_: string): Promise<unknown> | undefined => undefined,
    async start() {
      server = new SMTPServer({
        authOptional: options.user === undefined,
        disabledCommands: ['STARTTLS'],
        ...(options.tls && { secure: true, ...options.tls }),
        allowInsecureAuth: true,
        closeTimeout: 10,
        onAuth({ username, password }, _, callback) {
          smtp.logins++
          const isRight = username === options.user && password === options.password
          callback(isRight ? null : new Error(`wrong password ${password}`), { user: username })
        },
        onRcptTo({ address }, _, callback) {
          asked.push(address)
          const answer = smtp.refuse(address)
          callback(answer && Object.assign(new Error(answer.text), { responseCode: answer.code }))
        },
        async onData(stream, { envelope }, callback) {
          const mail = await simpleParser(stream).catch(() => undefined)
          if (!mail) return callback() // the client went away
          await smtp.hold(envelope.rcptTo[0]?.address ?? '')
          mails.push(mail)
          callback()
        },
      })
      server.on('error', () => {}) // a client that is killed
      server.listen(port, '127.0.0.1')
      await once(server.server, 'listening')
      port = (server.server.address() as AddressInfo).port
    },
    async stop() {
      const stopping = server
      server = undefined
      if (stopping) await new Promise<void>((resolve) => stopping.close(() => resolve()))
    },
  }
  await smtp.start()
  t.teardown(() => smtp.stop())
  const credentials = options.user === undefined ? '' : `${options.user}:${encodeURIComponent(options.password ?? '')}@`
  return Object.assign(smtp, { port, url: `smtp://${credentials}127.0.0.1:${port}` })
}

/** Whom a mail goes to. */
export function toOf({ to }: ParsedMail): string {
  return (Array.isArray(to) ? to[0] : to)?.value[0]?.address ?? ''
}

/** Short waits, so that tests need not. */
const WAITS = { firstMs: 5, mostMs: 20 }

export interface Fixture extends ReturnType<typeof startMailWorker> {
  /** What it logs. */
  readonly lines: string[]
}

/** A mail worker in this process, stopped with the test. */
export function startWorker(
  t: Test,
  eventStore: EventStore,
  options: {
    readonly smtp?: Smtp | undefined
    readonly folder?: string
    readonly settings?: PartialStore
    readonly now?: () => Date
  } & Partial<MailWorkerOptions>,
): Fixture {
  const { smtp, folder = '', settings, now, ...others } = options
  const letters = createLetters({
    eventStore,
    tokens,
    store: store({ ...settings, mail: { welcome: false, ...settings?.mail } }),
    ...(now && { now }),
  })
  const outbox = openOutbox({ smtpUrl: smtp?.url, dataFolder: folder })
  const lines: string[] = []
  const line = (details: object, message: string) => lines.push(`${message} ${JSON.stringify(details)}`)
  const log = { info: line, warn: line, error: line }
  const worker = startMailWorker({
    eventStore,
    letters,
    outbox,
    log,
    outageWaits: WAITS,
    mailWaits: WAITS,
    ...others,
  })
  t.teardown(async () => {
    await worker.stop()
    outbox.close()
  })
  return { ...worker, lines }
}

/** The checkpoint as it is stored, with its revision; -1: there is none. */
export async function storedCheckpoint(eventStore: EventStore, name = 'default') {
  try {
    const newest = eventStore.readStream(`mailCheckpoint-${name}`, { direction: 'backwards', maxCount: 1 })
    for await (const { revision, data } of newest) {
      return { revision, ...(data as { holder: string | null; unsent: object[]; commit: string; prepare: string }) }
    }
  } catch (error) {
    if (!(error instanceof StreamNotFound)) throw error
  }
  return { revision: -1, holder: null, unsent: [] as object[], commit: '0', prepare: '0' }
}

/** The mails that lie in a data folder. @param purpose only those */
export async function filesIn(folder: string, purpose = ''): Promise<string[]> {
  const names = await readdir(join(folder, 'mail')).catch((): string[] => [])
  return names.filter((name) => !name.startsWith('.') && name.includes(purpose)).sort()
}
