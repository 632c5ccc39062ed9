/** What is in the mails, and which are not sent. */
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { simpleParser } from 'mailparser'
import t, { type Test } from 'tap'
import type { Letter } from '../../mail/letters.ts'
import { openOutbox } from '../../mail/outbox.ts'
import type { CustomerEvent } from '../../schema/events.ts'
import type { PartialStore } from '../../schema/store.ts'
import { temporaryFolder } from '../support/graph.ts'
import {
  append,
  CONFIRMATION,
  filesIn,
  NEWSLETTER,
  openEvents,
  RESET,
  registered,
  startWorker,
  tokens,
  toOf,
} from './support.ts'

const SETTINGS: PartialStore = {
  mail: {
    storeName: 'Tea & Co',
    from: 'shop@tea.example',
    resetPasswordUrl: 'https://tea.example/reset?email={email}&token={token}',
    confirmAccountUrl: 'https://tea.example/confirm?email={email}&key={token}',
    confirmNewsletterUrl: 'https://tea.example/newsletter/{token}?email={email}',
  },
}

/** The mails that the log's events ask for, written as files. */
async function written(
  t: Test,
  fill: (store: ReturnType<typeof openEvents>) => Promise<unknown>,
  now?: () => Date,
  mail: PartialStore['mail'] = {},
  settings: PartialStore = {},
) {
  const folder = await temporaryFolder(t)
  const eventStore = openEvents(t, folder)
  await fill(eventStore)
  const skipped: string[] = []
  const worker = startWorker(t, eventStore, {
    folder,
    settings: { ...settings, mail: { ...SETTINGS.mail, ...mail } },
    ...(now && { now }),
    observer: { skipped: (purpose, reason) => skipped.push(`${purpose} ${reason}`) },
  })
  await worker.caughtUp()
  const files = await filesIn(folder)
  const mails = await Promise.all(files.map((file) => readFile(join(folder, 'mail', file))))
  return { folder, files, skipped, mails: await Promise.all(mails.map((mail) => simpleParser(mail))) }
}

