/** What a request brings gets into events only in the form that it is to have, and ids of commands tell nothing of what is in them. */
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { uuidOf } from '../../eventstore/derived-uuid.ts'
import type { RecordedEvent } from '../../eventstore/port.ts'
import { parseTraceparent } from '../../runtime/tracing.ts'
import { client, freshEmail, PASSWORD, signUp, startGraph, startSubgraph, temporaryFolder } from '../support/graph.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = 'b7ad6b7169203331'
const graph = await startGraph(t)
const { eventStore, url } = graph
const { port } = graph.app.server.address() as AddressInfo
const throughGateway = client(`${url}/graphql`)
const atItsPort = client(`http://127.0.0.1:${port}/graphql`)

async function newest(stream: string): Promise<RecordedEvent> {
  for await (const event of eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 })) return event
  throw new Error(`nothing in ${stream}`)
}

t.test('the form of a traceparent', (t) => {
  const good = `00-${TRACE}-${PARENT}-01`
  t.equal(parseTraceparent(good), good)
  t.equal(parseTraceparent(`cc-${TRACE}-${PARENT}-01`), good, 'of a later version: as one of this')
  const zeros = (count: number) => '0'.repeat(count)
  for (const bad of [
    undefined,
    7,
    '',
    [good],
    `${good}, ${good}`,
    `${good}-`,
    `${good}-what-comes-later`,
    ` ${good}`,
    `${good}\n`,
    good.toUpperCase(),
    good.slice(0, -1),
    `ff-${TRACE}-${PARENT}-01`,
    `00-${zeros(32)}-${PARENT}-01`,
    `00-${TRACE}-${zeros(16)}-01`,
    `00-${TRACE.slice(1)}-${PARENT}-01`,
    `00-${TRACE}-${PARENT}-0g`,
    'x'.repeat(7_000),
  ]) {
    t.equal(parseTraceparent(bad), undefined, JSON.stringify(bad)?.slice(0, 80))
  }
  t.end()
})

t.test('headers of 7 KB get into no event, by the gateway or by the subgraph’s own port', async (t) => {
  const { id, token } = await signUp(throughGateway)
  const much = `mark-${'x'.repeat(7_000)}`
  const formed = `00-${TRACE}-${PARENT}-01`
  let turn = 0
  const change = () =>
    `mutation { updateCustomer(input: { firstname: "Ann${'x'.repeat(++turn)}" }) { customer { id } } }`
  for (const send of [throughGateway, atItsPort]) {
    for (const name of [
      'traceparent',
      'x-correlation-id',
      'x-request-id',
      'user-agent',
      'store',
      'tracestate',
      'baggage',
    ]) {
      const { errors } = await send(change(), { token, headers: { [name]: much } })
      if (name === 'store') t.match(errors, [{ message: 'Requested store is not found' }])
      else t.equal(errors, undefined, name)
      const event = await newest(`customer-${id}`)
      t.notMatch(JSON.stringify([event.data, event.metadata]), 'mark-', name)
      t.ok(JSON.stringify(event.metadata).length < 1_000)
    }
    await send(change(), { token, headers: { traceparent: formed } })
    t.match((await newest(`customer-${id}`)).metadata, { traceparent: formed }, 'one that is well formed does')
  }
  await atItsPort(change(), { token, headers: { 'x-correlation-id': 'ann@example.com, 1 Main St' } })
  t.match((await newest(`customer-${id}`)).metadata, { $correlationId: /^[0-9a-f-]{36}$/ })
  await atItsPort(change(), { token, headers: { 'x-correlation-id': 'gateway-7f.3:1' } })
  t.match((await newest(`customer-${id}`)).metadata, { $correlationId: 'gateway-7f.3:1' })

  await atItsPort(`mutation { generateCustomerToken(email: "${freshEmail()}", password: "x") { token } }`, {
    headers: { 'user-agent': much, traceparent: much },
  })
  await new Promise((resolve) => setTimeout(resolve, 100)) // the record of access is written beside
  for await (const { stream, metadata, data } of eventStore.readAll()) {
    if (stream.startsWith('customerAccess-')) t.ok(JSON.stringify([metadata, data]).length < 2_000, stream)
    t.notMatch(JSON.stringify(metadata), 'mark-')
  }
})

t.test('an Idempotency-Key: ids that nobody can guess the arguments by, the same on every instance', async (t) => {
  const folder = await temporaryFolder(t)
  const [one, two] = [await startSubgraph(t, { folder }), await startSubgraph(t, { folder, projection: false })]
  const { id, token } = await signUp(one.send)
  const length = async () => {
    let count = 0
    for await (const _ of one.eventStore.readStream(`customer-${id}`)) count++
    return count
  }
  const headers = { 'idempotency-key': 'k1' }
  const next = 'N3w-password'
  const query = `mutation { changeCustomerPassword(currentPassword: "${PASSWORD}", newPassword: "${next}") { id } }`
  const first = await one.send(query, { token, headers })
  const after = await length()
  t.same(await two.send(query, { token, headers }), first)
  t.equal(await length(), after, 'carried out once')
  const operation = 'changeCustomerPassword:changeCustomerPassword'
  const guess = uuidOf(
    JSON.stringify([`customer:${id}`, 'k1', operation, { currentPassword: PASSWORD, newPassword: next }]),
  )
  for await (const event of one.eventStore.readAll()) t.notMatch(JSON.stringify([event.id, event.metadata]), guess)

  const elsewhere = await startSubgraph(t, { env: { EMAIL_HASH_KEY: 'another key'.repeat(3) } })
  const same = await signUp(elsewhere.send)
  t.equal(same.id, id)
  await elsewhere.send(query, { token: same.token, headers })
  const idsOf = async (log: typeof eventStore) => {
    const ids: string[] = []
    for await (const event of log.readStream(`customer-${id}`)) ids.push(event.id)
    return ids
  }
  const others = await idsOf(elsewhere.eventStore)
  t.same(
    (await idsOf(one.eventStore)).filter((each) => others.includes(each)),
    [],
    'another key, other ids',
  )
})

t.test('what the release before has carried out is not carried out again', async (t) => {
  const { send, eventStore } = await startSubgraph(t)
  const { id, token } = await signUp(send)
  // As that release made its ids.
  const former = uuidOf(
    JSON.stringify([`customer:${id}`, 'k2', 'updateCustomer:updateCustomer', { input: { firstname: 'Bea' } }]),
  )
  const metadata = {
    $correlationId: 'c',
    $causationId: former,
    actor: `customer:${id}`,
    at: new Date().toISOString(),
    schemaVersion: 2,
  }
  await eventStore.append(
    `customer-${id}`,
    [{ id: former, type: 'CustomerDetailsChanged', data: { firstname: 'Bea' }, metadata }],
    { expected: 'any' },
  )
  await send('mutation { updateCustomer(input: { firstname: "Cat" }) { customer { id } } }', { token })
  const answer = await send('mutation { updateCustomer(input: { firstname: "Bea" }) { customer { firstname } } }', {
    token,
    headers: { 'idempotency-key': 'k2' },
  })
  t.match(answer.data, { updateCustomer: { customer: { firstname: 'Cat' } } }, 'what was done since stays')
})
