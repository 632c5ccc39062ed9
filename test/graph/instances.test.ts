/** Several instances of the subgraph over one data folder; and `npm start`, killed in the middle of its work. */
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { decode } from '../../eventstore/codec.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import type { CustomerEvent } from '../../schema/events.ts'
import {
  answered,
  CREATE_ADDRESS,
  client,
  environment,
  openTestLog,
  PASSWORD,
  type Send,
  signIn,
  signUp,
  startSubgraph,
  TEXAN,
  temporaryFolder,
} from '../support/graph.ts'
import { freePort } from '../support/ports.ts'
import { startProcess, untilReady } from '../support/processes.ts'

/** Two processes, and one in this process. */
async function startInstances(t: Test, folder: string): Promise<Send[]> {
  const processes = await Promise.all(
    Array.from({ length: 2 }, async () => {
      const port = await freePort()
      const started = startProcess(t, 'subgraph', folder, { SUBGRAPH_PORT: String(port) })
      await untilReady(started, `http://127.0.0.1:${port}/readyz`)
      return client(`http://127.0.0.1:${port}/graphql`)
    }),
  )
  return [...processes, (await startSubgraph(t, { folder, projection: false })).send]
}

t.test('three instances over one data folder', async (t) => {
  const folder = await temporaryFolder(t)
  const instances = await startInstances(t, folder)
  const at = (i: number) => instances[i % 3] as Send
  /** At one of them; again if it is refused for the time that it took. */
  const ask = (i: number, query: string, options: Parameters<Send>[1]) => {
    const headers = { 'idempotency-key': crypto.randomUUID() }
    return answered(() => at(i)(query, { ...options, headers }))
  }

  await t.test('100 concurrent registrations of one address make one customer', async (t) => {
    const query = 'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id } } }'
    // The hash of a password takes its time: most come without one, and so at once.
    const inputs = Array.from({ length: 100 }, (_, i) => ({
      firstname: 'Ann',
      lastname: 'Lee',
      email: i % 2 ? 'ann@example.com' : 'Ann@Example.com',
      ...(i % 5 === 0 && { password: PASSWORD }),
    }))
    const answers = await Promise.all(inputs.map((input, i) => ask(i, query, { variables: { input } })))
    const won = answers.flatMap(({ errors }, i) => (errors ? [] : (inputs[i] ?? [])))
    t.equal(won.length, 1)
    for (const { errors } of answers) {
      if (errors) t.match(errors, [{ message: /^A customer with the same email address already exists/ }])
    }
    t.equal((await signIn(at(1), 'ann@example.com')) !== undefined, won[0]?.password !== undefined)
  })

  await t.test('100 concurrent address changes of one customer all take effect', async (t) => {
    const { token } = await signUp(at(0))
    const created = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        ask(i, CREATE_ADDRESS, { token, variables: { input: { ...TEXAN, city: `City ${i}` } } }),
      ),
    )
    t.same(
      created.filter(({ errors }) => errors).map(({ errors }) => errors),
      [],
    )
    const ids = created.map(({ data }) => data.createCustomerAddress.id as number)
    t.equal(new Set(ids).size, 50)
    const changed = await Promise.all(
      ids.map((id, i) =>
        ask(i + 1, `mutation { updateCustomerAddress(id: ${id}, input: { company: "Company ${i}" }) { id } }`, {
          token,
        }),
      ),
    )
    t.same(
      changed.filter(({ errors }) => errors).map(({ errors }) => errors),
      [],
    )
    for (const send of instances) {
      const { data } = await send('{ customer { addresses { id city company } } }', { token })
      const expected = ids
        .map((id, i) => ({ id, city: `City ${i}`, company: `Company ${i}` }))
        .sort((a, b) => a.id - b.id)
      t.same(data.customer.addresses, expected)
    }
  })

  await t.test('a revocation on one counts on all at once', async (t) => {
    const { token } = await signUp(at(0))
    for (const send of instances) t.ok((await send('{ customer { id } }', { token })).data.customer)
    await at(2)('mutation { revokeCustomerToken { result } }', { token })
    for (const send of instances) {
      t.match((await send('{ customer { id } }', { token })).errors, [{ message: 'User token has been revoked' }])
      t.match(
        (await send('mutation { updateCustomer(input: { firstname: "X" }) { customer { id } } }', { token })).errors,
        [{ message: 'User token has been revoked' }],
      )
    }
  })
})