t.test('the reset of a password', async (t) => {
  const at = new Date('2026-05-06T07:08:09.010Z')
  let id = ''
  const { folder, files, mails } = await written(
    t,
    async (store) => {
      const person = registered(7, "o'neil+tea@example.com", { firstname: 'Åsa <b>', lastname: "O'Neil" })
      id = (await append(store, 'customer-7', [person, RESET], at))[1] ?? ''
    },
    () => at,
  )
  t.same(files, [`2026-05-06T07-08-09.010Z-reset-password-${id}.eml`])
  t.equal((await stat(join(folder, 'mail', files[0] ?? ''))).mode & 0o077, 0, 'for nobody else to read')
  const [mail] = mails
  const link = `https://tea.example/reset?email=o'neil%2Btea%40example.com&token=${tokens.of('reset-password', id)}`
  t.equal(mail?.subject, 'Reset your Tea & Co password')
  t.match(mail, { from: { value: [{ name: 'Tea & Co', address: 'shop@tea.example' }] } })
  t.match(mail, { to: { value: [{ name: "Åsa <b> O'Neil", address: "o'neil+tea@example.com" }] } })
  t.equal(mail?.messageId, `<${id}@tea.example>`)
  t.equal(mail?.headers.get('auto-submitted'), 'auto-generated')
  t.match(mail?.text, "Hello Åsa <b> O'Neil,")
  t.ok(mail?.text?.split('\n').includes(link), 'the link is a line of its own')
  t.match(mail?.text, 'expires in 2 hours')
  const html = String(mail?.html)
  t.match(html, 'Hello Åsa &lt;b&gt; O&#39;Neil,')
  t.match(html, `href="${link.replaceAll('&', '&amp;').replaceAll("'", '&#39;')}"`)
  t.match(html, '<title>Reset your Tea &amp; Co password</title>')
  t.notMatch(html, /<img|<script|src=|\{\{|undefined/)
  t.notMatch(mail?.text, /\{\{|undefined|&amp;/)
})

t.test('the confirmations of an account, of a customer’s subscription, of a guest’s', async (t) => {
  let ids: string[] = []
  const { files, mails } = await written(t, async (store) => {
    const [, confirmation = '', newsletter = ''] = await append(store, 'customer-1', [
      registered(1),
      CONFIRMATION,
      NEWSLETTER,
    ])
    const email = 'jörg$&@example.com'
    const guest = await append(store, 'newsletterSubscriber-a1', [
      { type: 'GuestConfirmationRequested', data: { email } },
    ])
    ids = [confirmation, newsletter, ...guest]
  })
  t.equal(files.length, 3)
  const mailOf = (index: number) => mails.find(({ messageId }) => messageId?.startsWith(`<${ids[index]}@`))
  const [account, own, guest] = [mailOf(0), mailOf(1), mailOf(2)]
  t.equal(account?.subject, 'Please confirm your Tea & Co account')
  const key = tokens.of('confirm-account', ids[0] ?? '')
  t.match(account?.text, `\nhttps://tea.example/confirm?email=customer1%40example.com&key=${key}\n`)
  t.match(String(account?.html), key)
  t.equal(own?.subject, 'Please confirm your Tea & Co newsletter subscription')
  const ownToken = tokens.of('confirm-newsletter', ids[1] ?? '')
  t.match(own?.text, `\nhttps://tea.example/newsletter/${ownToken}?email=customer1%40example.com\n`)
  t.match(own?.text, 'Hello Ann Lee,')
  t.equal(guest?.subject, 'Please confirm your Tea & Co newsletter subscription')
  const guestToken = tokens.of('confirm-newsletter', ids[2] ?? '')
  t.match(guest?.text, `\nhttps://tea.example/newsletter/${guestToken}?email=j%C3%B6rg%24%26%40example.com\n`)
  t.match(guest?.text, /^Hello,\n/)
  t.match(guest, { to: { value: [{ name: '', address: 'jörg$&@example.com' }] } })
})

t.test('a name that is no name: nobody has proved whose the address is, so it could be an advertisement', async (t) => {
  const names: [firstname: string, lastname: string, greeting: string][] = [
    ['You have won! See shop', 'evil-shop.com today', 'Hello,'],
    ['Приз на', 'сайт.рф', 'Hello,'],
    ['Call', '0900 123456', 'Hello,'],
    ['A'.repeat(60), 'B'.repeat(60), 'Hello,'],
    ['J.R. Ann-Marie', 'St. John, Jr.', 'Hello J.R. Ann-Marie St. John, Jr.,'],
  ]
  const { mails } = await written(t, async (store) => {
    for (const [index, [firstname, lastname]] of names.entries()) {
      const id = index + 1
      await append(store, `customer-${id}`, [registered(id, `c${id}@example.com`, { firstname, lastname }), RESET])
    }
  })
  for (const [index, [, , greeting]] of names.entries()) {
    const mail = mails.find(({ to }) => [to].flat()[0]?.text.includes(`c${index + 1}@`))
    t.equal(mail?.text?.split('\n')[0], greeting)
    if (greeting === 'Hello,') t.match(mail, { to: { value: [{ name: '' }] } })
  }
})

t.test('of no use any more', async (t) => {
  const HOUR = 3_600_000
  const changed: CustomerEvent = {
    type: 'CustomerEmailChanged',
    data: { email: 'new@example.com', previousEmail: 'customer1@example.com' },
  }
  const deleted: CustomerEvent = { type: 'CustomerDeleted', data: {} }
  const again = (event: CustomerEvent) => [registered(1), event, event]
  const cases: [string, CustomerEvent[], string[]][] = [
    ['the customer is deleted', [registered(1), RESET, CONFIRMATION, NEWSLETTER, deleted], ['gone', 'gone', 'gone']],
    ['a newer request', again(RESET), ['superseded']],
    ['a newer request to confirm', again(CONFIRMATION), ['superseded']],
    ['a newer subscription', again(NEWSLETTER), ['superseded']],
    ['confirmed', [registered(1), CONFIRMATION, { type: 'EmailConfirmed', data: {} }], ['superseded']],
    ['subscribed', [registered(1), NEWSLETTER, { type: 'NewsletterSubscribed', data: {} }], ['superseded']],
    ['unsubscribed', [registered(1), NEWSLETTER, { type: 'NewsletterUnsubscribed', data: {} }], ['superseded']],
    [
      'the password is changed',
      [registered(1), RESET, { type: 'CustomerPasswordChanged', data: { credentialsRevision: 1 } }],
      ['superseded'],
    ],
    ['another address', [registered(1), RESET, changed], ['superseded']],
    ['no customer', [RESET], ['gone']],
  ]
  for (const [name, events, reasons] of cases) {
    const { files, skipped } = await written(t, (store) => append(store, 'customer-1', events))
    t.same(
      skipped.map((each) => each.split(' ')[1]),
      reasons,
      name,
    )
    t.equal(
      files.filter((file) => !/-(password|email)-changed/.test(file)).length,
      events.filter((event) => [RESET, CONFIRMATION, NEWSLETTER].includes(event)).length - reasons.length,
    )
  }

  const at = new Date()
  const later = (hours: number) => () => new Date(at.getTime() + hours * HOUR)
  const request = (store: ReturnType<typeof openEvents>) =>
    append(store, 'customer-1', [registered(1), RESET, CONFIRMATION, NEWSLETTER], at)
  t.same((await written(t, request, later(1.9))).skipped, [])
  t.same((await written(t, request, later(2.1))).skipped, ['reset-password expired'], 'the others hold for ever')

  const guest = await written(t, async (store) => {
    const data = { email: 'guest@example.com' }
    await append(store, 'newsletterSubscriber-a', [
      { type: 'GuestConfirmationRequested', data },
      { type: 'GuestSubscribed', data },
    ])
    await append(store, 'newsletterSubscriber-b', [{ type: 'GuestConfirmationRequested', data }])
    await store.deleteStream('newsletterSubscriber-b', { expected: 'any' })
  })
  t.same(guest.skipped.sort(), ['confirm-newsletter superseded'], 'what was deleted is not even met')
  t.same(guest.files, [])
})

t.test('name and address are those of the request', async (t) => {
  const renamed: CustomerEvent = { type: 'CustomerDetailsChanged', data: { firstname: 'Vera' } }
  const { mails } = await written(t, (store) => append(store, 'customer-1', [registered(1), RESET, renamed]))
  t.match(mails[0]?.text, 'Hello Ann Lee,')
})

t.test('streams that only look like a customer’s ask for nothing', async (t) => {
  const { files, skipped } = await written(t, async (store) => {
    for (const stream of ['customer-007', 'customer-x', 'customerSkips-1', 'other-1']) {
      await append(store, stream, [registered(7), RESET])
    }
    await append(store, 'customer-1', [{ type: 'GuestConfirmationRequested', data: { email: 'a@example.com' } }])
    await append(store, 'customer-2', [registered(2), RESET])
  })
  t.equal(files.length, 1)
  t.same(skipped, [])
})

t.test('what has happened to an account is told: a password, an e-mail address, a welcome', async (t) => {
  const at = new Date('2026-05-06T07:08:09.010Z')
  const changes = (id: number): CustomerEvent[] => [
    registered(id),
    { type: 'CustomerPasswordChanged', data: { credentialsRevision: 1 } },
    {
      type: 'CustomerEmailChanged',
      data: { email: `new${id}@example.com`, previousEmail: `customer${id}@example.com` },
    },
  ]
  const fill = async (store: ReturnType<typeof openEvents>) => {
    await append(store, 'customer-1', changes(1), at)
    await append(store, 'customer-2', [...changes(2), { type: 'CustomerDeleted', data: {} }], at)
    await append(store, 'customer-3', changes(3), new Date(at.getTime() - 100 * 3_600_000))
  }
  const { mails, skipped, folder, files } = await written(t, fill, () => at, { welcome: true })
  const of = (subject: string) => mails.filter((mail) => mail.subject === subject).map(toOf)
  t.same(of('Welcome to Tea & Co'), ['customer1@example.com'])
  t.same(of('Your Tea & Co password has changed'), ['customer1@example.com'])
  t.same(of('Your Tea & Co email address has changed').toSorted(), ['customer1@example.com', 'new1@example.com'])
  t.equal(new Set(mails.map(({ messageId }) => messageId)).size, 4, 'each is a message of its own')
  t.equal(skipped.filter((each) => each.endsWith(' gone')).length, 4, 'not to somebody who is gone')
  t.equal(skipped.filter((each) => each.endsWith(' expired')).length, 4, 'nor of long ago')
  for (const mail of mails)
    t.notMatch(`${mail.text}${mail.html}`, /\{\{|undefined|new1@example|http/, 'no other address, no link')
  for (const file of files) t.notMatch(await readFile(join(folder, 'mail', file), 'utf8'), /=3D|quoted-printable/)
})

t.test('an account can not be used to send its address one notice after the other', async (t) => {
  const HOUR = 3_600_000
  const at = new Date('2026-05-06T07:08:09.010Z')
  const ago = (hours: number) => new Date(at.getTime() - hours * HOUR)
  // The same mailbox: no address is claimed for it, so the limit of claims does not count.
  const email = (n: number) => (n % 2 === 0 ? 'customer1@example.com' : 'CUSTOMER1@example.com')
  const address = (n: number): CustomerEvent => ({
    type: 'CustomerEmailChanged',
    data: { email: email(n), previousEmail: email(n + 1) },
  })
  const password = (n: number): CustomerEvent => ({
    type: 'CustomerPasswordChanged',
    data: { credentialsRevision: n },
  })
  const detail: CustomerEvent = { type: 'CustomerDetailsChanged', data: { firstname: 'Ann' } }
  const changes = Array.from({ length: 8 }, (_, n) => [password(n + 1), detail, address(n + 1)]).flat()
  const { files, skipped } = await written(
    t,
    async (store) => {
      await append(store, 'customer-1', [registered(1), password(1)], ago(1.6))
      await append(store, 'customer-1', changes, ago(0.5))
      await append(store, 'customer-1', [RESET], at)
      await append(store, 'customer-2', [registered(2), password(1)], at)
    },
    () => at,
    { welcome: false },
  )
  const of = (purpose: string) => files.filter((file) => file.includes(`Z-${purpose}-`)).length
  t.equal(of('password-changed'), 1 + 5 + 1, 'the first ones are told, so whoever owns the address knows')
  t.equal(of('email-changed'), 2 * 5)
  t.same(of('reset-password'), 1, 'mails with a link have limits of their own')
  t.same([...new Set(skipped)].toSorted(), [
    'email-changed too_many',
    'email-changed-from too_many',
    'password-changed too_many',
  ])
  t.equal(skipped.length, 3 * 3)
})

t.test('who has to confirm an account first is welcome then', async (t) => {
  const settings = { welcome: true }
  const fill = (store: ReturnType<typeof openEvents>) =>
    append(store, 'customer-1', [registered(1), CONFIRMATION, { type: 'EmailConfirmed', data: {} }])
  const { mails } = await written(t, fill, undefined, settings, { account: { confirmationRequired: true } })
  t.same(
    mails.map(({ subject }) => subject),
    ['Welcome to Tea & Co'],
    'the confirmation is superseded by then',
  )
})

t.test('a mail in a file can be read, and its link copied', async (t) => {
  const { folder, files } = await written(t, (store) => append(store, 'customer-1', [registered(1), RESET]))
  const content = await readFile(join(folder, 'mail', files[0] ?? ''), 'utf8')
  t.match(content, /^Content-Transfer-Encoding: 7bit$/m)
  t.notMatch(content, /=3D|quoted-printable|=\n/)
  t.match(content, /^https:\/\/tea\.example\/reset\?email=customer1%40example\.com&token=\w{32}$/m)
  const { folder: other, files: accented } = await written(t, (store) =>
    append(store, 'customer-1', [registered(1, 'a@example.com', { firstname: 'Åsa' }), RESET]),
  )
  t.match(await readFile(join(other, 'mail', accented[0] ?? ''), 'utf8'), /^Hello Åsa Lee,$/m)
})

t.test('a mail that is in hand while its recipient is erased does not stay as a file', async (t) => {
  const dataFolder = await temporaryFolder(t)
  const outbox = openOutbox({ smtpUrl: undefined, dataFolder })
  const signal = new AbortController().signal
  const [stays, inHand, later, crashed] = Array.from({ length: 4 }, (): Letter => {
    const [eventId, address] = [crypto.randomUUID(), { name: 'Ann', address: 'ann@example.com' }]
    const texts = { subject: 'Hello', text: 'Hello Ann', html: '<p>Hello Ann</p>' }
    const letter = { purpose: 'welcome', messageId: `<${eventId}@example.com>`, at: new Date(), eventId } as const
    return { ...letter, from: address, to: address, ...texts }
  }) as [Letter, Letter, Letter, Letter]
  await outbox.send(stays, signal)
  const draft = join(dataFolder, 'mail', `.2026-01-01T00-00-00.000Z-welcome-${crashed.eventId}.eml.1`)
  await writeFile(draft, 'Hello Ann')
  const sending = outbox.send(inHand, signal)
  await outbox.forget?.(new Set([inHand, later, crashed].map(({ eventId }) => eventId)))
  await sending
  await outbox.send(later, signal)
  const names = await readdir(join(dataFolder, 'mail'))
  t.equal(names.length, 1)
  t.match(names[0], stays.eventId)
})
