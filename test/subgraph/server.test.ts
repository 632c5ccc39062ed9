/** The subgraph as its gateway and its operator see it: entities, errors, and the traps of compiled documents. */
import { generateKeyPairSync } from 'node:crypto'
import { parse } from 'graphql'
import t from 'tap'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import { buildSubgraph } from '../../subgraph/server.ts'
import { CREATE_ADDRESS, injector, PASSWORD, signUp, startSubgraph, TEXAN } from '../support/graph.ts'
import { until } from '../support/until.ts'

const { app, send, eventStore, readModel } = await startSubgraph(t)

t.test('_service has the federation schema', async (t) => {
  const { data } = await send('{ _service { sdl } }')
  t.match(data._service.sdl, /type Customer\s+@key\(fields: "id"\)/)
  t.match(data._service.sdl, /type CustomerAddress\s+@key\(fields: "id"\)/)
})

t.test('_entities gives a customer to that customer alone', async (t) => {
  const ann = await signUp(send)
  const eve = await signUp(send)
  const { data } = await send(CREATE_ADDRESS, { variables: { input: TEXAN }, token: ann.token })
  const addressId = data.createCustomerAddress.id
  const query = `query($representations: [_Any!]!) { _entities(representations: $representations) {
    ... on Customer { id email } ... on CustomerAddress { id city } } }`
  const representations = [
    { __typename: 'Customer', id: ann.id },
    { __typename: 'CustomerAddress', id: addressId },
  ]
  const own = await send(query, { variables: { representations }, token: ann.token })
  t.same(own.data._entities, [
    { id: ann.id, email: ann.email },
    { id: addressId, city: 'Austin' },
  ])
  for (const [token, code] of [
    [eve.token, 'FORBIDDEN'],
    [undefined, 'UNAUTHENTICATED'],
  ]) {
    for (let i = 0; i < 3; i++) {
      const foreign = await send(query, { variables: { representations }, token })
      t.same(foreign.data._entities, [null, null])
      t.match(foreign.errors, [
        { message: "The current customer isn't authorized.", path: ['_entities', 0], extensions: { code } },
        { message: "The current customer isn't authorized.", path: ['_entities', 1], extensions: { code } },
      ])
    }
  }
})

t.test('a document with two operations answers the one that is named, also once compiled', async (t) => {
  const { token, email, id } = await signUp(send)
  const query = 'query A { customer { id } } query B { customer { email } }'
  const post = async (operationName?: string) => {
    const response = await app.inject({
      method: 'POST',
      url: '/graphql',
      headers: { authorization: `Bearer ${token}` },
      payload: { query, operationName },
    })
    return response.json()
  }
  for (let i = 0; i < 4; i++) {
    t.same((await post('A')).data, { customer: { id } })
    t.same((await post('B')).data, { customer: { email } })
    t.match(await post('C'), { errors: [{}] })
    t.match(await post(), { errors: [{}] })
    const get = await app.inject({
      url: '/graphql',
      query: { query, operationName: 'B' },
      headers: { authorization: `Bearer ${token}` },
    })
    t.same(get.json().data, { customer: { email } })
  }
})

t.test('a name that is no operation does not change what the document is taken for', async (t) => {
  const { email } = await signUp(send)
  const query = `mutation { generateCustomerToken(email: "${email}", password: "${PASSWORD}") { token } }`
  const headers = { authorization: 'Bearer not.a.token' }
  const post = (operationName: string) =>
    app.inject({ method: 'POST', url: '/graphql', headers, payload: { query, operationName } })
  for (const name of ['no-operation', '"', '\n', ' ', '#']) t.match((await post(name)).json(), { errors: [{}] })
  const answer = await app.inject({ method: 'POST', url: '/graphql', headers, payload: { query } })
  t.match(answer.json(), { data: { generateCustomerToken: { token: String } } }, 'signing in ignores the token')
})

t.test('list indices in error paths are numbers', async (t) => {
  const { token } = await signUp(send)
  const query = '{ _entities(representations: [{ __typename: "Customer", id: 999999 }]) { ... on Customer { email } } }'
  for (let i = 0; i < 3; i++) t.same((await send(query, { token })).errors?.[0].path, ['_entities', 0])
})

