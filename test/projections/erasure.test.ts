/** What the steps after a deletion erase, what they keep for others, and that they can be repeated. */
import t from 'tap'
import { eraseCustomer } from '../../audit/erase.ts'
import { type EncryptedLog, keysOf } from '../../eventstore/encryption/customer-keys.ts'
import { countAsChained } from '../../eventstore/hash-chain.ts'
import type { RecordedEvent } from '../../eventstore/port.ts'
import { orNone } from '../../eventstore/read.ts'
import {
  appendTo,
  completeErasure,
  completeGuestErasures,
  customerDeleted,
  eraseAddress,
  readAccount,
  streamsOfAccount,
  streamsOfAddress,
} from '../../projections/erasure.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { emailKeyOf } from '../../schema/email-key.ts'
import { streamOf } from '../../schema/streams.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { environment, freshEmail, PASSWORD, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { collect } from './support.ts'

const folder = await temporaryFolder(t)
const { emailHashKey } = loadKeys(loadConfiguration(environment(folder)))
const { send, eventStore } = await startSubgraph(t, { folder, projection: false })
const keys = keysOf(eventStore)
/** As it is where the key is not destroyed yet. */
const unfinished = countAsChained({
  ...eventStore,
  keys: { ...keys, isDestroyed: async () => false },
} as EncryptedLog)
const eraser = { actor: 'operator:test', correlationId: 'c', at: new Date() }

const keyOf = (email: string) => emailKeyOf(emailHashKey, email)
const events = (stream: string): Promise<RecordedEvent[]> => collect(orNone(eventStore.readStream(stream)))
const types = async (stream: string) => (await events(stream)).map(({ type }) => type)

/** Puts something into a stream that only serves a live account or address. */
const fill = (stream: string) =>
  keys.log.append(stream, [{ id: crypto.randomUUID(), type: 'Something', data: {}, metadata: {} }], {
    expected: 'any',
  })
async function subscribe(email: string): Promise<void> {
  const query = 'mutation($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }'
  const { data, errors } = await send(query, { variables: { email } })
  if (data?.subscribeEmailToNewsletter.status !== 'SUBSCRIBED') throw new Error(JSON.stringify(errors))
}
async function move(token: string, email: string): Promise<void> {
  const query =
    'mutation($email: String!, $password: String!) { updateCustomerEmail(email: $email, password: $password) { customer { id } } }'
  const { errors } = await send(query, { token, variables: { email, password: PASSWORD } })
  if (errors) throw new Error(JSON.stringify(errors))
}

/** A customer who was a guest, has moved from one address to another, and has something in each stream. */
async function aCustomer() {
  const emails = [freshEmail(), freshEmail()] as const
  const [first, second] = [keyOf(emails[0]), keyOf(emails[1])]
  await subscribe(emails[0])
  const { id, token } = await signUp(send, emails[0])
  await move(token, emails[1])
  const { signIns, credentials } = streamsOfAccount(id)
  const temporary = [signIns, ...[first, second].flatMap((key) => [streamOf.access(key), streamOf.signIns(key)])]
  for (const stream of temporary) await fill(stream)
  return { id, emails, first, second, temporary: [credentials, ...temporary] }
}

async function deletion(id: number, emailKeys: readonly string[]): Promise<RecordedEvent> {
  const read = () => readAccount(eventStore, id)
  await appendTo(eventStore, streamOf.customer(id), eraser, read, () => customerDeleted(emailKeys))
  return (await events(streamOf.customer(id))).at(-1) as RecordedEvent
}

t.test('nothing is left of the account and of its addresses, and a repetition adds nothing', async (t) => {
  const { id, emails, first, second, temporary } = await aCustomer()
  t.match(await readAccount(eventStore, id), { isDeleted: false, addresses: [...emails], emailKeys: [] })
  const deleted = await deletion(id, [second, first])
  await completeErasure(eventStore, deleted)
  for (const stream of temporary) t.same(await types(stream), [], stream)
  for (const key of [first, second]) {
    t.same(await types(streamsOfAddress(key).claim), ['EmailClaimed', 'EmailReleased'])
  }
  const guest = ['GuestSubscribed', 'GuestBecameCustomer', 'GuestErased']
  t.same(await types(streamsOfAddress(first).subscriber), guest)
  t.same(await types(streamsOfAddress(second).subscriber), [], 'which was never a guest’s')
  t.equal(await keys.isDestroyed(first), true)
  t.equal(await keys.isDestroyed(String(id)), true)
  const { revision } = deleted
  const after = { isGone: false, isDeleted: true, addresses: [], emailKeys: [second, first], revision }
  t.same(await readAccount(eventStore, id), after)
  t.match((await events(streamsOfAddress(second).claim)).at(-1)?.metadata, { actor: 'operator:test' })

  const destroyed: string[] = []
  const destroy = (subject: string) => {
    destroyed.push(subject)
    return keys.destroy(subject)
  }
  await completeErasure({ ...eventStore, keys: { ...keys, destroy } } as EncryptedLog, deleted)
  t.same(destroyed, [String(id)], 'but what was before the destruction of the key')
  await completeErasure(unfinished, deleted)
  t.same(await types(streamsOfAddress(first).subscriber), guest)
  t.same(await types(streamsOfAddress(first).claim), ['EmailClaimed', 'EmailReleased'])
  t.equal(await eraseAddress(eventStore, first, eraser), false, 'there is nothing more to erase')
})

