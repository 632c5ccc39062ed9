/** One mailbox, one account: however its address is written, wherever it comes in, and in logs of older releases. */
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { findHolder } from '../../audit/customer-ref.ts'
import { eraseCustomer } from '../../audit/erase.ts'
import { subjectData } from '../../audit/subject.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { newestEvent } from '../../eventstore/read.ts'
import { openOutbox } from '../../mail/outbox.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { canonicalEmail, emailKeyOf } from '../../schema/email-key.ts'
import { createMailTokens } from '../../schema/mail-tokens.ts'
import { type PartialStore, store } from '../../schema/store.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { importFiles } from '../../subgraph/import/importer.ts'
import {
  environment,
  freshEmail,
  PASSWORD,
  type Send,
  signIn,
  signUp,
  startSubgraph,
  temporaryFolder,
} from '../support/graph.ts'
import { alreadyExists, gives, input, linkToken, QUICK_STORE, refuses, TAKEN } from '../support/magento.ts'
import { aCustomer, addressesFile, anAddress, customersFile, sha256Hash } from '../support/magento-export.ts'
import { appendOlder, olderKey, registerOlder } from '../support/older-log.ts'

const folder = await temporaryFolder(t)
const { emailHashKey } = loadKeys(loadConfiguration(environment(folder)))
const SETTINGS: PartialStore = {
  ...QUICK_STORE,
  account: { revealEmailAvailability: true },
  newsletter: { active: true },
}
const { send, eventStore } = await startSubgraph(t, { folder, store: SETTINGS })

let boxes = 0
/** The same mailbox of a domain with an umlaut, in all the ways to write it. */
function spellings(): readonly [string, ...string[]] {
  const local = `anna${++boxes}`
  return [
    `${local}@bücher.example`,
    `${local}@xn--bcher-kva.example`,
    `${local}@XN--Bcher-KVA.example`,
    `${local}@bu\u0308cher.example`,
    `${local.toUpperCase()}@BÜCHER.Example`,
    ` ${local}@bücher.example\t`,
    `\u00a0${local}@xn--bcher-kva.example\n`,
  ]
}

const register = (email: string, extra: object = {}) =>
  send('mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id email } } }', {
    variables: { input: { firstname: 'Ann', lastname: 'Lee', email, password: PASSWORD, ...extra } },
  })
const subscribe = (email: string, token?: string) =>
  send('mutation($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }', {
    variables: { email },
    token,
  })
const isAvailable = async (email: string) =>
  (
    await send('query($email: String!) { isEmailAvailable(email: $email) { is_email_available } }', {
      variables: { email },
    })
  ).data.isEmailAvailable.is_email_available
const change = (token: string | undefined, email: string, to: Send = send) =>
  to(
    'mutation($email: String!, $password: String!) { updateCustomerEmail(email: $email, password: $password) { customer { email } } }',
    { variables: { email, password: PASSWORD }, token },
  )
const resetRequest = (email: string) =>
  send('mutation($email: String!) { requestPasswordResetEmail(email: $email) }', { variables: { email } })
const typesOf = async (stream: string) => {
  const types: string[] = []
  try {
    for await (const { type } of eventStore.readStream(stream)) types.push(type)
  } catch {}
  return types
}

t.test('the canonical form', async (t) => {
  for (const [typed, canonical] of [
    ['ann@example.com', 'ann@example.com'],
    [' Ann@Example.COM ', 'ann@example.com'],
    ['anna@bücher.example', 'anna@xn--bcher-kva.example'],
    ['anna@ｂücher.example', 'anna@xn--bcher-kva.example'],
    ['anna@straße.example', 'anna@xn--strae-oqa.example'],
    ['Zo\u0065\u0308@example.com', 'zoë@example.com'],
    ['anna@exam ple', 'anna@exam ple'],
    ['nobody', 'nobody'],
    ['a@b@c.example', 'a@b@c.example'],
    ['', ''],
  ] as const) {
    t.equal(canonicalEmail(typed), canonical, typed)
    t.equal(canonicalEmail(canonical), canonical, 'is its own')
  }
})

