/** `customerChanged`: the signed-in customer after each change, from both kinds of logs, through the gateway. */
import { createClient as createSseClient } from 'graphql-sse'
import { createClient as createWebSocketClient } from 'graphql-ws'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { foldCustomer } from '../../projections/fold.ts'
import { createCustomerChanges } from '../../subgraph/customers/customer-changes.ts'
import { backUp, restore } from '../restore/support.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { signIn, signUp, startGraph } from '../support/graph.ts'
import { until } from '../support/until.ts'

// biome-ignore lint/suspicious/noExplicitAny: a result's shape is what the tests look into
type Result = any

const CHANGES = 'subscription { customerChanged { id lastname addresses { city } orders { number } } }'
const CHANGE_PASSWORD =
  'mutation { changeCustomerPassword(currentPassword: "wrong", newPassword: "Other-pass-1") { id } }'
const RENAME = 'mutation($lastname: String) { updateCustomerV2(input: { lastname: $lastname }) { customer { id } } }'

/** Subscribes, and collects the results. */
function subscribe(url: string, token: string | undefined, by: 'sse' | 'websocket' = 'sse') {
  const results: Result[] = []
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` }
  const client =
    by === 'sse'
      ? createSseClient({ url: `${url}/graphql`, headers, retryAttempts: 0 })
      : createWebSocketClient({
          url: `${url.replace('http', 'ws')}/graphql`,
          webSocketImpl: WebSocket,
          connectionParams: headers,
          retryAttempts: 0,
        })
  const ended = new Promise<void>((resolve, reject) => {
    client.subscribe({ query: CHANGES }, { next: (result) => results.push(result), error: reject, complete: resolve })
  })
  return {
    results,
    ended,
    stop: () => client.dispose(),
    async until(count: number): Promise<Result> {
      await until(`${count} results`, () => results.length >= count)
      return results[count - 1]
    },
  }
}

type Graph = Awaited<ReturnType<typeof startGraph>>

/** Makes changes until the subscription shows one, so that it has begun. */
async function begun({ send }: Graph, token: string, changes: ReturnType<typeof subscribe>): Promise<void> {
  let name = 0
  const change = async () => {
    await send(RENAME, { token, variables: { lastname: `Begun${'abcdefghij'[name++ % 10]}` } })
    return changes.results.length > 0
  }
  await until('a change is shown', change)
}

async function testChanges(t: Test, graph: Graph): Promise<void> {
  const { send, url, subgraph } = graph
  const { token, email, id } = await signUp(send)
  const other = await signUp(send)
  const [here, there] = [subscribe(url, token), subscribe(url, token, 'websocket')]
  await begun(graph, token, here)
  await begun(graph, token, there)

  for (const name of ['Lee', 'Smith', 'Jones']) {
    await send(RENAME, { token: other.token, variables: { lastname: `Other${name}` } })
    await send(RENAME, { token, variables: { lastname: name } })
    for (const { results } of [here, there]) {
      await until(`${name} is shown`, () => results.at(-1).data.customerChanged.lastname === name)
      t.match(results.at(-1), { data: { customerChanged: { id, lastname: name, orders: [{ number: String }] } } })
    }
    // No read is older than what was shown.
    t.equal((await subgraph('{ customer { lastname } }', { token })).data.customer.lastname, name)
  }
  t.notOk(
    here.results.some(({ data }) => /^Other/.test(data.customerChanged.lastname)),
    'of nobody else',
  )

  // Another token of the same customer goes on when this one is revoked.
  const later = await signIn(send, email)
  await send('mutation { revokeCustomerToken { result } }', { token })
  for (const each of [here, there]) {
    await each.ended
    t.match(each.results.at(-1).errors, [
      { extensions: { code: 'UNAUTHENTICATED', category: 'graphql-authentication' } },
    ])
  }
  // What the query `customer` refuses is not shown either.
  const locked = await signUp(send)
  const shown = subscribe(url, locked.token)
  await begun(graph, locked.token, shown)
  let errors: Result
  await until('the customer is locked', async () => {
    await send(CHANGE_PASSWORD, { token: locked.token })
    ;({ errors } = await send('{ customer { id } }', { token: locked.token }))
    return errors !== undefined
  })
  await shown.ended
  t.match(shown.results.at(-1).errors, [{ message: errors?.[0]?.message, extensions: errors?.[0]?.extensions }])

  const again = await signIn(send, email)
  const last = subscribe(url, again)
  await begun(graph, again, last)
  await send('mutation { deleteCustomer }', { token: again })
  await last.ended
  t.same(last.results.at(-1), { data: { customerChanged: null } })
  t.ok(later)
}

t.test('from an embedded log', async (t) => {
  const graph = await startGraph(t)
  await testChanges(t, graph)

  const guest = subscribe(graph.url, undefined)
  await guest.ended
  t.match(guest.results, [{ errors: [{ message: "The current customer isn't authorized." }] }])

  // A plain request gets no stream.
  const { token } = await signUp(graph.send)
  t.match(await graph.subgraph('subscription { customerChanged { id } }', { token }), {
    errors: [{ message: /text\/event-stream/, extensions: { code: 'BAD_USER_INPUT' } }],
  })

  // The customer subgraph alone is stopped: whoever follows learns that it was no end of the customer's changes.
  const [here, there] = [subscribe(graph.url, token), subscribe(graph.url, token, 'websocket')]
  await begun(graph, token, here)
  await begun(graph, token, there)
  const { eventStore } = graph
  const changes = createCustomerChanges(eventStore, { load: (id) => foldCustomer(eventStore, id) }, graph.app.log)
  await changes.close()
  await t.rejects(changes.follow(1), { code: 'SERVICE_UNAVAILABLE' }, 'nor does anybody follow who came just before')
  await graph.app.close()
  for (const { ended, results } of [here, there]) {
    await ended
    t.match(results.at(-1), { errors: [{ extensions: { code: 'SERVICE_UNAVAILABLE' } }] })
  }
})

t.test('from a server', builtIn('it is stopped, and gets another log'), async (t) => {
  const server = await startEventStoreServer(t)
  const graph = await startGraph(t, { env: { EVENTSTORE_URL: server.url } })
  await testChanges(t, graph)

  const { token } = await signUp(graph.send)
  const backup = backUp(server)
  const changes = subscribe(graph.url, token)
  await begun(graph, token, changes)
  await server.stop()
  await server.start()
  await until(
    'a change is taken',
    async () => !(await graph.send(RENAME, { token, variables: { lastname: 'Back' } })).errors,
  )
  await until('it is shown', () => changes.results.at(-1).data.customerChanged.lastname === 'Back')
  t.notOk(
    changes.results.some(({ errors }) => errors),
    'the subscription outlives an outage of the log',
  )
  await restore(server, backup)
  await changes.ended
  t.match(changes.results.at(-1).errors, [{ extensions: { code: 'SERVICE_UNAVAILABLE' } }])
})