const SECRET = 'the secret of the subgraph'

/** As a gateway that has the secret. */
const withSecret =
  (send: Send): Send =>
  (query, options = {}) =>
    send(query, { ...options, headers: { ...options.headers, 'x-subgraph-secret': SECRET } })

/** Of two tokens of a customer one is revoked, which ends both: the gateway refuses the other one. */
async function endTokens(t: Test, url: string): Promise<void> {
  const send = client(`${url}/graphql`)
  const { token, email } = await signUp(send)
  const other = await signIn(send, email)
  t.equal((await send('{ customer { id } }', { token: other })).status, 200)
  await send('mutation { revokeCustomerToken { result } }', { token })
  await delay(1_000) // as long as it may take the gateway to learn of it
  t.same(await send('{ countries { id } }', { token: other }), {
    status: 401,
    errors: [
      {
        message: 'User token has been revoked',
        extensions: { category: 'graphql-authentication', code: 'UNAUTHENTICATED' },
      },
    ],
  })
}

t.test('npm start: kill -9 in the middle of 1,000 mutations loses nothing that was acknowledged', async (t) => {
  const folder = await temporaryFolder(t)
  const [port, gatewayPort] = [await freePort(), await freePort()]
  const [url, gatewayUrl] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${gatewayPort}`]
  const started = startProcess(t, 'start', folder, {
    SUBGRAPH_PORT: String(port),
    GATEWAY_PORT: String(gatewayPort),
    SUBGRAPH_SECRET: SECRET,
    NODE_ENV: 'production',
  })
  for (const each of [url, gatewayUrl]) await untilReady(started, `${each}/readyz`)
  await t.test('its gateway knows of ended tokens without any setting', (t) => endTokens(t, gatewayUrl))

  const send = withSecret(client(`${url}/graphql`))
  const customers = await Promise.all(Array.from({ length: 10 }, () => signUp(send)))
  let acknowledged = 0
  const acknowledgedNames = new Map<number, string>()
  const acknowledgedIds = new Map<number, Set<number>>(customers.map(({ id }) => [id, new Set()]))
  const work = customers.map(async ({ id, token }) => {
    for (let i = 0; i < 100; i++) {
      try {
        if (i % 2) {
          const { data } = await send(CREATE_ADDRESS, { token, variables: { input: TEXAN } })
          acknowledgedIds.get(id)?.add(data.createCustomerAddress.id)
        } else {
          const name = `Name ${i}`
          const { data } = await send(
            `mutation { updateCustomer(input: { middlename: "${name}" }) { customer { id } } }`,
            { token },
          )
          if (data.updateCustomer) acknowledgedNames.set(id, name)
        }
        if (++acknowledged === 400) started.child.kill('SIGKILL')
      } catch {
        return // the process is gone
      }
    }
  })
  await Promise.all(work)
  t.equal(await started.ended, 'SIGKILL')
  t.ok(acknowledged >= 400 && acknowledged < 1000, `${acknowledged} were acknowledged`)

  const again = await startSubgraph(t, { folder, secret: SECRET })
  for (const { id, token } of customers) {
    const { data } = await withSecret(again.send)('{ customer { middlename addresses { id } } }', { token })
    const last = Number(acknowledgedNames.get(id)?.slice(5))
    const found = Number(data.customer.middlename.slice(5))
    t.ok(found >= last, `customer ${id}: ${found} is ${last} or one that came after it`)
    const ids = new Set(data.customer.addresses.map((address: { id: number }) => address.id))
    t.same(
      [...(acknowledgedIds.get(id) ?? [])].filter((address) => !ids.has(address)),
      [],
      'every acknowledged address is there',
    )
  }
  await again.stop()

  const { READMODEL_URL = '' } = environment(folder)
  const eventStore = await openTestLog(t, folder)
  const readModel = await openReadModel(READMODEL_URL)
  const projection = startProjection({ eventStore, readModel })
  await projection.caughtUp()
  for (const { id } of customers) {
    const [entry] = await readModel.get([id])
    t.same(entry?.document, await foldCustomer(eventStore, id), `document ${id} equals the fold`)
  }
  let events = 0
  for await (const event of eventStore.readAll({ filter: { streamPrefixes: ['customer-'] } })) {
    decode<CustomerEvent>(event)
    events++
  }
  t.ok(events >= acknowledged, `${events} events`)
  await projection.stop()
  await readModel.close()
  await eventStore.close()
})