t.test('every spelling signs in, and none makes a second account', async (t) => {
  for (const first of [0, 1, 4]) {
    const all = spellings()
    const created = await register(all[first] as string)
    t.equal(created.errors, undefined)
    t.equal(created.data.createCustomer.customer.email, all[first], 'shown as it was given')
    for (const [index, other] of all.entries()) {
      if (index % 3 === 0) t.ok(await signIn(send, other), JSON.stringify(other))
      refuses(t, await register(other), input(TAKEN))
      t.equal(await isAvailable(other), false)
    }
  }
})

t.test('blanks around an address are no part of it, wherever it comes in', async (t) => {
  const email = freshEmail()
  const spaced = ` ${email} `
  const created = await register(spaced)
  t.equal(created.data.createCustomer.customer.email, email)
  const id = created.data.createCustomer.customer.id
  const token = await signIn(send, `${email}\u3000`)
  t.ok(token)
  gives(t, await resetRequest(spaced), { requestPasswordResetEmail: true })
  t.match(await typesOf(`customer-${id}`), ['CustomerRegistered', 'PasswordResetRequested'])
  const resetPasswordToken = await linkToken(eventStore, emailHashKey, 'reset-password', id)
  const reset = await send(
    'mutation($email: String!, $resetPasswordToken: String!, $newPassword: String!) { resetPassword(email: $email, resetPasswordToken: $resetPasswordToken, newPassword: $newPassword) }',
    { variables: { email: spaced, resetPasswordToken, newPassword: PASSWORD } },
  )
  gives(t, reset, { resetPassword: true })
  const again = await signIn(send, spaced)
  gives(t, await change(again, spaced), { updateCustomerEmail: { customer: { email } } })
  t.notOk((await typesOf(`customer-${id}`)).includes('CustomerEmailChanged'), 'nothing has changed')
  gives(
    t,
    await send(`mutation { updateCustomer(input: { email: "${spaced}" }) { customer { email } } }`, { token: again }),
    {
      updateCustomer: { customer: { email } },
    },
  )
  const moved = freshEmail()
  gives(t, await change(again, `${moved}\n`), { updateCustomerEmail: { customer: { email: moved } } })
  t.equal(await isAvailable(spaced), true)
  gives(t, await subscribe(` ${freshEmail()} `), { subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } })
  refuses(t, await subscribe('  '), input('You must specify an email address to subscribe to a newsletter.'))
  const extra = freshEmail()
  const V2 = 'mutation($input: CustomerCreateInput!) { createCustomerV2(input: $input) { customer { email } } }'
  const created2 = await send(V2, { variables: { input: { firstname: 'A', lastname: 'B', email: ` ${extra}` } } })
  gives(t, created2, { createCustomerV2: { customer: { email: extra } } })
})

t.test('a newsletter has a mailbox once, whoever subscribes it', async (t) => {
  const guest = spellings()
  gives(t, await subscribe(guest[0]), { subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } })
  for (const other of guest) {
    refuses(t, await subscribe(other), alreadyExists('This email address is already subscribed.'))
  }
  const customer = spellings()
  const { token } = await signUp(send, customer[1] as string)
  gives(t, await subscribe(customer[0], token), { subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } })
  for (const other of customer) {
    refuses(t, await subscribe(other), alreadyExists('This email address is already subscribed.'))
  }
  const joined = await send(
    'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { is_subscribed } } }',
    { variables: { input: { firstname: 'A', lastname: 'B', email: guest[1] } } },
  )
  gives(t, joined, { createCustomer: { customer: { is_subscribed: true } } })
})