t.test('what can not be executed', async (t) => {
  const cases: [unknown, number][] = [
    [{ query: '{ customer { ' }, 400],
    [{ query: '{ customer { unknown } }' }, 400],
    [{ query: 'query($x: Int!) { customer { id } }' }, 400],
    [{}, 400],
  ]
  for (const [payload, status] of cases) {
    for (let i = 0; i < 3; i++) {
      const response = await app.inject({ method: 'POST', url: '/graphql', payload: payload as object })
      t.equal(response.statusCode, status)
      const { errors, data } = response.json()
      t.equal(errors.length >= 1, true)
      t.equal(data ?? undefined, undefined)
    }
  }
  // graphql-js parses and validates recursively.
  const names = Array.from({ length: 400 }, (_, n) => n)
  const spreads = (n: number) => Array.from({ length: 40 }, (_, k) => `...F${(n + k + 1) % 400}`).join(' ')
  const fragments = names.map((n) => `fragment F${n} on Query { ${spreads(n)} }`).join(' ')
  const deep = `{ customer ${'{ addresses '.repeat(10_000)}`
  const cyclic = `{ ${names.map((n) => `...F${n}`).join(' ')} } ${fragments}`
  for (const query of [deep, cyclic]) {
    for (const headers of [{}, { 'apollo-federation-include-trace': 'ftv1' }, { accept: 'text/event-stream' }]) {
      const { body, statusCode } = await app.inject({ method: 'POST', url: '/graphql', payload: { query }, headers })
      t.equal(statusCode, 'accept' in headers ? 200 : 400)
      t.match(body, '"message":"The document is nested too deeply."')
      t.notMatch(body, /INTERNAL_SERVER_ERROR|call stack/)
    }
  }
  const malformed = await app.inject({
    method: 'POST',
    url: '/graphql',
    payload: '{',
    headers: { 'content-type': 'application/json' },
  })
  t.equal(malformed.statusCode, 400)
})

t.test('the document of somebody else with the same id ends no token', async (t) => {
  // Another log's projection may have written it.
  const { token, id } = await signUp(send)
  const theirs = await until('the document is there', async () => (await readModel.get([id]))[0]?.document)
  const document = { ...theirs, firstname: 'Bob', createdAt: '2020-01-01T00:00:00.000Z', revision: theirs.revision + 9 }
  await readModel.put([{ document, expected: theirs.revision }])
  t.equal((await readModel.get([id]))[0]?.document?.firstname, 'Bob')
  t.equal((await send('{ customer { firstname } }', { token })).data?.customer.firstname, theirs.firstname)
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  const introspected = await app.inject({ method: 'POST', url: '/introspect', headers, payload: `token=${token}` })
  t.match(introspected.json(), { active: true })
})

t.test('a document is a text of GraphQL, and not the JSON of its syntax tree', async (t) => {
  // Mercurius takes both, and a tree may be one that no parser makes.
  const closed = await startSubgraph(t, { introspection: false })
  const tree = JSON.parse(JSON.stringify(parse('{ _service { sdl } }', { noLocation: true })))
  const plain = JSON.stringify(tree)
  tree.definitions[0].selectionSet.selections[0].name.value = ['_service']
  for (const query of [
    plain,
    JSON.stringify(tree),
    ` \n${plain}`,
    '5',
    '-1.5e3',
    'null',
    'true',
    'false',
    '[]',
    '{}',
    '"a"',
  ]) {
    for (let i = 0; i < 3; i++) {
      const answer = await closed.send(query)
      t.equal(answer.status, 400, query.slice(0, 40))
      t.match(answer, { data: undefined, errors: [{ message: /^Syntax Error: / }] })
    }
  }
})

