/** What one client can't do to the others: texts, documents, addresses and load that are too much. */
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import {
  buildClientSchema,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLInputType,
  getIntrospectionQuery,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
} from 'graphql'
import t from 'tap'
import { absentCustomer, type CustomerAddress, type CustomerDocument } from '../../projections/customer.ts'
import { store } from '../../schema/store.ts'
import { createCustomerStates } from '../../subgraph/customers/customer-states.ts'
import { parseDate } from '../../subgraph/domain/date.ts'
import { createShowList } from '../../subgraph/resolvers/large-lists.ts'
import { createViews } from '../../subgraph/resolvers/views.ts'
import { buildSubgraph } from '../../subgraph/server.ts'
import { CREATE_ADDRESS, injector, signUp, startSubgraph, TEXAN } from '../support/graph.ts'
import { KEYS } from '../support/keys.ts'
import { until } from '../support/until.ts'

const { app, send, eventStore, readModel } = await startSubgraph(t, { store: { address: { maxPerCustomer: 2 } } })
const { token, id } = await signUp(send)

/** A short value that the schema accepts. */
function shortValue(type: GraphQLInputType): unknown {
  if (isNonNullType(type)) return shortValue(type.ofType as GraphQLInputType)
  if (isListType(type)) return [shortValue(type.ofType)]
  if (isEnumType(type)) return type.getValues()[0]?.name
  if (isInputObjectType(type)) {
    const needed = Object.values(type.getFields()).filter((field) => isNonNullType(field.type))
    return Object.fromEntries(needed.map((field) => [field.name, shortValue(field.type)]))
  }
  if (String(type) === 'Int') return 1
  return String(type) === '_Any' ? { __typename: 'Customer', id } : 'x'
}

interface Position {
  readonly name: string
  readonly value: (text: string) => unknown
}

/** Every place in a value of the type where a text may stand. */
function textsIn(name: string, type: GraphQLInputType): Position[] {
  if (isNonNullType(type)) return textsIn(name, type.ofType as GraphQLInputType)
  if (isListType(type)) {
    return textsIn(name, type.ofType).map((inner) => ({
      name: `${inner.name}[]`,
      value: (text) => [inner.value(text)],
    }))
  }
  if (isInputObjectType(type)) {
    return Object.values(type.getFields()).flatMap((field: GraphQLInputField) =>
      textsIn(`${name}.${field.name}`, field.type).map((inner) => ({
        name: inner.name,
        value: (text: string) => ({ ...(shortValue(type) as object), [field.name]: inner.value(text) }),
      })),
    )
  }
  if (String(type) === '_Any') {
    return [
      { name: `${name}.id`, value: (text) => ({ __typename: 'Customer', id: text }) },
      { name: `${name}.__typename`, value: (text) => ({ __typename: text, id }) },
      { name: `${name}.{}`, value: (text) => ({ __typename: 'Customer', id, [text]: { deep: [1] } }) },
      { name: `${name}.deep`, value: (text) => ({ __typename: 'Customer', id, deep: [{ deep: text }] }) },
    ]
  }
  return ['String', 'ID'].includes(String(type)) ? [{ name, value: (text) => text }] : []
}

/** One operation for each text position of the schema. */
function operations(schema: ReturnType<typeof buildClientSchema>) {
  const roots: [string, (field: string) => string][] = [
    ['Query', (field) => field],
    ['Mutation', (field) => field],
    ['Customer', (field) => `customer { ${field} }`],
    ['CustomerAddress', (field) => `customer { addresses { ${field} } }`],
  ]
  const found = roots.flatMap(([root, within]) => {
    const type = schema.getType(root) as unknown as { getFields(): Record<string, GraphQLField<unknown, unknown>> }
    return Object.values(type.getFields()).flatMap((field) =>
      field.args.flatMap((argument: GraphQLArgument) =>
        textsIn(argument.name, argument.type).map(({ name, value }) => {
          const needed = field.args.filter((each) => each === argument || isNonNullType(each.type))
          const selection = /^(String|Int|Boolean|ID)!?$/.test(String(field.type)) ? '' : '{ __typename }'
          const call = `${field.name}(${needed.map((each) => `${each.name}: $${each.name}`).join(', ')}) ${selection}`
          const definitions = needed.map((each) => `$${each.name}: ${each.type}`).join(', ')
          const others = Object.fromEntries(needed.map((each) => [each.name, shortValue(each.type)]))
          return {
            name: `${root}.${field.name}(${name})`,
            query: `${root === 'Mutation' ? 'mutation' : 'query'}(${definitions}) { ${within(call)} }`,
            variables: (text: string) => ({ ...others, [argument.name]: value(text) }),
          }
        }),
      ),
    )
  })
  return found
}

