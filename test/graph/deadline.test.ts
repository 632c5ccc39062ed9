/** An event store that takes calls and answers none: each mutation says so within 5 s, and readiness probes sooner. */

import { generateKeyPairSync } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { Registry } from 'prom-client'
import t from 'tap'
import { buildProjectionsServer } from '../../projections/worker/health.ts'
import { limitTime } from '../../subgraph/resolvers/around-resolvers.ts'
import { startClock } from '../support/clock.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import { CREATE_ADDRESS, freshEmail, PASSWORD, signUp, startSubgraph, TEXAN } from '../support/graph.ts'

const KEYS = {
  TOKEN_SIGNING_KEY: generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  EMAIL_HASH_KEY: 'a key that is long enough for a test',
}

t.test('a hung event store', async (t) => {
  const server = await startEventStoreServer(t)
  const { app, send, eventStore, readModel } = await startSubgraph(t, {
    env: { ...KEYS, EVENTSTORE_URL: server.url },
  })
  const { token, email } = await signUp(send)
  const added = await send(CREATE_ADDRESS, { token, variables: { input: TEXAN } })
  const { id } = added.data.createCustomerAddress
  const other = freshEmail()
  const mutations = {
    createCustomer: `createCustomer(input: { firstname: "A", lastname: "B", email: "${other}", password: "${PASSWORD}" }) { customer { id } }`,
    createCustomerV2: `createCustomerV2(input: { firstname: "A", lastname: "B", email: "c${other}" }) { customer { id } }`,
    updateCustomer: 'updateCustomer(input: { firstname: "Bea" }) { customer { id } }',
    updateCustomerEmail: `updateCustomerEmail(email: "d${other}", password: "${PASSWORD}") { customer { id } }`,
    changeCustomerPassword: `changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "N3w-password") { id }`,
    generateCustomerToken: `generateCustomerToken(email: "${email}", password: "${PASSWORD}") { token }`,
    revokeCustomerToken: 'revokeCustomerToken { result }',
    updateCustomerAddress: `updateCustomerAddress(id: ${id}, input: { city: "Dallas" }) { id }`,
    deleteCustomerAddress: `deleteCustomerAddress(id: ${id})`,
    requestPasswordResetEmail: `requestPasswordResetEmail(email: "${email}")`,
    subscribeEmailToNewsletter: `subscribeEmailToNewsletter(email: "${email}") { status }`,
    deleteCustomer: 'deleteCustomer',
  }
  const clock = startClock(t)
  const timed = async (work: () => Promise<unknown>) => {
    const began = clock()
    await work()
    return clock() - began
  }
  const refuses = (document: string, variables = {}) =>
    timed(async () => {
      const answer = await send(document, { token, variables })
      const codes = answer.errors?.map(({ extensions }) => extensions?.code) ?? []
      t.ok(codes.length > 0 && codes.every((code) => code === 'SERVICE_UNAVAILABLE'), document.slice(0, 60))
    })

  const metrics = { lag: () => eventStore.ping().then(() => ({ events: 0, seconds: 0 })) }
  const options = { eventStore, readModel, metrics, registry: new Registry(), maxLagSeconds: 60 }
  const projections = buildProjectionsServer(options)
  t.teardown(() => projections.close())

  server.hang(true)
  t.teardown(() => server.hang(false))
  const took = await Promise.all([
    ...Object.values(mutations).map((field) => refuses(`mutation { ${field} }`)),
    refuses(CREATE_ADDRESS, { input: TEXAN }),
    refuses(`mutation { ${['a', 'b', 'c'].map((name) => `${name}: ${mutations.createCustomer}`).join(' ')} }`),
  ])
  t.ok(Math.max(...took) < 5_000, `the slowest took ${Math.round(Math.max(...took))} ms`)
  for (const each of [app, projections]) {
    const probe = await timed(async () => t.equal((await each.inject('/readyz')).statusCode, 503))
    t.ok(probe < 3_000)
  }
  server.hang(false)
})

t.test('both stores hang: the token can’t be checked, and that counts', async (t) => {
  let hangs = false
  const hanging = () => new Promise<never>(() => {})
  const { send } = await startSubgraph(t, {
    wrapEventStore: (store) => ({
      ...store,
      append: (...args) => (hangs ? hanging() : store.append(...args)),
      async *readStream(stream, options) {
        if (hangs) await hanging()
        yield* store.readStream(stream, options)
      },
    }),
    wrapReadModel: (readModel) => ({
      ...readModel,
      get: (ids, ...rest) => (hangs ? hanging() : readModel.get(ids, ...rest)),
    }),
  })
  const { token, email } = await signUp(send)
  hangs = true
  t.teardown(() => {
    hangs = false
  })
  const elapsed = startClock(t)
  const rename = 'updateCustomer(input: { firstname: "Bea" }) { customer { id } }'
  // One that waits for a store and ends, and one that never does. The token's check has waited for a second.
  const fields: Record<string, (...args: never[]) => unknown> = { slow: () => delay(2_000), hung: hanging }
  limitTime(fields)
  const inSeries = async () => {
    const call = (name: string) => (fields[name] as (...args: unknown[]) => Promise<unknown>)({}, {}, context, {})
    const context = { waitedMs: 1_000 }
    await call('slow')
    for (const name of ['hung', 'slow']) await t.rejects(call(name), { code: 'SERVICE_UNAVAILABLE' })
    const waited = 1_000 + elapsed()
    t.ok(waited < 6_000, `several in one request took ${Math.round(waited)} ms`)
  }
  const [answers] = await Promise.all([
    Promise.all([
      // The first of each is asked for before it begins: the customer of the token, in vain.
      send(`mutation { a: requestPasswordResetEmail(email: "${email}") b: ${rename} c: ${rename} }`, { token }),
      send(`mutation { ${rename} resendConfirmationEmail(email: "${email}") }`, { token }),
      send(`mutation { ${rename} }`, { token }),
    ]),
    inSeries(),
  ])
  t.ok(elapsed() < 5_000)
  for (const { errors } of answers) {
    for (const { extensions } of errors ?? []) t.equal(extensions.code, 'SERVICE_UNAVAILABLE')
    t.ok(errors?.length)
  }
})

t.test('a mutation that was answered so writes nothing afterwards', async (t) => {
  let holds = false
  const held: (() => void)[] = []
  const { send, eventStore } = await startSubgraph(t, {
    wrapEventStore: (store) => ({
      ...store,
      async *readStream(stream, options) {
        if (holds) await new Promise<void>((resolve) => held.push(resolve))
        yield* store.readStream(stream, options)
      },
    }),
  })
  const { token } = await signUp(send)
  const filter = { streamPrefixes: ['customer-', 'customerEmail-'] }
  const count = async () => {
    let events = 0
    for await (const _ of eventStore.readAll({ filter })) events++
    return events
  }
  const before = await count()
  holds = true
  const document = `mutation { updateCustomerEmail(email: "${freshEmail()}", password: "${PASSWORD}") { customer { id } } }`
  const answer = await send(document, { token })
  t.equal(answer.errors?.[0]?.extensions?.code, 'SERVICE_UNAVAILABLE')
  holds = false
  for (const goOn of held) goOn()
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.equal(await count(), before)
})
