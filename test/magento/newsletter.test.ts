/** A subscription that an address has as a guest's becomes that of the customer who has the address, and ends with it. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { type EncryptedLog, keysOf } from '../../eventstore/encryption/customer-keys.ts'
import { countAsChained } from '../../eventstore/hash-chain.ts'
import { eraseAddress } from '../../projections/erasure.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { emailKeyOf } from '../../schema/email-key.ts'
import { createMailTokens } from '../../schema/mail-tokens.ts'
import { store } from '../../schema/store.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { importFiles } from '../../subgraph/import/importer.ts'
import { environment, freshEmail, PASSWORD, signIn, startSubgraph, temporaryFolder } from '../support/graph.ts'

const folder = await temporaryFolder(t)
const { emailHashKey } = loadKeys(loadConfiguration(environment(folder)))
const subgraph = await startSubgraph(t, { folder })
const confirming = await startSubgraph(t, { folder, store: { newsletter: { confirmationRequired: true } } })
type Subgraph = typeof subgraph

const ALREADY = 'This email address is already subscribed.'

/** The status that the answer gives, or what was wrong. */
async function subscribe(email: string, { send }: Subgraph = subgraph, token?: string): Promise<string> {
  const { data, errors } = await send(
    'mutation($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }',
    { variables: { email }, token },
  )
  return errors?.[0]?.message ?? data.subscribeEmailToNewsletter.status
}

/** A customer as one session sees it. */
async function register(email: string, input: object = {}, { send }: Subgraph = subgraph) {
  const { data, errors } = await send(
    'mutation($input: CustomerCreateInput!) { createCustomerV2(input: $input) { customer { id } } }',
    { variables: { input: { firstname: 'Ann', lastname: 'Lee', email, password: PASSWORD, ...input } } },
  )
  if (errors) throw new Error(errors[0]?.message)
  const token = await signIn(send, email)
  const run = async (query: string, variables: object = {}) => {
    const answer = await send(query, { variables, token })
    if (answer.errors) throw new Error(answer.errors[0]?.message)
    return answer.data
  }
  return {
    id: data.createCustomerV2.customer.id as number,
    token,
    isSubscribed: async () => (await run('{ customer { is_subscribed } }')).customer.is_subscribed as boolean,
    moveTo: (email: string) =>
      run(
        'mutation($email: String!, $password: String!) { updateCustomerEmail(email: $email, password: $password) { customer { email } } }',
        { email, password: PASSWORD },
      ),
    want: (is_subscribed: boolean) =>
      run('mutation($input: CustomerUpdateInput!) { updateCustomerV2(input: $input) { customer { is_subscribed } } }', {
        input: { is_subscribed },
      }),
    remove: () => run('mutation { deleteCustomer }'),
  }
}

/** The types of the events that the log has of the address as a guest's. */
async function guestEvents(email: string): Promise<string[]> {
  const types: string[] = []
  for await (const { type } of subgraph.eventStore.readStream(
    `newsletterSubscriber-${emailKeyOf(emailHashKey, email)}`,
  )) {
    types.push(type)
  }
  return types
}

/** The key of the link that was sent to a guest last. */
async function guestKey(email: string): Promise<string> {
  let key = ''
  const stream = `newsletterSubscriber-${emailKeyOf(emailHashKey, email)}`
  for await (const { id, type } of subgraph.eventStore.readStream(stream)) {
    if (type === 'GuestConfirmationRequested') key = createMailTokens(emailHashKey).of('confirm-newsletter', id)
  }
  return key
}

async function confirm(email: string, confirmation_key: string): Promise<string> {
  const { data, errors } = await confirming.send(
    `mutation($email: String!, $key: String!) {
      confirmNewsletterSubscription(email: $email, confirmation_key: $key) { status } }`,
    { variables: { email, key: confirmation_key } },
  )
  return errors?.[0]?.message ?? data.confirmNewsletterSubscription.status
}

