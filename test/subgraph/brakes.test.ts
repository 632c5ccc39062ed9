/** What holds attempts back and keeps their record short, and what must not stand in a sign-in's way. */
import { createHash } from 'node:crypto'
import t from 'tap'
import { encode } from '../../eventstore/codec.ts'
import { type EventStore, EventStoreUnavailable, WrongExpectedRevision } from '../../eventstore/port.ts'
import type { DomainEvent } from '../../schema/events.ts'
import { freshEmail, PASSWORD, signIn, signUp, startSubgraph } from '../support/graph.ts'

const encoded = (event: DomainEvent) => {
  const id = crypto.randomUUID()
  return encode(event, id, { $correlationId: id, $causationId: id, actor: 'test', at: new Date().toISOString() })
}

async function newest(eventStore: EventStore, stream: string) {
  for await (const event of eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 })) return event
  return undefined
}

t.test('links to set a new password: so many in an hour, whatever is between them', async (t) => {
  let now = Date.parse('2026-03-01T12:00:00Z')
  const { send, eventStore } = await startSubgraph(t, {
    projection: false,
    now: () => new Date(now),
    store: { password: { resetRequestsPerHour: 3, resetMinutesBetween: 0 } },
  })
  const { email, id } = await signUp(send)
  const requests = async () => {
    let count = 0
    for await (const { type } of eventStore.readStream(`customer-${id}`))
      count += Number(type === 'PasswordResetRequested')
    return count
  }
  const request = async (afterMinutes: number) => {
    now += afterMinutes * 60_000
    const { data } = await send(`mutation { requestPasswordResetEmail(email: "${email}") }`)
    t.same(data, { requestPasswordResetEmail: true }, 'the answer does not tell')
    return requests()
  }
  t.same([await request(0), await request(10), await request(10)], [1, 2, 3])
  t.equal(await request(0), 3, 'the fourth within the hour')
  t.equal(await request(39), 3, 'and in its last minute')
  t.equal(await request(1), 4, 'once the first is an hour old')
  t.equal(await request(1), 4, 'but one only')
})

t.test('each address gets so many accounts in an hour, whoever sends its mails to and fro', async (t) => {
  let now = Date.parse('2026-03-01T12:00:00Z')
  const { send, eventStore } = await startSubgraph(t, { projection: false, now: () => new Date(now) })
  const [own, victim] = [freshEmail(), freshEmail()]
  const { token } = await signUp(send, own)
  const move = async (email: string, headers = {}) => {
    const query =
      'mutation($email: String!, $password: String!) { updateCustomerEmail(email: $email, password: $password) { customer { email } } }'
    const { data, errors } = await send(query, { token, headers, variables: { email, password: PASSWORD } })
    return errors ? errors[0].message : data.updateCustomerEmail.customer.email
  }
  for (let time = 0; time < 10; time++) {
    t.equal(await move(victim), victim)
    t.equal(await move(own), own)
  }
  /** Registers and deletes. */
  const register = async () => {
    const { token } = await signUp(send, victim)
    const { data } = await send('mutation { deleteCustomer }', { token })
    t.same(data, { deleteCustomer: true })
  }
  for (let time = 0; time < 9; time++) await register()
  const headers = { 'idempotency-key': crypto.randomUUID() }
  t.equal(await move(victim, headers), victim, 'the twentieth')
  t.equal(await move(victim, headers), victim, 'which may be sent again')
  const refused = 'This email address was used too often lately. Try again in an hour.'
  const elsewhere = freshEmail()
  t.equal(await move(elsewhere), elsewhere)
  t.equal(await move(victim), refused)
  await t.rejects(register(), { message: new RegExp(refused) })
  const { email } = (await send('{ customer { email } }', { token })).data.customer
  t.equal(email, elsewhere, 'nothing is changed')
  now += 3_600_000
  t.equal(await move(victim), victim, 'an hour after')
  for await (const { type } of eventStore.readStream('customer-2')) t.not(type, 'EmailClaimAbandoned')
})

t.test('a hash that can’t be upgraded does not keep anybody from signing in', async (t) => {
  let failure: Error | undefined
  const { send, eventStore } = await startSubgraph(t, {
    projection: false,
    wrapEventStore: (store) => ({
      ...store,
      append(stream, events, options) {
        if (failure && stream.startsWith('customerCredentials-')) return Promise.reject(failure)
        return store.append(stream, events, options)
      },
    }),
  })
  const { email, id } = await signUp(send)
  const stream = `customerCredentials-${id}`
  const salt = 'x'.repeat(32)
  const sha256 = createHash('sha256')
    .update(salt + PASSWORD)
    .digest('hex')
  const passwordHash = `$magento$${sha256}:${salt}:1`
  const imported = encoded({ type: 'CredentialsSet', data: { passwordHash, upgrade: true } })
  await eventStore.append(stream, [imported], { expected: 0 })
  const hash = async () =>
    ((await newest(eventStore, stream))?.data as { passwordHash?: string } | undefined)?.passwordHash
  for (failure of [
    new EventStoreUnavailable('away'),
    new WrongExpectedRevision(stream, 1, 2),
    new Error('something else'),
  ]) {
    t.ok(await signIn(send, email), failure.name)
    t.equal(await hash(), passwordHash, 'it is as it was')
  }
  failure = undefined
  t.ok(await signIn(send, email))
  t.match(await hash(), /^\$argon2id\$/, 'the next sign-in upgrades it')
  t.ok(await signIn(send, email), 'and the new hash is of the same password')
})

t.test('the record of sign-ins is limited anew after each 50, in case it was cut off the first time', async (t) => {
  const { send, eventStore } = await startSubgraph(t, { projection: false })
  const { email, id } = await signUp(send)
  const stream = `customerSignIns-${id}`
  const { $maxCount } = await eventStore.getStreamMetadata(stream)
  t.ok(($maxCount ?? 0) > 0, 'at the first')
  await eventStore.setStreamMetadata(stream, {})
  const others = Array.from({ length: 48 }, () => encoded({ type: 'SignInSucceeded', data: {} }))
  await eventStore.append(stream, others, { expected: 0 })
  t.ok(await signIn(send, email))
  t.same(await eventStore.getStreamMetadata(stream), {}, 'not with each')
  t.ok(await signIn(send, email))
  t.equal((await newest(eventStore, stream))?.revision, 50)
  t.same(await eventStore.getStreamMetadata(stream), { $maxCount })
  let count = 0
  for await (const _ of eventStore.readStream(stream)) count++
  t.equal(count, $maxCount, 'and the older ones are gone')
})