const schema = buildClientSchema((await send(getIntrospectionQuery())).data)

// Long enough that a check which is not linear takes seconds.
const LONG = 250_000

t.test('a text of 250,000 characters is refused in no time, wherever one may stand', async (t) => {
  await send(CREATE_ADDRESS, { variables: { input: TEXAN }, token })
  const all = operations(schema)
  t.ok(all.length > 100, `${all.length} places`)
  for (const { name, query, variables } of all) {
    const timed = async (text: string) => {
      const started = process.cpuUsage()
      const answer = await send(query, { variables: variables(text), token })
      const { user, system } = process.cpuUsage(started)
      return { answer, ms: (user + system) / 1_000 }
    }
    await timed('y') // compiles the document
    const short = await timed('x')
    for (const character of ['a', '@.']) {
      const text = character.repeat(LONG / character.length)
      const isQuick = ({ ms }: { ms: number }) => ms < 50 * Math.max(short.ms, 10)
      let long = await timed(text)
      // A collection of garbage may fall into it.
      for (let again = 0; again < 3 && !isQuick(long); again++) long = await timed(text)
      const { errors } = long.answer
      t.match(
        errors?.[0]?.message,
        /at most \d+ (characters|items)|equal or less than \d+ characters|^Invalid date$|needs a "__typename"/,
        `${name}: ${errors?.[0]?.message?.slice(0, 100)}`,
      )
      t.match(errors?.[0]?.extensions, { code: 'BAD_USER_INPUT' })
      t.ok(isQuick(long), `${name}: ${long.ms.toFixed(1)} ms to ${short.ms.toFixed(1)} ms`)
    }
  }
  const street = Array.from({ length: 100_000 }, () => 'x')
  const long = await send(CREATE_ADDRESS, { variables: { input: { ...TEXAN, street } }, token })
  t.match(long.errors?.[0]?.message, '"street" can have at most 1000 items.')
})

t.test('half a character is refused, wherever it may stand: all of them would be the same password', async (t) => {
  for (const { name, query, variables } of operations(schema)) {
    for (const text of ['Str0ng-pass\ud800', '\udc00Str0ng-pass']) {
      const { errors } = await send(query, { variables: variables(text), token })
      t.match(errors?.[0]?.message, /has half a character|needs a "__typename"/, name)
      t.match(errors?.[0]?.extensions, { code: 'BAD_USER_INPUT' })
    }
  }
  const signIn =
    'mutation($password: String!) { generateCustomerToken(email: "a@example.com", password: $password) { token } }'
  const { errors } = await send(signIn, { variables: { password: 'Str0ng-pass\u{1f600}' } })
  t.match(errors?.[0]?.message, /^The account sign-in was incorrect/, 'a whole one is not')
})

t.test('what is wrong in a large request is reported briefly', async (t) => {
  const query = 'mutation($street: [String]!) { createCustomerAddress(input: { street: $street }) { id } }'
  for (let round = 0; round < 3; round++) {
    const { errors, status } = await send(query, { variables: { street: Array(100_000).fill(1) }, token })
    t.equal(status, 400)
    t.ok((errors?.length ?? 0) <= 51, `${errors?.length} errors`)
    t.match(errors?.[0]?.message, /Variable "\$street" got invalid value 1 at "street\[0\]"/)
  }
  for (const [document, variables] of [
    ['query($id: String) { country(id: $id) { id } }', { id: { a: 'a'.repeat(900_000) } }],
    [`{ ${'a'.repeat(900_000)} }`],
    [`query { country(id: 1${'1'.repeat(900_000)}) { id } }`],
  ] as const) {
    for (const headers of [{}, { 'apollo-federation-include-trace': 'ftv1' }] as Record<string, string>[]) {
      const answer = await send(document, { ...(variables && { variables }), headers })
      t.equal(answer.status, 400)
      t.ok(JSON.stringify(answer).length < 1_000, document.slice(0, 50))
    }
  }
  const traced = { 'apollo-federation-include-trace': 'ftv1' }
  const { errors } = await send(`{ ${'__typename '.repeat(60_000)} }`, { headers: traced })
  t.match(errors?.[0]?.message, /more that 50000 tokens/)
})

t.test('the parser of dates is linear by itself', async (t) => {
  for (const part of ['a', '1', '1111 ', 'abc ', '1 abc', '/', '(']) {
    const started = process.cpuUsage()
    t.equal(parseDate(part.repeat(900_000 / part.length)), undefined)
    t.ok(process.cpuUsage(started).user < 1_000_000) // a quadratic one takes minutes
  }
  t.equal(parseDate('11 March 1972'), '1972-03-11')
  t.equal(parseDate('March 11, 1972'), '1972-03-11')
})

