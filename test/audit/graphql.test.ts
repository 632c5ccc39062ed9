/** customerHistory and customerAsOf for services with the scope, service tokens, and nobody else. */
import { createPublicKey } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { REVEALS_STREAM } from '../../audit/reveals.ts'
import { endServiceToken, SERVICE_TOKENS_STREAM, serviceTokens } from '../../audit/service-tokens.ts'
import { openEventStore } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { createAuthentication } from '../../gateway/authentication/authentication.ts'
import { createIssuers } from '../../gateway/authentication/issuers.ts'
import { createTokenVerifier } from '../../gateway/authentication/token-verifier.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { generateSigningKey } from '../../runtime/service-keys.ts'
import type { Scope } from '../../schema/scopes.ts'
import { createEndedTokens } from '../../subgraph/identity/ended-tokens.ts'
import { issueServiceToken } from '../../subgraph/identity/service-tokens.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { createTokens } from '../../subgraph/identity/tokens.ts'
import { collect } from '../projections/support.ts'
import { runCommand } from '../support/commands.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import {
  CREATE_ADDRESS,
  client,
  environment,
  type Send,
  signUp,
  startGraph,
  startSubgraph,
  TEXAN,
  temporaryFolder,
} from '../support/graph.ts'
import { KEYS } from '../support/keys.ts'
import { decodeJwt } from './support.ts'

const HISTORY = `query($id: Int!, $first: Int, $after: String, $reason: String = "ticket 12") {
  customerHistory(customerId: $id, first: $first, after: $after, reason: $reason) {
    edges { cursor node { id revision event time decidedAt actor requestId kind clientAddress userAgent reason problem
      changes { field from to } } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`
const AS_OF = `query($id: Int!, $at: String!, $reason: String = "ticket 12") {
  customerAsOf(customerId: $id, at: $at, reason: $reason) {
    revision time status customer { id firstname email addresses { city } } } }`
const DENIED = "The current customer isn't authorized."

async function startAudited(t: Test) {
  const folder = await temporaryFolder(t)
  const subgraph = await startSubgraph(t, { folder })
  const tokens = createTokens(loadKeys(loadConfiguration(environment(folder))).tokenSigningKey)
  const issue = async (...scopes: Scope[]) =>
    (
      await issueServiceToken(subgraph.eventStore, tokens, {
        subject: 'back-office',
        scopes,
        hours: 1,
        actor: 'operator:olga',
      })
    ).token
  const customer = await signUp(subgraph.send)
  const { token } = customer
  await subgraph.send(CREATE_ADDRESS, { variables: { input: TEXAN }, token })
  await subgraph.send('mutation { updateCustomer(input: { firstname: "Bea" }) { customer { id } } }', { token })
  return { ...subgraph, folder, tokens, issue, customer }
}

const revealed = async (eventStore: Parameters<typeof issueServiceToken>[0]) => {
  const events = await collect(eventStore.readAll())
  return events.filter(({ stream }) => stream === REVEALS_STREAM)
}

t.test('customerHistory', async (t) => {
  const { send, eventStore, issue, customer } = await startAudited(t)
  const { id, email } = customer
  const token = await issue('customers:audit')
  const whole = await send(HISTORY, { variables: { id }, token, headers: { 'x-correlation-id': 'req-1' } })
  t.notOk(whole.errors)
  const { edges, pageInfo } = whole.data.customerHistory
  t.same(
    edges.map(({ node }: { node: { event: string } }) => node.event),
    ['CustomerRegistered', 'AccessRecorded', 'CustomerAddressAdded', 'CustomerDetailsChanged'],
  )
  t.same(pageInfo, {
    hasNextPage: false,
    hasPreviousPage: false,
    startCursor: edges[0].cursor,
    endCursor: edges[3].cursor,
  })
  t.match(edges[0].node.changes, [
    { field: 'status', from: 'absent', to: 'registered' },
    { field: 'email', from: null, to: email },
  ])
  t.match(edges[1].node, { kind: 'signed-in', clientAddress: '127.0.0.0/24', actor: 'guest', changes: [] })
  t.match(edges[2].node.changes, [{ field: 'addresses.1.firstname', from: null, to: 'Ann' }])
  t.same(edges[3].node.changes, [{ field: 'firstname', from: 'Ann', to: 'Bea' }])
  t.match(edges[3].node, { actor: `customer:${id}`, revision: 2, problem: null })

  const walked: { node: { event: string } }[] = []
  let after: string | null = null
  for (let pages = 0; pages < 10; pages++) {
    const page: {
      edges: typeof walked
      pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; endCursor: string }
    } = (await send(HISTORY, { variables: { id, first: 2, after }, token })).data.customerHistory
    t.equal(page.pageInfo.hasPreviousPage, after !== null)
    walked.push(...page.edges)
    after = page.pageInfo.endCursor
    if (!page.pageInfo.hasNextPage) break
    // What happens in between comes at the end, and moves nothing.
    if (pages === 0) await send('mutation { revokeCustomerToken { result } }', { token: customer.token })
  }
  t.same(walked.slice(0, 4), edges, 'cursors stay what they are')
  t.equal(walked[4]?.node.event, 'CustomerTokensRevoked')
  const beyond = await send(HISTORY, { variables: { id, after }, token })
  t.ok(beyond.data.customerHistory.edges.length <= 1, 'at most the access record that came last')
  t.same((await send(HISTORY, { variables: { id: 999 }, token })).data.customerHistory.edges, [])

  const [first] = await revealed(eventStore)
  t.same(first?.data, { customerId: id, command: 'customerHistory', reason: 'ticket 12' })
  t.match(first?.metadata, { actor: 'service:back-office', $correlationId: 'req-1' })
})

