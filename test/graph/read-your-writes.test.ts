/** A query sent right after a mutation's answer sees it: from any instance, with the projection stopped or the stores away. */
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import { LEASE_MS } from '../../projections/fence/register-changes.ts'
import { type ReadModel, ReadModelUnavailable } from '../../projections/read-model.ts'
import {
  CREATE_ADDRESS,
  freshEmail,
  PASSWORD,
  signIn,
  signUp,
  startSubgraph,
  TEXAN,
  temporaryFolder,
} from '../support/graph.ts'
import { until } from '../support/until.ts'

t.test('with the projection stopped, on the same and on another instance', async (t) => {
  const folder = await temporaryFolder(t)
  const one = await startSubgraph(t, { folder, projection: false })
  const two = await startSubgraph(t, { folder, projection: false })
  const { token, email } = await signUp(one.send)
  for (const firstname of ['Bea', 'Cleo', 'Dora']) {
    await one.send(`mutation { updateCustomer(input: { firstname: "${firstname}" }) { customer { id } } }`, { token })
    for (const { send } of [one, two]) {
      t.same((await send('{ customer { firstname } }', { token })).data, { customer: { firstname } })
    }
  }
  await one.send(CREATE_ADDRESS, { variables: { input: TEXAN }, token })
  t.match((await two.send('{ customer { addresses { city } } }', { token })).data, {
    customer: { addresses: [{ city: 'Austin' }] },
  })
  t.ok(await signIn(two.send, email), 'and signs in there')
  await two.send('mutation { revokeCustomerToken { result } }', { token })
  for (const { send } of [one, two]) {
    t.match((await send('{ customer { id } }', { token })).errors, [{ message: 'User token has been revoked' }])
  }
})

t.test('with a document that is there but behind', async (t) => {
  const folder = await temporaryFolder(t)
  const one = await startSubgraph(t, { folder })
  const { token, id } = await signUp(one.send)
  await until('there is a document', async () => (await one.readModel.get([id]))[0]?.document !== null)
  await one.app.close()
  t.ok((await one.readModel.get([id]))[0]?.document, 'the projection has written it')
  // Instances without a projection of their own; the one above is stopped by the end of its test only, so it may catch up
  // at any time: the answer has to be right before and after.
  const two = await startSubgraph(t, { folder, projection: false })
  const three = await startSubgraph(t, { folder, projection: false })
  for (let i = 0; i < 50; i++) {
    const firstname = `Name ${i}`
    await two.send(`mutation { updateCustomer(input: { firstname: "${firstname}" }) { customer { id } } }`, { token })
    t.same((await three.send('{ customer { firstname } }', { token })).data, { customer: { firstname } })
  }
})

t.test('with the read model away: queries fold the stream, mutations go on, marks are written later', async (t) => {
  const folder = await temporaryFolder(t)
  let away = false
  const wrapReadModel = (model: ReadModel): ReadModel => {
    const guard =
      <A extends unknown[], R>(call: (...args: A) => Promise<R>) =>
      async (...args: A) => {
        if (away) throw new ReadModelUnavailable('away')
        return call(...args)
      }
    return { ...model, get: guard(model.get), acknowledge: guard(model.acknowledge) }
  }
  const one = await startSubgraph(t, { folder, projection: false, wrapReadModel })
  const two = await startSubgraph(t, { folder, projection: false })
  const { token } = await signUp(one.send)
  away = true
  const changed = await one.send(
    'mutation { updateCustomer(input: { firstname: "Zoe" }) { customer { firstname } } }',
    { token },
  )
  t.match(changed, { data: { updateCustomer: { customer: { firstname: 'Zoe' } } } })
  t.same((await one.send('{ customer { firstname } }', { token })).data, { customer: { firstname: 'Zoe' } })
  away = false
  await until('the other one has it, too', async () => {
    const { data } = await two.send('{ customer { firstname } }', { token })
    return data.customer.firstname === 'Zoe'
  })
})

t.test('with the event store away: queries go on, mutations say so', async (t) => {
  let away = false
  let readable = true
  let writable = true
  const wrapReadModel = (model: ReadModel): ReadModel => ({
    ...model,
    ping: async () => {
      if (!readable) throw new ReadModelUnavailable('away')
      return model.ping()
    },
    probe: async () => {
      if (!writable) throw new ReadModelUnavailable('read only')
      return model.probe()
    },
  })
  const wrapEventStore = (store: EventStore): EventStore => ({
    ...store,
    append: async (...args) => {
      if (away) throw new EventStoreUnavailable('away')
      return store.append(...args)
    },
    readStream: (...args) => {
      if (away) throw new EventStoreUnavailable('away')
      return store.readStream(...args)
    },
    ping: async () => {
      if (away) throw new EventStoreUnavailable('away')
    },
  })
  const { app, send, readModel } = await startSubgraph(t, { wrapEventStore, wrapReadModel })
  const { token, id, email } = await signUp(send)
  await until('there is a document', async () => (await readModel.get([id]))[0]?.document !== null)
  const ready = async (of = app) => {
    const response = await of.inject('/readyz')
    return { status: response.statusCode, ...(response.json() as object) }
  }
  t.match(await ready(), { status: 200, eventStore: true, degraded: false })
  away = true
  t.same((await send('{ customer { email } }', { token })).data, { customer: { email } })
  const unavailable = {
    message: 'The service is temporarily unavailable. Try again later.',
    extensions: { code: 'SERVICE_UNAVAILABLE' },
  }
  const refused = [
    await send('mutation { updateCustomer(input: { firstname: "X" }) { customer { id } } }', { token }),
    await send(`mutation { generateCustomerToken(email: "${email}", password: "${PASSWORD}") { token } }`),
    await send(
      `mutation { createCustomer(input: { firstname: "A", lastname: "B", email: "${freshEmail()}" }) { customer { id } } }`,
    ),
  ]
  for (const { errors } of refused) t.match(errors, [unavailable])
  await delay(LEASE_MS + 200) // for as long as it is away
  t.same((await send('{ customer { email } }', { token })).data, { customer: { email } })
  t.match(
    await ready(),
    { status: 200, eventStore: false, degraded: true },
    'an outage takes no instance out of service',
  )
  t.equal((await app.inject('/healthz')).statusCode, 200)
  readable = false
  t.match(await ready(), { status: 503, eventStore: false, readModel: false }, 'nothing is left to answer from')
  readable = true
  writable = false
  t.match(
    await ready(),
    { status: 503, readModelWrites: false },
    'others may have been acknowledged what it does not see',
  )
  writable = true
  away = false
  t.match(await ready(), { status: 200, degraded: false })
  t.same((await send('{ customer { firstname } }', { token })).data, { customer: { firstname: 'Ann' } })

  away = true
  const { app: newcomer } = await startSubgraph(t, { wrapEventStore })
  t.match(await ready(newcomer), { status: 503 }, 'a release with a wrong address must not replace one that works')
})