t.test('an operation is answered once compiled as it was at first', async (t) => {
  const { token, id, email } = await signUp(send)
  const named = 'query A { customer { id } } query B { customer { email } }'
  const form = 'query($code: String!) { attributesForm(formCode: $code) { items { code } } }'
  const change = 'mutation($input: CustomerUpdateInput!) { updateCustomerV2(input: $input) { customer { firstname } } }'
  const entities = `query($of: [_Any!]!, $full: Boolean = true) {
    _entities(representations: $of) { __typename ... on Customer { id email @include(if: $full) } } }`
  const cases: Record<string, { payload: object; expected: object; guest?: boolean; status?: number }> = {
    plain: { payload: { query: '{ customer { id } }' }, expected: { data: { customer: { id } } } },
    'null for what is left out': {
      payload: { query: '{ customer { email } }', operationName: null, variables: null, extensions: null },
      expected: { data: { customer: { email } } },
    },
    'a named one of two': {
      payload: { query: named, operationName: 'B' },
      expected: { data: { customer: { email } } },
    },
    'one of two without a name': { payload: { query: named }, expected: { errors: [{}] }, status: 400 },
    variables: {
      payload: { query: form, variables: { code: 'customer_account_edit', unknown: 1 } },
      expected: { data: { attributesForm: { items: [{ code: 'firstname' }] } } },
    },
    'a default of a variable': {
      payload: { query: entities, variables: { of: [{ __typename: 'Customer', id }] } },
      expected: { data: { _entities: [{ __typename: 'Customer', id, email }] } },
    },
    'an error beside data': {
      payload: { query: entities, variables: { of: [{ __typename: 'Customer', id: id + 999 }], full: false } },
      expected: { data: { _entities: [null] }, errors: [{ path: ['_entities', 0] }] },
    },
    'a refused field': { payload: { query: '{ customer { id } }' }, expected: { errors: [{}] }, guest: true },
    'an answer that may be stored': {
      payload: { query: '{ storeConfig { locale } }' },
      expected: { data: { storeConfig: { locale: 'en_US' } } },
      guest: true,
    },
    'a mutation': {
      payload: { query: change, variables: { input: { firstname: 'Bea' } } },
      expected: { data: { updateCustomerV2: { customer: { firstname: 'Bea' } } } },
    },
  }
  for (const [what, variables] of Object.entries({
    none: undefined,
    null: { code: null },
    'a number': { code: 1 },
    'an object': { code: {} },
    'a list': { code: ['a'] },
  })) {
    cases[`a required text: ${what}`] = { payload: { query: form, variables }, expected: { errors: [{}] }, status: 400 }
  }
  for (const variables of [{ input: { firstname: 'Bea', unknown: 1 } }, { input: null }, { input: { firstname: 1 } }]) {
    const name = `an input that does not fit: ${JSON.stringify(variables)}`
    cases[name] = { payload: { query: change, variables }, expected: { errors: [{}] }, status: 400 }
  }
  for (const [name, { payload, expected, guest = false, status = 200 }] of Object.entries(cases)) {
    const post = async () => {
      const headers = guest ? {} : { authorization: `Bearer ${token}` }
      const answer = await app.inject({ method: 'POST', url: '/graphql', payload, headers })
      const { 'content-type': type, 'cache-control': caching, vary } = answer.headers
      return { status: answer.statusCode, headers: { type, caching, vary }, body: answer.json() }
    }
    const first = await post()
    t.equal(first.status, status, name)
    t.match(first.body, expected, name)
    for (let i = 0; i < 3; i++) t.same(await post(), first, name)
  }
})

t.test('an unexpected error is logged whole, with its id, and shown masked', async (t) => {
  const lines: string[] = []
  const broken: EventStore = {
    ...eventStore,
    readStream() {
      throw new Error('the inner secret')
    },
  }
  const keys = {
    tokenSigningKey: generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    emailHashKey: 'k'.repeat(32),
  }
  const logger = { level: 'info', stream: { write: (line: string) => void lines.push(line) } }
  const failing = await buildSubgraph({ eventStore: broken, readModel, keys, logger })
  const query = 'mutation { generateCustomerToken(email: "ann@example.com", password: "Secret-pass1") { token } }'
  const answer = await injector(failing)(query, { headers: { 'x-correlation-id': 'request-1' } })
  t.match(answer, {
    data: { generateCustomerToken: null },
    errors: [
      {
        message: 'Internal server error',
        path: ['generateCustomerToken'],
        extensions: { code: 'INTERNAL_SERVER_ERROR', correlationId: 'request-1' },
      },
    ],
  })
  const log = lines.join('')
  t.match(log, /the inner secret/)
  t.match(log, /request-1/)
  t.notMatch(JSON.stringify(answer), /inner secret/)
  t.notMatch(log, /ann@example\.com|Secret-pass1/)
  await failing.close()
})

t.test('expected errors are no log lines: they quote what people typed', async (t) => {
  const lines: string[] = []
  const keys = {
    tokenSigningKey: generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    emailHashKey: 'k'.repeat(32),
  }
  const away: EventStore = {
    ...eventStore,
    readStream() {
      throw new EventStoreUnavailable('gone')
    },
  }
  const logger = { level: 'trace', stream: { write: (line: string) => void lines.push(line) } }
  const logged = await buildSubgraph({ eventStore: away, readModel, keys, logger })
  const post = injector(logged)
  await post(
    'mutation { createCustomer(input: { firstname: "A", lastname: "B", email: "private.mail" }) { customer { id } } }',
  )
  await post('query($x: Int!) { customer { id } }', { variables: { x: 'private.variable' } })
  await post('mutation { generateCustomerToken(email: "private@example.com", password: "private-pass") { token } }')
  t.match(lines.join(''), /a store is unavailable/)
  t.notMatch(lines.join(''), /private/)
  await logged.close()
})