t.test('customerAsOf', async (t) => {
  const { send, eventStore, issue, customer } = await startAudited(t)
  const { id, email } = customer
  const token = await issue('customers:audit', 'customers:read')
  const asOf = async (at: string) => (await send(AS_OF, { variables: { id, at }, token })).data.customerAsOf
  t.match(await asOf('0'), {
    revision: 0,
    status: 'registered',
    customer: { id, firstname: 'Ann', email, addresses: [] },
  })
  t.match(await asOf('1'), { revision: 1, customer: { firstname: 'Ann', addresses: [{ city: 'Austin' }] } })
  const now = await asOf(new Date().toISOString())
  t.match(now, { revision: 2, customer: { firstname: 'Bea' } })
  t.match(await asOf(now.time), { revision: 2 }, 'its own time is part of it')
  t.equal(await asOf('2020-01-01'), null)
  t.equal(await asOf('7'), null)
  await send('mutation { deleteCustomer }', { token: customer.token })
  t.match(await asOf('3'), { revision: 3, status: 'deleted', customer: null })
  t.match(await asOf('2'), {
    customer: { firstname: '[erased:2]', email: '[erased:0]', addresses: [{ city: '[erased:1]' }] },
  })
  const countries = `{ customerAsOf(customerId: ${id}, at: "2", reason: "x") { customer { addresses { country_code } } } }`
  const erased = await send(countries, { token: await issue('customers:audit') })
  t.match(erased, { data: { customerAsOf: { customer: { addresses: [{ country_code: null }] } } }, errors: undefined })
  t.match((await revealed(eventStore))[0]?.data, { customerId: id, command: 'customerAsOf 0', reason: 'ticket 12' })
})

t.test('what can not be asked', async (t) => {
  const { send, eventStore, issue, customer } = await startAudited(t)
  const token = await issue('customers:audit')
  const { id } = customer
  for (const [query, variables, message] of [
    [HISTORY, { id, first: 0 }, /^first value must be greater than 0 and at most 500\.$/],
    [HISTORY, { id, first: 501 }, /^first value/],
    [HISTORY, { id, after: 'nonsense' }, /^after value must be a cursor/],
    [HISTORY, { id, reason: ' ' }, /^"reason" value must be specified$/],
    [HISTORY, { id: 0 }, /^customerId value/],
    [AS_OF, { id, at: 'yesterday' }, /^at value must be a revision/],
    [AS_OF, { id, at: '1', reason: '' }, /^"reason" value/],
  ] as const) {
    const { errors } = await send(query, { variables, token })
    t.match(errors, [{ message, extensions: { category: 'graphql-input', code: 'BAD_USER_INPUT' } }])
  }
  t.same(await revealed(eventStore), [])
})

t.test('nobody else', async (t) => {
  const { send, eventStore, issue, customer } = await startAudited(t)
  const { id } = customer
  for (const [token, code] of [
    [undefined, 'UNAUTHENTICATED'],
    [customer.token, 'FORBIDDEN'],
    [await issue('customers:read'), 'FORBIDDEN'],
    ['x.y.z', 'refused'],
  ] as const) {
    for (const [query, variables] of [
      [HISTORY, { id }],
      [AS_OF, { id, at: '0' }],
      [HISTORY, { id, first: -1, after: 'x', reason: '' }],
    ] as const) {
      const { status, data, errors } = await send(query, { variables, token })
      if (code === 'refused') {
        t.equal(status, 401)
        t.notOk(data)
        continue
      }
      t.match(errors, [{ message: DENIED, extensions: { category: 'graphql-authorization', code } }])
      t.same(Object.values(data), [null])
    }
  }
  t.same(await revealed(eventStore), [])
})