t.test('a guest becomes a customer', async (t) => {
  await t.test('whose subscription moves with the address, and ends', async (t) => {
    const [first, second] = [freshEmail(), freshEmail()]
    t.equal(await subscribe(first), 'SUBSCRIBED')
    const customer = await register(first)
    t.equal(await customer.isSubscribed(), true)
    t.same(await guestEvents(first), ['GuestSubscribed', 'GuestBecameCustomer'])
    await customer.moveTo(second)
    t.equal(await customer.isSubscribed(), true, 'it moved with the customer')
    await customer.want(false)
    t.equal(await subscribe(first), 'SUBSCRIBED', 'the address is free to subscribe again')
    t.equal(await subscribe(first), ALREADY)
    t.equal(await customer.isSubscribed(), false, 'which is none of the customer’s')
    t.equal(await subscribe(second), 'SUBSCRIBED', 'whoever asks for the customer’s address asks for the customer')
    t.equal(await customer.isSubscribed(), true)
  })

  await t.test('who does not want it', async (t) => {
    const email = freshEmail()
    await subscribe(email)
    const customer = await register(email, { is_subscribed: false })
    t.equal(await customer.isSubscribed(), false)
    await customer.moveTo(freshEmail())
    t.equal(await subscribe(email), 'SUBSCRIBED')
  })

  await t.test('and whoever has the address next starts without it', async (t) => {
    const email = freshEmail()
    await subscribe(email)
    await (await register(email)).moveTo(freshEmail())
    t.equal(await (await register(email)).isSubscribed(), false)
  })

  await t.test('who ends it before moving away, or is deleted', async (t) => {
    for (const leave of ['want', 'remove'] as const) {
      const email = freshEmail()
      await subscribe(email)
      const customer = await register(email)
      await (leave === 'want' ? customer.want(false) : customer.remove())
      if (leave === 'want') await customer.moveTo(freshEmail())
      t.equal(await subscribe(email), 'SUBSCRIBED', leave)
    }
  })
})

t.test('a customer changes to an address that a guest has subscribed', async (t) => {
  const undecided = await register(freshEmail())
  const email = freshEmail()
  await subscribe(email)
  await undecided.moveTo(email)
  t.equal(await undecided.isSubscribed(), true, 'one who never chose takes it over, as in Magento')
  await undecided.want(false)
  await undecided.moveTo(freshEmail())
  t.equal(await subscribe(email), 'SUBSCRIBED')

  const decided = await register(freshEmail(), { is_subscribed: true })
  await decided.want(false)
  const other = freshEmail()
  await subscribe(other)
  await decided.moveTo(other)
  t.equal(await decided.isSubscribed(), false, 'one who has unsubscribed stays so')
  await decided.moveTo(freshEmail())
  t.equal(await subscribe(other), 'SUBSCRIBED')

  const subscribed = await register(freshEmail(), { is_subscribed: true })
  const third = freshEmail()
  await subscribe(third)
  await subscribed.moveTo(third)
  t.equal(await subscribed.isSubscribed(), true)
  await subscribed.want(false)
  await subscribed.moveTo(freshEmail())
  t.equal(await subscribe(third), 'SUBSCRIBED')
})

t.test('where the event that says so is missing, as of an earlier release or after a crash', async (t) => {
  const silent = await startSubgraph(t, {
    folder,
    wrapEventStore: (eventStore) => ({
      ...eventStore,
      async append(stream, events, options) {
        if (events.some(({ type }) => type === 'GuestBecameCustomer')) throw new Error('cut off')
        return eventStore.append(stream, events, options)
      },
    }),
  })
  const email = freshEmail()
  await subscribe(email)
  await register(email, {}, silent).catch(() => undefined)
  t.same(await guestEvents(email), ['GuestSubscribed'])
  const { send } = subgraph
  const token = await signIn(send, email)
  await send(
    'mutation($email: String!, $password: String!) { updateCustomerEmail(email: $email, password: $password) { customer { email } } }',
    { variables: { email: freshEmail(), password: PASSWORD }, token },
  )
  t.equal(await subscribe(email), 'SUBSCRIBED', 'it shows from the customer’s own events')
  t.same(await guestEvents(email), ['GuestSubscribed', 'GuestSubscribed'])
  t.equal(await subscribe(email), ALREADY)

  const other = freshEmail()
  await subscribe(other)
  await register(other, {}, silent).catch(() => undefined)
  const customer = await send(
    'mutation($input: CustomerUpdateInput!) { updateCustomerV2(input: $input) { customer { id } } }',
    {
      variables: { input: { is_subscribed: false } },
      token: await signIn(send, other),
    },
  )
  t.equal(customer.errors, undefined)
  t.same(
    await guestEvents(other),
    ['GuestSubscribed', 'GuestBecameCustomer'],
    'the next choice of the customer makes up for it',
  )
})

t.test('a registration that never came leaves the subscription as it was', async (t) => {
  const failing = await startSubgraph(t, {
    folder,
    wrapEventStore: (eventStore) => ({
      ...eventStore,
      async append(stream, events, options) {
        if (events.some(({ type }) => type === 'CustomerRegistered')) throw new Error('cut off')
        return eventStore.append(stream, events, options)
      },
    }),
  })
  const email = freshEmail()
  await subscribe(email)
  await t.rejects(register(email, {}, failing))
  t.equal(await subscribe(email), ALREADY)
  t.equal(await (await register(email)).isSubscribed(), true)
})