t.test('a secret keeps everybody but the gateway out', async (t) => {
  const keys = {
    tokenSigningKey: generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    emailHashKey: 'k'.repeat(32),
  }
  const guarded = await buildSubgraph({ eventStore, readModel, keys, secret: 'a-long-shared-secret' })
  const post = injector(guarded)
  for (const headers of [{}, { 'x-subgraph-secret': 'wrong' }, { 'x-subgraph-secret': 'a-long-shared-secreT' }]) {
    t.match(await post('{ customer { id } }', { headers }), { errors: [{ extensions: { code: 'FORBIDDEN' } }] })
  }
  const answer = await post('{ __typename }', { headers: { 'x-subgraph-secret': 'a-long-shared-secret' } })
  t.same(answer.data, { __typename: 'Query' })
  for (const url of ['/healthz', '/readyz', '/metrics', '/.well-known/jwks.json']) {
    t.equal((await guarded.inject(url)).statusCode, 200, url)
  }
  await guarded.close()
})

t.test('metrics count reads and errors, and name nobody', async (t) => {
  const { token, email } = await signUp(send)
  await send('{ customer { email } }', { token })
  await send('{ customer { email } }')
  const { body } = await app.inject('/metrics')
  t.match(body, /customer_reads_total\{source="(read-model|stream)"\} \d+/)
  t.match(body, /graphql_errors_total\{code="UNAUTHENTICATED"\} \d+/)
  t.notMatch(body, email)
})

t.test('appends are timed, and conflicts counted', async (t) => {
  const { app, send, eventStore } = await startSubgraph(t)
  const { id, token } = await signUp(send)
  const metrics = async () => (await app.inject('/metrics')).body
  t.match(await metrics(), /^eventstore_append_seconds_count\{outcome="written"\} [1-9]/m)
  t.match(await metrics(), /^eventstore_append_conflicts_total 0$/m)
  // Behind the instance's back: its next command is decided on a state that is no longer the newest.
  const metadata = {
    $correlationId: 'x',
    $causationId: 'x',
    actor: 'test',
    at: new Date().toISOString(),
    schemaVersion: 1,
  }
  const event = { id: crypto.randomUUID(), type: 'NewsletterSubscribed', data: {}, metadata }
  await eventStore.append(`customer-${id}`, [event], { expected: 'stream_exists' })
  const renamed = await send(
    'mutation { updateCustomer(input: { firstname: "Bea" }) { customer { firstname is_subscribed } } }',
    { token },
  )
  t.same(renamed.data.updateCustomer.customer, { firstname: 'Bea', is_subscribed: true })
  t.match(await metrics(), /^eventstore_append_conflicts_total 1$/m)
  t.match(await metrics(), /^eventstore_append_seconds_count\{outcome="conflict"\} 1$/m)
})

t.test(
  'requests whose client is gone before the answer are counted, and what was recorded of access, by kind',
  async (t) => {
    const { app, send } = await startSubgraph(t)
    const { email } = await signUp(send)
    const metrics = async () => (await app.inject('/metrics')).body
    t.match(await metrics(), /^graphql_requests_cancelled_total 0$/m)
    const query = `mutation { generateCustomerToken(email: "${email}", password: "Wr0ng-pass") { token } }`
    const address = await app.listen({ port: 0, host: '127.0.0.1' })
    const isCounted = async () => /^graphql_requests_cancelled_total [1-9]/m.test(await metrics())
    const hashes = async () => Number(/^password_hashes_total\{.*\} (\d+)$/m.exec(await metrics())?.[1])
    // A password's hash takes long enough to leave meanwhile; where it did not, another try follows.
    await until('one is counted', async () => {
      const before = await hashes()
      const leaving = new AbortController()
      const asked = fetch(`${address}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query }),
        signal: leaving.signal,
      }).catch(() => {})
      await until('a password is hashed', async () => (await hashes()) !== before)
      leaving.abort()
      await asked
      return isCounted()
    })
    t.match(await metrics(), /^customer_access_total\{kind="sign-in-failed"\} [1-9]/m)
    t.match(await metrics(), /^keys_reachable 1$/m)
  },
)