t.test('accounts and subscriptions to be confirmed: by any spelling', async (t) => {
  const careful = await startSubgraph(t, {
    store: { ...SETTINGS, account: { confirmationRequired: true }, newsletter: { confirmationRequired: true } },
  })
  const [email, ...others] = spellings()
  const created = await careful.send(
    'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id } } }',
    { variables: { input: { firstname: 'A', lastname: 'B', email, password: PASSWORD } } },
  )
  for (const other of others.slice(0, 3)) {
    const query = 'mutation($email: String!) { resendConfirmationEmail(email: $email) }'
    gives(t, await careful.send(query, { variables: { email: other } }), { resendConfirmationEmail: true })
  }
  const key = await linkToken(
    careful.eventStore,
    emailHashKey,
    'confirm-account',
    created.data.createCustomer.customer.id,
  )
  const query = 'mutation($input: ConfirmEmailInput!) { confirmEmail(input: $input) { customer { email } } }'
  gives(t, await careful.send(query, { variables: { input: { email: others.at(-1), confirmation_key: key } } }), {
    confirmEmail: { customer: { email } },
  })
  const [guest, ...guests] = spellings()
  const asked = await careful.send(
    'mutation($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }',
    {
      variables: { email: guest },
    },
  )
  gives(t, asked, { subscribeEmailToNewsletter: { status: 'NOT_ACTIVE' } })
  const event = await newestEvent(careful.eventStore, `newsletterSubscriber-${emailKeyOf(emailHashKey, guest)}`)
  const confirmation_key = createMailTokens(emailHashKey).of('confirm-newsletter', event?.id ?? '')
  const confirmed = await careful.send(
    'mutation($email: String!, $key: String!) { confirmNewsletterSubscription(email: $email, confirmation_key: $key) { status } }',
    { variables: { email: guests[0], key: confirmation_key } },
  )
  gives(t, confirmed, { confirmNewsletterSubscription: { status: 'SUBSCRIBED' } })
})

t.test('a throttle counts a mailbox, not its spellings', async (t) => {
  const all = spellings()
  await signUp(send, all[0])
  for (let guess = 0; guess < 6; guess++) await signIn(send, all[guess % all.length] as string, 'wrong')
  t.notOk(await signIn(send, all[0]))
})

let oldIds = 1_000_000
/** A log of an older release with a customer in it. */
async function older(spelling: number) {
  const all = spellings()
  const id = ++oldIds
  await registerOlder(eventStore, emailHashKey, id, all[spelling] as string)
  return {
    id,
    all,
    email: all[spelling] as string,
    claim: `customerEmail-${olderKey(emailHashKey, all[spelling] as string)}`,
  }
}
/** Every spelling with which older releases made a claim of its own. */
const OLDER = [0, 1, 4]

t.test('a claim of an older release keeps its owner', async (t) => {
  for (const spelling of OLDER) {
    const { all, email } = await older(spelling)
    for (const other of all) {
      if (spelling === 0) t.ok(await signIn(send, other), `${email} as ${JSON.stringify(other)}`)
      refuses(t, await register(other), input(TAKEN))
      t.equal(await isAvailable(other), false)
    }
    const { token } = await signUp(send)
    refuses(t, await change(token, all[1] as string), alreadyExists(TAKEN))
    refuses(t, await change(token, all[0]), alreadyExists(TAKEN))
  }
})

t.test('two accounts that an older release let one mailbox have are each found by their own spelling', async (t) => {
  const all = spellings()
  const ids = [++oldIds, ++oldIds]
  for (const [index, id] of ids.entries()) await registerOlder(eventStore, emailHashKey, id, all[index] as string)
  for (const [index, id] of ids.entries()) {
    const token = await signIn(send, all[index] as string)
    gives(t, await send('{ customer { id } }', { token }), { customer: { id } })
    t.match(await findHolder(eventStore, all[index] as string, () => emailHashKey), { customerId: id })
  }
  gives(t, await send('mutation { deleteCustomer }', { token: await signIn(send, all[0]) }), { deleteCustomer: true })
  t.ok(await signIn(send, all[1] as string), 'one goes, the other stays')
  refuses(t, await register(all[0]), input(TAKEN))
})