t.test('an address that is another customer’s by now is left alone', async (t) => {
  const { id, emails, first, second } = await aCustomer()
  const other = await signUp(send, emails[0])
  const { access, claim } = streamsOfAddress(first)
  await fill(access)
  await completeErasure(eventStore, await deletion(id, [second, first]))
  t.match((await events(claim)).at(-1), { type: 'EmailClaimed', data: { customerId: other.id } })
  t.not((await events(access)).length, 0)
  t.equal(await keys.isDestroyed(first), false)
  t.match(await readAccount(eventStore, other.id), { addresses: [emails[0]], isDeleted: false })
})

t.test('so is what a guest has subscribed since the deletion', async (t) => {
  const { id, emails, first, second } = await aCustomer()
  const deleted = await deletion(id, [second, first])
  await completeErasure(eventStore, deleted)
  await subscribe(emails[0])
  for (const log of [eventStore, unfinished]) await completeErasure(log, deleted)
  t.match((await events(streamsOfAddress(first).subscriber)).at(-1), {
    type: 'GuestSubscribed',
    data: { email: emails[0] },
  })
})

t.test('a guest who subscribes right after the erasure keeps the subscription, whatever is completed', async (t) => {
  const email = freshEmail()
  const key = keyOf(email)
  await subscribe(email)
  const destroy = async (subject: string) => {
    const wasThere = await keys.destroy(subject)
    await subscribe(email)
    return wasThere
  }
  await eraseAddress(countAsChained({ ...eventStore, keys: { ...keys, destroy } } as EncryptedLog), key, eraser)
  await completeGuestErasures(eventStore)
  const { subscriber } = streamsOfAddress(key)
  t.same(await types(subscriber), ['GuestSubscribed', 'GuestErased', 'GuestSubscribed'])
  t.match((await events(subscriber)).at(-1), { data: { email } })
  t.equal(await keys.isDestroyed(key), false)
})

t.test('an append that conflicts decides again; one to a stream that is not there begins it', async (t) => {
  const { id } = await aCustomer()
  const stream = streamOf.customer(id)
  let decisions = 0
  const read = async () => {
    const account = await readAccount(eventStore, id)
    if (++decisions === 1) await deletion(id, [])
    return account
  }
  const decide = (account: { isDeleted: boolean } | undefined) => (account?.isDeleted ? undefined : customerDeleted([]))
  t.equal(await appendTo(eventStore, stream, eraser, read, decide), false)
  t.equal(decisions, 2)
  t.equal((await types(stream)).filter((type) => type === 'CustomerDeleted').length, 1)
  const { subscriber } = streamsOfAddress(keyOf(freshEmail()))
  const missing = async () => ({ revision: -1 })
  t.equal(await appendTo(eventStore, subscriber, eraser, missing, () => ({ type: 'GuestErased', data: {} })), true)
})

t.test('an event has room for the newest 5,000 addresses', async (t) => {
  const many = Array.from({ length: 5_001 }, (_, index) => `key-${index}`)
  t.same(customerDeleted(many, 'why'), {
    type: 'CustomerDeleted',
    data: { reason: 'why', emailKeys: many.slice(0, -1) },
  })
})

t.test('an address that a customer changes to while an operator erases them is erased, too', async (t) => {
  const [before, after] = [freshEmail(), freshEmail()]
  const { id, token } = await signUp(send, before)
  let isMoved = false
  const moving = countAsChained({
    ...eventStore,
    keys,
    async append(stream, events, options) {
      if (stream === streamOf.customer(id) && !isMoved) {
        isMoved = true
        await move(token, after)
      }
      return eventStore.append(stream, events, options)
    },
  } as EncryptedLog)
  await eraseCustomer({ eventStore: moving, customerId: id, emailHashKey, eraser, reason: 'ticket' })
  const emailKeys = [keyOf(after), keyOf(before)]
  t.match((await events(streamOf.customer(id))).at(-1), { type: 'CustomerDeleted', data: { emailKeys } })
  t.equal((await types(streamsOfAddress(keyOf(after)).claim)).at(-1), 'EmailReleased')
})

t.test('an operator erases a customer, and again what an interruption has left', async (t) => {
  const { id, first, second, temporary } = await aCustomer()
  const erase = (customerId: number) =>
    eraseCustomer({ eventStore, customerId, emailHashKey, eraser, reason: 'ticket' })
  t.match(await erase(id), { customer: 'deleted', inClear: 0 })
  const deletions = (await events(streamOf.customer(id))).filter(({ type }) => type === 'CustomerDeleted')
  t.match(deletions, [{ data: { reason: 'ticket', emailKeys: [second, first] } }])
  t.equal(await keys.isDestroyed(String(id)), true)

  for (const stream of temporary) await fill(stream)
  t.match(await erase(id), { customer: 'already deleted' })
  for (const stream of temporary) t.same(await types(stream), [], stream)
  t.equal((await types(streamOf.customer(id))).filter((type) => type === 'CustomerDeleted').length, 1)

  t.match(await erase(404_404), { customer: 'absent' })
  t.same(await types(streamOf.customer(404_404)), [])
})