t.test('a customer has as many addresses as the store allows', async (t) => {
  const { token } = await signUp(send)
  const add = () => send(CREATE_ADDRESS, { variables: { input: TEXAN }, token })
  const first = (await add()).data.createCustomerAddress.id
  t.equal((await add()).errors, undefined)
  t.match((await add()).errors, [
    {
      message: 'A customer can have at most 2 addresses. Delete one to add another.',
      extensions: { code: 'BAD_USER_INPUT' },
    },
  ])
  await send('mutation($id: Int!) { deleteCustomerAddress(id: $id) }', { variables: { id: first }, token })
  t.equal((await add()).errors, undefined, 'another in the place of one that was deleted')
})

t.test('an answer with many large lists lets others pass, and has a limit', async (t) => {
  const roots = (count: number) => Array.from({ length: count }, (_, n) => `a${n}: countries { id full_name_english }`)
  const bad = await send(`{ ${roots(400).join(' ')} }`)
  const answered = Object.values(bad.data).filter((list) => list !== null).length
  t.ok(answered > 100 && answered < 350, `${answered} of 400 lists`)
  t.match(bad.errors?.[0], {
    message: /^The lists of the answer have more than 8388608 characters: ask for fewer of them/,
    extensions: { code: 'BAD_USER_INPUT' },
  })
  // The second time it is executed compiled.
  for (const round of ['first', 'compiled']) {
    let others = 0
    let isDone = false
    const large = send(`{ ${roots(60).join(' ')} }`).then(({ errors }) => {
      isDone = true
      return errors
    })
    while (!isDone) {
      await send('{ storeConfig { id } }')
      others++
    }
    t.equal(await large, undefined)
    t.ok(others > 5, `${others} others are answered meanwhile (${round})`)
  }
})

t.test('a customer with many addresses, asked for many times in one request', async (t) => {
  let looks = 0
  const address = () => ({
    get city() {
      looks++
      return 'x'.repeat(25_000)
    },
  })
  const showList = createShowList()
  const context = { service: null, isGone: () => false, listed: undefined }
  const shown = () => showList(Array.from({ length: 100 }, address), context)
  for (let n = 0; n < 3; n++) await shown()
  t.throws(shown, { code: 'ANSWER_TOO_LARGE' })
  const before = looks
  t.throws(shown, { code: 'ANSWER_TOO_LARGE' })
  t.equal(looks, before, 'beyond the limit nothing is counted any more')

  const { toCustomer } = createViews(store())
  const addresses = Array.from({ length: 500 }, (_, id) => ({ id, customAttributes: {} }) as unknown as CustomerAddress)
  const document = { ...absentCustomer(1), addresses } as CustomerDocument
  const [first, second] = [toCustomer(document).addresses, toCustomer(document).addresses]
  t.equal(first, second, 'they are made once')
  const later = { ...document, addresses: addresses.slice(1) }
  t.equal(toCustomer(later).addresses.length, 499, 'of this document')
})

t.test('documents that are all new do not fill the memory', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const used = () => {
    collect()
    return process.memoryUsage().heapUsed / 1024 / 1024
  }
  const before = used()
  for (let n = 1; n <= 40; n++) {
    await send(`{ country(id: "${n} ${'x'.repeat(LONG)}") { id } }`)
    await send(`{ nothing(id: "${n} ${'x'.repeat(LONG)}") { id } }`)
  }
  t.ok(used() - before < 5, `${Math.round(used() - before)} MiB more`)
  const tokens = await send(`{ ${'__typename '.repeat(60_000)} }`)
  t.equal(tokens.status, 400)
  t.match(tokens.errors?.[0]?.message, /more that 50000 tokens/)
})

t.test('large customers do not fill the memory', async (t) => {
  // Only `acknowledge` writes, and nothing is answered here.
  const states = createCustomerStates(eventStore, { acknowledge: async () => {} })
  t.teardown(() => states.close())
  const remember = (id: number, change: Partial<CustomerDocument>) =>
    void states.remember({ document: { ...absentCustomer(id), revision: 0, ...change }, eventId: undefined })
  const kept = (ids: number) => Array.from({ length: ids }, (_, id) => states.cached(id)).filter((each) => each).length
  const text = 'x'.repeat(255)
  const address = { street: [text, text], city: text, customAttributes: { note: text } } as unknown as CustomerAddress
  const large: readonly [string, number, Partial<CustomerDocument>][] = [
    ['addresses', 500 * 4 * 255, { addresses: Array.from({ length: 500 }, () => address) }],
    [
      'custom attributes',
      10 * 65_535,
      { customAttributes: { a: Array.from({ length: 10 }, () => 'x'.repeat(65_535)) } },
    ],
  ]
  for (const [name, bytes, change] of large) {
    states.clear()
    for (let id = 0; id < 200; id++) remember(id, change)
    const count = kept(200)
    t.ok(count > 10 && count * bytes < 25 * 1024 * 1024, `${count} customers with many ${name} are kept`)
  }
  states.clear()
  for (let id = 0; id < 10_000; id++) remember(id, { email: `${id}@example.com`, firstname: 'Ann', lastname: 'Lee' })
  t.equal(kept(10_000), 10_000, 'and 10,000 usual ones')
})