t.test('it moves with the next change, and is free after it', async (t) => {
  for (const spelling of OLDER) {
    const { id, all, claim } = await older(spelling)
    const token = await signIn(send, all[0])
    const respelled = spelling === 0 ? all[1] : all[0]
    gives(t, await change(token, respelled as string), { updateCustomerEmail: { customer: { email: respelled } } })
    const key = emailKeyOf(emailHashKey, all[0])
    const owner = await newestEvent(eventStore, `customerEmail-${key}`)
    t.match(owner, { type: 'EmailClaimed', data: { customerId: id } }, 'under the canonical form')
    if (claim !== `customerEmail-${key}`) t.equal((await newestEvent(eventStore, claim))?.type, 'EmailReleased')
    refuses(t, await register(all[2] as string), input(TAKEN))
    const next = freshEmail()
    gives(t, await change(await signIn(send, all[3] as string), next), {
      updateCustomerEmail: { customer: { email: next } },
    })
    t.equal(await isAvailable(all[0]), true)
    t.equal((await register(all[4] as string)).errors, undefined)
  }
  for (const spelling of OLDER) {
    const { all } = await older(spelling)
    gives(t, await change(await signIn(send, all[0]), freshEmail()), { updateCustomerEmail: {} })
    t.equal((await register(all[1] as string)).errors, undefined, 'straight to another mailbox')
    refuses(t, await register(all[0]), input(TAKEN))
  }
})

t.test('a customer who is deleted or erased leaves nothing under either key', async (t) => {
  for (const spelling of OLDER) {
    for (const erased of spelling === 0 ? [false, true] : [false]) {
      const { id, all, claim, email } = await older(spelling)
      const keys = [olderKey(emailHashKey, email), emailKeyOf(emailHashKey, email)]
      for (const key of new Set(keys)) {
        await appendOlder(eventStore, `newsletterSubscriber-${key}`, [{ type: 'GuestSubscribed', data: { email } }])
      }
      if (erased) {
        const eraser = { actor: 'operator:me', correlationId: 'x', at: new Date() }
        await eraseCustomer({ eventStore, customerId: id, emailHashKey, eraser, reason: 'asked for' })
      } else {
        gives(t, await send('mutation { deleteCustomer }', { token: await signIn(send, all[0]) }), {
          deleteCustomer: true,
        })
      }
      t.equal((await newestEvent(eventStore, claim))?.type, 'EmailReleased')
      for (const key of keys) {
        t.equal((await newestEvent(eventStore, `newsletterSubscriber-${key}`))?.type, 'GuestErased')
      }
      t.equal((await register(all[1] as string)).errors, undefined)
    }
  }
})

t.test('a guest of an older release is subscribed, and can be', async (t) => {
  const all = spellings()
  await appendOlder(eventStore, `newsletterSubscriber-${olderKey(emailHashKey, all[0])}`, [
    { type: 'GuestSubscribed', data: { email: all[0] } },
  ])
  for (const other of all)
    refuses(t, await subscribe(other), alreadyExists('This email address is already subscribed.'))
})

t.test('operators find a customer by any spelling', async (t) => {
  for (const spelling of OLDER) {
    const { id, all } = await older(spelling)
    for (const other of all) t.match(await findHolder(eventStore, other, () => emailHashKey), { customerId: id })
    const subject = (await subjectData(eventStore, id, emailHashKey, () => true)) as { events: { type: string }[] }
    t.ok(
      subject.events.some(({ type }) => type === 'EmailClaimed'),
      'the claim is among what is held',
    )
  }
  const all = spellings()
  const { id } = await signUp(send, all[0])
  for (const other of all) t.match(await findHolder(eventStore, other, () => emailHashKey), { customerId: id })
})

t.test(
  'the file of a customer of an older release has nothing of a guest who uses the address afterwards',
  async (t) => {
    for (const spelling of OLDER) {
      const { id, all } = await older(spelling)
      const guests = async () => {
        const { events } = (await subjectData(eventStore, id, emailHashKey, () => true)) as {
          events: { type: string }[]
        }
        return events.filter(({ type }) => type === 'GuestSubscribed').length
      }
      await appendOlder(eventStore, `newsletterSubscriber-${emailKeyOf(emailHashKey, all[0])}`, [
        { type: 'GuestSubscribed', data: { email: all[0] } },
      ])
      t.equal(await guests(), 1, 'while the customer has it')
      gives(t, await change(await signIn(send, all[0]), freshEmail()), { updateCustomerEmail: {} })
      gives(t, await subscribe(all[0]), { subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } })
      t.equal(await guests(), 1)
    }
  },
)