t.test('a service is no customer, and a customer no service', async (t) => {
  const { send, eventStore, issue, customer, tokens } = await startAudited(t)
  const read = await issue('customers:read')
  const audit = await issue('customers:audit')
  t.same(tokens.verify(`Bearer ${read}`), {
    service: 'back-office',
    scopes: ['customers:read'],
    tokenId: decodeJwt(read).jti,
  })
  t.match((await send('{ customer { id } }', { token: read })).errors, [
    { message: DENIED, extensions: { code: 'UNAUTHENTICATED' } },
  ])
  t.match((await send('mutation { deleteCustomer }', { token: read })).errors, [
    { extensions: { code: 'UNAUTHENTICATED' } },
  ])

  const entities = `query($representations: [_Any!]!) { _entities(representations: $representations) { ... on Customer { id email } } }`
  const entity = (token: string, id: number) =>
    send(entities, { variables: { representations: [{ __typename: 'Customer', id }] }, token })
  t.same((await entity(read, customer.id)).data._entities, [{ id: customer.id, email: customer.email }])
  t.same((await entity(read, 999)).data._entities, [null])
  t.match((await entity(audit, customer.id)).errors, [{ message: DENIED, extensions: { code: 'FORBIDDEN' } }])

  // Signed with the very key, but neither one nor the other.
  const odd = createTokens(generateSigningKey())
  const named = (service: string) =>
    odd.issueForService(
      { service, scopes: ['customers:audit'] },
      { jti: '1', expiresAt: new Date(Date.now() + 60_000) },
    )
  t.match(odd.verify(`Bearer ${named('7')}`), { service: '7' }, 'a name that looks like an id')
  t.equal(tokens.verify(`Bearer ${named('x')}`), null, "another key's")
  const over = tokens.issueForService(
    { service: 'x', scopes: [] },
    { jti: '1', expiresAt: new Date(Date.now() - 1000) },
  )
  t.equal(tokens.verify(`Bearer ${over}`), null, 'expired')

  const issued = (await collect(eventStore.readAll())).filter(({ stream }) => stream === SERVICE_TOKENS_STREAM)
  const { jti, exp, sub, scope } = decodeJwt(read)
  t.same({ sub, scope }, { sub: 'service:back-office', scope: 'customers:read' })
  t.same(issued[0]?.data, {
    subject: 'back-office',
    scope: 'customers:read',
    jti,
    expiresAt: new Date(exp * 1000).toISOString(),
  })
  t.match(issued[0]?.metadata, { actor: 'operator:olga' })
  t.notMatch(JSON.stringify(issued.map(({ data, metadata }) => [data, metadata])), /eyJhbGci/, 'never the token')
})

t.test('through the gateway', async (t) => {
  const folder = await temporaryFolder(t)
  const graph = await startGraph(t, { folder })
  const { tokenSigningKey } = loadKeys(loadConfiguration(environment(folder)))
  const { token } = await issueServiceToken(graph.eventStore, createTokens(tokenSigningKey), {
    subject: 'back-office',
    scopes: ['customers:audit'],
    hours: 1,
    actor: 'operator:olga',
  })
  const send: Send = (query, options) =>
    graph.send(query, { ...options, headers: { 'user-agent': 'Netscape/4', 'x-forwarded-for': '203.0.113.9' } })
  const { id, email } = await signUp(send)
  const answer = await send(HISTORY, { variables: { id }, token })
  t.notOk(answer.errors)
  t.match(answer.data.customerHistory.edges[1].node, { kind: 'signed-in', userAgent: 'Netscape/4' })
  t.equal((await send(AS_OF, { variables: { id, at: '0' }, token })).data.customerAsOf.customer.email, email)
  t.match((await send(HISTORY, { variables: { id } })).errors, [{ extensions: { code: 'UNAUTHENTICATED' } }])

  const publicKey = createPublicKey(tokenSigningKey).export({ format: 'pem', type: 'spki' }).toString()
  t.match(
    await createAuthentication(createIssuers({ own: { publicKey } }))(`Bearer ${token}`),
    { isAllowed: true },
    'its own verification lets it pass',
  )
  t.equal(
    await createTokenVerifier({ keys: { publicKey } })(token),
    'service:back-office',
    "no customer's id to other subgraphs",
  )
})