t.test('one bad representation spoils no other', async (t) => {
  const query = 'query($r: [_Any!]!) { _entities(representations: $r) { __typename ... on Customer { id } } }'
  const good = { __typename: 'Customer', id }
  const proto = JSON.parse('{"__proto__":{"__typename":"Customer"},"id":1}')
  const r = [
    good,
    { __typename: 'Nobody', id },
    { id },
    { __typename: '__proto__' },
    { __typename: 'Country' },
    7,
    { __typename: 'Customer', id: { toString: 1, valueOf: 1 } },
    { __typename: 'CustomerGroupStorefront', uid: ['MQ=='] },
    { __typename: 'StoreConfig', store_code: { constructor: 1 } },
    good,
  ]
  for (let round = 0; round < 3; round++) {
    const { data, errors } = await send(query, { variables: { r }, token })
    t.same(data._entities, [good, ...Array(8).fill(null), good])
    t.notMatch(JSON.stringify(errors), /CustomerAddress/, 'no error tells the names of types')
    t.same(
      errors?.map(({ path, extensions }) => [path, extensions.code]),
      [1, 2, 3, 4, 5, 6, 7, 8].map((index) => [['_entities', index], 'BAD_USER_INPUT']),
    )
  }
  const inherited = await app.inject({
    method: 'POST',
    url: '/graphql',
    headers: { 'content-type': 'application/json' },
    payload: JSON.stringify({ query, variables: { r: [proto] } }),
  })
  t.not(inherited.json().data?._entities?.[0]?.__typename, 'Customer')
})

t.test('null stands for what a client leaves out', async (t) => {
  for (const name of ['extensions', 'variables', 'operationName', 'persisted']) {
    const { statusCode, body } = await app.inject({
      method: 'POST',
      url: '/graphql',
      payload: { query: '{ __typename }', [name]: null },
    })
    t.equal(statusCode, 200, name)
    t.same(JSON.parse(body), { data: { __typename: 'Query' } })
  }
})

t.test('load is shed before the event loop is lost, and readiness says so', async (t) => {
  const { loadKeys } = await import('../../subgraph/identity/subgraph-keys.ts')
  const { loadConfiguration } = await import('../../runtime/configuration.ts')
  const keys = loadKeys(loadConfiguration({ DATA_DIR: t.testdir(), ...KEYS }))
  const loadLimits = { maxEventLoopDelayMs: 50, maxHeapPercent: 0, sampleMs: 100 }
  const busy = await buildSubgraph({ eventStore, readModel, keys, loadLimits })
  t.teardown(() => busy.close())
  const answers = async () => (await injector(busy)('{ __typename }')).status
  t.equal(await answers(), 200)
  const block = (milliseconds: number) => {
    const until = performance.now() + milliseconds
    while (performance.now() < until);
  }
  let refused = await busy.inject({ method: 'POST', url: '/graphql', payload: { query: '{ __typename }' } })
  for (let round = 0; round < 50 && refused.statusCode !== 503; round++) {
    block(150)
    await delay(1)
    refused = await busy.inject({ method: 'POST', url: '/graphql', payload: { query: '{ __typename }' } })
  }
  t.equal(refused.statusCode, 503)
  t.equal(refused.headers['retry-after'], '2')
  t.match(refused.json(), { errors: [{ extensions: { code: 'SERVICE_UNAVAILABLE' } }] })
  const ready = await busy.inject('/readyz')
  t.equal(ready.statusCode, 503)
  t.match(ready.json(), { ready: false, overloaded: true })
  t.equal((await busy.inject('/healthz')).statusCode, 200, 'it is alive')
  t.match((await busy.inject('/metrics')).body, /load_shed_total [1-9]/)
  await until('it comes back', async () => (await answers()) === 200)
})

t.test('a client that sends its request slowly does not hold a connection for ever', async (t) => {
  const { app } = await startSubgraph(t, { projection: false })
  const { requestTimeout, headersTimeout } = app.server
  t.same({ requestTimeout, headersTimeout }, { requestTimeout: 30_000, headersTimeout: 10_000 })
})