t.test('subscriptions that have to be confirmed', async (t) => {
  await t.test('one that a guest has confirmed needs no second mail', async (t) => {
    const email = freshEmail()
    t.equal(await subscribe(email, confirming), 'NOT_ACTIVE')
    t.equal(await confirm(email, await guestKey(email)), 'SUBSCRIBED')
    t.equal(await (await register(email, {}, confirming)).isSubscribed(), true)

    const other = freshEmail()
    await subscribe(other, confirming)
    await confirm(other, await guestKey(other))
    const customer = await register(freshEmail(), {}, confirming)
    await customer.moveTo(other)
    t.equal(await customer.isSubscribed(), true)
  })

  await t.test('the link of one that waits subscribes the customer who has the address by then', async (t) => {
    const email = freshEmail()
    await subscribe(email, confirming)
    const key = await guestKey(email)
    const customer = await register(email, {}, confirming)
    t.equal(await customer.isSubscribed(), false)
    t.equal(await confirm(email, 'wrong'), 'This is an invalid subscription confirmation code.')
    t.equal(await confirm(email, key), 'SUBSCRIBED')
    t.equal(await customer.isSubscribed(), true)
    await customer.want(false)
    t.equal(await confirm(email, key), 'This is an invalid subscription confirmation code.', 'once')
    t.equal(await customer.isSubscribed(), false)
  })

  await t.test('but not one who has said no meanwhile', async (t) => {
    const email = freshEmail()
    await subscribe(email, confirming)
    const key = await guestKey(email)
    const customer = await register(email, { is_subscribed: false }, confirming)
    t.equal(await confirm(email, key), 'This is an invalid subscription confirmation code.')
    t.equal(await customer.isSubscribed(), false)
  })
})

t.test('customers who move in', async (t) => {
  const [absent, yes, no] = [freshEmail(), freshEmail(), freshEmail()]
  for (const email of [absent, yes, no]) await subscribe(email)
  const path = join(folder, 'customers.csv')
  await writeFile(
    path,
    `email,firstname,lastname,is_subscribed,password\n${absent},A,B,,${PASSWORD}\n${yes},A,B,1,${PASSWORD}\n${no},A,B,0,${PASSWORD}\n`,
  )
  const { customers } = await importFiles({
    eventStore: subgraph.eventStore,
    emailHashKey,
    store: store(),
    customers: path,
    onRejected: (_, line, reason) => void t.fail(`${line}: ${reason}`),
  })
  t.match(customers, { imported: 3, rejected: 0 })
  for (const [email, expected] of [
    [absent, true],
    [yes, true],
    [no, false],
  ] as const) {
    const token = await signIn(subgraph.send, email)
    const { data } = await subgraph.send('{ customer { is_subscribed } }', { token })
    t.equal(data.customer.is_subscribed, expected)
    t.same(await guestEvents(email), ['GuestSubscribed', 'GuestBecameCustomer'])
  }
})

t.test('what is left of a guest is erased with the address', async (t) => {
  const email = freshEmail()
  await subscribe(email)
  const customer = await register(email)
  await customer.moveTo(freshEmail())
  const eraser = { actor: 'operator:test', correlationId: crypto.randomUUID(), at: new Date() }
  t.equal(await eraseAddress(subgraph.eventStore, emailKeyOf(emailHashKey, email), eraser), true)
  t.same(await guestEvents(email), ['GuestSubscribed', 'GuestBecameCustomer', 'GuestErased'])
  t.equal(await subscribe(email), 'SUBSCRIBED')
})

t.test('a guest who subscribes while the address is erased is erased, too, and may subscribe again', async (t) => {
  const { eventStore } = subgraph
  const email = freshEmail()
  const key = emailKeyOf(emailHashKey, email)
  const keys = keysOf(eventStore)
  await subscribe(email)
  const meanwhile = {
    ...keys,
    async destroy(subject: string) {
      t.equal(await subscribe(email), 'SUBSCRIBED')
      return keys.destroy(subject)
    },
  }
  const eraser = { actor: 'operator:test', correlationId: crypto.randomUUID(), at: new Date() }
  await eraseAddress(countAsChained({ ...eventStore, keys: meanwhile } as EncryptedLog), key, eraser)
  const erased = ['GuestSubscribed', 'GuestErased', 'GuestSubscribed', 'GuestErased']
  t.same(await guestEvents(email), erased)
  t.equal(await subscribe(email), 'SUBSCRIBED')
  await keys.destroy(key)
  t.equal(await subscribe(email), 'SUBSCRIBED', 'a subscription that nobody can read counts as none')
  t.same(await guestEvents(email), [...erased, 'GuestSubscribed', 'GuestSubscribed'])
})