t.test('npm run token', async (t) => {
  const { send, eventStore, folder, customer } = await startAudited(t)
  const run = (...args: string[]) => runCommand(folder, ['token', ...args])
  const [issued, unknown, nameless, endless] = await Promise.all([
    run('--scope', 'customers:audit', '--subject', 'back-office', '--hours', '2'),
    run('--scope', 'customers:write', '--subject', 'x'),
    run('--scope', 'customers:audit'),
    run('--scope', 'customers:audit', '--subject', 'x', '--hours', '9999'),
  ])
  t.equal(issued.code, 0)
  const token = /^eyJ\S+$/m.exec(issued.output)?.[0] ?? ''
  t.equal((await send(HISTORY, { variables: { id: customer.id }, token })).errors, undefined)
  const { exp, iat } = decodeJwt(token)
  t.ok(Math.abs(exp - iat - 7200) <= 1)
  t.match(unknown, {
    code: 2,
    output:
      /^error: --scope: there is no "customers:write"; accepted: customers:read, customers:audit, tokens:introspect\.$/m,
  })
  t.match(nameless, { code: 2, output: /^error: required option '--subject <name>' not specified/ })
  t.match(endless, { code: 2, output: /^error: --hours: accepted is a number above 0, up to 720\.$/m })
  const events = (await collect(eventStore.readAll())).filter(({ stream }) => stream === SERVICE_TOKENS_STREAM)
  t.equal(events.length, 1)
  t.match(events[0]?.metadata, { actor: /^operator:./ })
  const { jti } = decodeJwt(token)
  const listed = new RegExp(`^${jti} {2}service:back-office {2}customers:audit {2}until `, 'm')
  const [list, groundless, nobody] = await Promise.all([run('list'), run('end', jti), run('end', 'x', '--reason', 'y')])
  t.match(list, { code: 0, output: listed })
  t.match(groundless, { code: 2, output: /required option '--reason <text>'/ })
  t.match(nobody, { code: 1, output: /There is no such token/ })
  t.match(await run('end', jti, '--reason', 'ticket 7'), { code: 0, output: /service:back-office is ended/ })
  const [valid, all] = await Promise.all([run('list'), run('list', '--all')])
  t.match(valid, { code: 0, output: /^No token is valid\.$/m })
  t.match(all, { code: 0, output: /, ended \S+ by operator:\S+: ticket 7$/m })
})

t.test("a service's token that is ended: by the command, everywhere within a second", async (t) => {
  const folder = await temporaryFolder(t)
  const { eventStore, subgraphUrl, startGateway } = await startGraph(t, { folder })
  const tokens = createTokens(KEYS.TOKEN_SIGNING_KEY)
  const issue = (...scopes: Scope[]) =>
    issueServiceToken(eventStore, tokens, { subject: 'crm', scopes, hours: 1, actor: 'operator:olga' })
  const [one, other, asking] = [
    await issue('customers:read'),
    await issue('customers:read'),
    await issue('tokens:introspect'),
  ]
  const gateway = client(
    `${await startGateway({
      tokenKeys: { jwksUrl: `${subgraphUrl}/.well-known/jwks.json` },
      tokenStatus: { url: `${subgraphUrl}/introspect` },
    })}/graphql`,
  )
  const subgraph = client(`${subgraphUrl}/graphql`)
  const query = '{ storeConfig { store_code } }'
  const introspect = (token: string, by: string) =>
    fetch(`${subgraphUrl}/introspect`, {
      method: 'POST',
      headers: { authorization: `Bearer ${by}` },
      body: new URLSearchParams({ token }),
    }).then(async (response) => ({ status: response.status, ...((await response.json()) as object) }))
  for (const ask of [subgraph, gateway]) t.equal((await ask(query, { token: one.token })).errors, undefined)
  t.match(await introspect(one.token, asking.token), { status: 200, active: true, jti: one.jti })

  t.match(await serviceTokens(eventStore), [
    { jti: asking.jti },
    { jti: other.jti },
    { jti: one.jti, issuedBy: 'operator:olga' },
  ])
  const ending = { jti: one.jti, reason: 'ticket 7', actor: 'operator:olga' }
  t.match(await endServiceToken(eventStore, ending), { wasEnded: false })
  const ended = performance.now()
  t.match(await endServiceToken(eventStore, ending), { wasEnded: true, token: { ended: { reason: 'ticket 7' } } })
  const [dead] = (await collect(eventStore.readStream(SERVICE_TOKENS_STREAM))).slice(-1)
  t.match(dead, {
    type: 'ServiceTokenEnded',
    data: { jti: one.jti, reason: 'ticket 7' },
    metadata: { actor: 'operator:olga' },
  })
  t.equal((await collect(eventStore.readStream(SERVICE_TOKENS_STREAM))).length, 4, 'ended once')
  await setTimeout(Math.max(0, 1_000 - (performance.now() - ended)))
  // The gateway's answer to a query may still be on its way when its check begins: a second request is after it.
  for (const [name, ask] of Object.entries({ subgraph, gateway })) {
    const [refusal] = (await ask(query, { token: one.token })).errors ?? []
    t.match(refusal, { message: 'User token has been revoked' }, name)
    t.equal((await ask(query, { token: other.token })).errors, undefined, `${name}: the other one goes on`)
  }
  t.same(await introspect(one.token, asking.token), { status: 200, active: false })
  await endServiceToken(eventStore, { ...ending, jti: asking.jti })
  const { app } = await startSubgraph(t, { folder, projection: false, secret: 'the secret of the subgraph' })
  const strict = await app.inject({
    method: 'POST',
    url: '/introspect',
    headers: { authorization: `Bearer ${asking.token}`, 'content-type': 'application/x-www-form-urlencoded' },
    payload: `token=${other.token}`,
  })
  t.match({ status: strict.statusCode, ...strict.json() }, { status: 401, error: 'invalid_token' })

  for (const [jti, message] of [
    ['nobody', /^There is no such token of a service\.$/],
    [
      (
        await issueServiceToken(eventStore, tokens, {
          subject: 'x',
          scopes: [],
          hours: 1,
          actor: 'x',
          now: new Date(0),
        })
      ).jti,
      /^The token expired by itself at 1970-01-01T01:00:00\.000Z\.$/,
    ],
  ] as const) {
    await t.rejects(endServiceToken(eventStore, { ...ending, jti }), { message })
  }
})