/** Imports into the folder; gives the counts, and why rows were refused. */
async function run(into: string, customers: string, addresses?: string) {
  const paths = { customers: join(into, 'customers.csv'), addresses: join(into, 'addresses.csv') }
  await writeFile(paths.customers, customers)
  if (addresses !== undefined) await writeFile(paths.addresses, addresses)
  const log = (await openLog(loadConfiguration(environment(into)))).eventStore
  const rejected: string[] = []
  try {
    const reports = await importFiles({
      eventStore: log,
      emailHashKey,
      store: store(),
      customers: paths.customers,
      ...(addresses !== undefined && { addresses: paths.addresses }),
      onRejected: (_file, line, reason) => void rejected.push(`${line}: ${reason}`),
    })
    return { customers: reports.customers, addresses: reports.addresses, rejected, log }
  } finally {
    await log.close()
  }
}

t.test('an import takes a mailbox once, and gives addresses to whoever has it', async (t) => {
  const folder = await temporaryFolder(t)
  const all = spellings()
  const password_hash = sha256Hash('Magent0-password')
  const file = customersFile([
    aCustomer(1, { email: all[0], password_hash }),
    aCustomer(2, { email: all[1] as string, password_hash }),
  ])
  const address = addressesFile([anAddress(11, 1, { _email: all[1] as string })])
  const first = await run(folder, file, address)
  t.match(first.customers, { imported: 1, rejected: 1 })
  t.equal(first.addresses.imported, 1)
  t.same(first.rejected, ['3: the e-mail address occurs twice in the file'])
  const { send: imported } = await startSubgraph(t, { folder })
  for (const other of all) t.ok(await signIn(imported, other, 'Magent0-password'), JSON.stringify(other))
})

t.test('an import that an older release made is there already', async (t) => {
  const folder = await temporaryFolder(t)
  const all = spellings()
  const { eventStore: log } = await openLog(loadConfiguration(environment(folder)))
  await registerOlder(log as EventStore, emailHashKey, 1, all[0], 'import')
  await log.close()
  const file = customersFile([aCustomer(1, { email: all[0] })])
  t.match((await run(folder, file)).customers, { alreadyThere: 1, rejected: 0 })
  const other = await run(folder, customersFile([aCustomer(77, { email: all[1] as string })]))
  t.same(other.rejected, ['2: the e-mail address belongs to another customer'])
  const address = addressesFile([anAddress(11, 1, { _email: all[1] as string })])
  t.equal((await run(folder, file, address)).addresses.imported, 1)
})

t.test('a mail goes to the domain in ASCII', async (t) => {
  const dataFolder = await temporaryFolder(t)
  const to = { name: 'Anna', address: 'anna@bücher.example' }
  const outbox = openOutbox({ smtpUrl: undefined, dataFolder })
  const ids = { messageId: '<1@shop.example>', eventId: crypto.randomUUID(), at: new Date() }
  const texts = { subject: 'Welcome', text: 'Welcome', html: '<p>Welcome</p>' }
  const from = { name: 'Shop', address: 'shop@shop.example' }
  await outbox.send({ ...ids, ...texts, from, to, purpose: 'welcome' }, new AbortController().signal)
  const [name = ''] = await readdir(join(dataFolder, 'mail'))
  t.match(await readFile(join(dataFolder, 'mail', name), 'utf8'), /^To: .*<anna@xn--bcher-kva\.example>$/m)
})

t.test('a plain address costs no read more', async (t) => {
  const reads: string[] = []
  const counting = await startSubgraph(t, {
    store: SETTINGS,
    wrapEventStore: (store) => ({
      ...store,
      readStream: (stream, options) => {
        reads.push(stream)
        return store.readStream(stream, options)
      },
    }),
  })
  const { email } = await signUp(counting.send)
  reads.length = 0
  await signIn(counting.send, email)
  t.equal(reads.filter((stream) => stream.startsWith('customerEmail-')).length, 1)
  await signUp(counting.send, 'anna@bücher.example')
  reads.length = 0
  await signIn(counting.send, 'anna@xn--bcher-kva.example')
  t.equal(reads.filter((stream) => stream.startsWith('customerEmail-')).length, 2)
})