t.test('ended tokens: what is read, and while the log is away', async (t) => {
  const server = await startEventStoreServer(t)
  const eventStore = await openEventStore(server.url)
  t.teardown(() => eventStore.close())
  let now = 0
  let reads = 0
  const watched: EventStore = {
    ...eventStore,
    readStream(...args) {
      reads++
      return eventStore.readStream(...args)
    },
  }
  const ended = createEndedTokens(watched, () => now)
  const tokens = createTokens(KEYS.TOKEN_SIGNING_KEY)
  const issued = { subject: 'crm', scopes: [], hours: 1, actor: 'operator:olga' }
  const [one, other] = [
    await issueServiceToken(eventStore, tokens, issued),
    await issueServiceToken(eventStore, tokens, issued),
  ]
  t.equal(ended.has(undefined, 0), false)
  t.same(await Promise.all([1, 2, 3].map(() => ended.has(one.jti, 500))), [false, false, false])
  t.equal(reads, 1, 'one read for all who ask at once')
  await endServiceToken(eventStore, { jti: one.jti, reason: 'x', actor: 'operator:olga' })
  now += 500
  t.equal(ended.has(one.jti, 500), false, 'known at once')
  t.equal(reads, 1)
  now += 1
  t.equal(await ended.has(other.jti, 500), false)
  t.equal(ended.has(one.jti, 500), true)

  await server.stop()
  now += 60_000
  t.equal(await ended.has(other.jti, 500), false, 'what was known last counts for a minute')
  now += 1
  await t.rejects(ended.has(other.jti, 500) as Promise<boolean>, { name: 'EventStoreUnavailable' })
  t.equal(ended.has(one.jti, 500), true, 'what was ended stays so')
})

t.test('a token that is ended in a log that was restored is ended', builtIn('its log is restored'), async (t) => {
  const server = await startEventStoreServer(t)
  const eventStore = await openEventStore(server.url)
  t.teardown(() => eventStore.close())
  const ended = createEndedTokens(eventStore)
  const tokens = createTokens(KEYS.TOKEN_SIGNING_KEY)
  const issue = () =>
    issueServiceToken(eventStore, tokens, { subject: 'crm', scopes: [], hours: 1, actor: 'operator:olga' })
  const [one, other] = [await issue(), await issue()]
  const backup = [...server.log.records]
  await endServiceToken(eventStore, { jti: one.jti, reason: 'x', actor: 'operator:olga' })
  t.equal(await ended.has(one.jti, 0), true)
  await server.stop()
  server.log.rewrite(backup)
  await server.start()
  await endServiceToken(eventStore, { jti: other.jti, reason: 'x', actor: 'operator:olga' })
  t.equal(await ended.has(other.jti, 0), true, 'its event stands where another one was read before')
  t.equal(await ended.has(one.jti, 0), true, 'what was ended stays so')
})
