/** What may be stored of the subgraph's answers: the store's settings, and nothing about a person. */

import { buildSchema } from 'graphql'
import t from 'tap'
import { createCacheControl } from '../../subgraph/http/cache-control.ts'
import { signUp, startSubgraph } from '../support/graph.ts'

const STORED = 'public, max-age=300'

t.test('settings of the store are stored, and nothing that depends on who asks', async (t) => {
  const { app, send } = await startSubgraph(t, {
    store: { moreViews: [{ id: 2, code: 'de', locale: 'de_DE' }], account: { shareGroup: true } },
  })
  const { token } = await signUp(send)
  const headersOf = async (query: string, more: Record<string, string> = {}, payload: object = {}) => {
    const { headers } = await app.inject({
      method: 'POST',
      url: '/graphql',
      headers: more,
      payload: { query, ...payload },
    })
    return headers
  }
  const control = async (...args: Parameters<typeof headersOf>) => (await headersOf(...args))['cache-control']

  const form =
    'items { code options { label } ... on CustomerAttributeMetadata { validate_rules { name } } } errors { type }'
  for (const query of [
    '{ countries { id available_regions { code } } }',
    '{ country(id: "US") { id __typename } }',
    'query($id: String = "US") { country(id: $id) { ...c } } fragment c on Country { id }',
    '{ storeConfig { store_code } __typename }',
    '{ storeConfig { store_code } a: countries { id } }',
    `{ attributesForm(formCode: "customer_account_create") { ${form} } }`,
    `{ attributesList(entityType: CUSTOMER) { ${form} } }`,
    '{ customAttributeMetadataV2(attributes: []) { items { code } } }',
    '{ recaptchaV3Config { is_enabled } }',
    '{ recaptchaFormConfig(formType: CUSTOMER_LOGIN) { configurations { website_key } } }',
    '{ _entities(representations: [{ __typename: "StoreConfig", store_code: "default" }]) { ... on StoreConfig { locale } } }',
  ]) {
    t.equal(await control(query), STORED, query)
    t.equal(await control(query, { authorization: `Bearer ${token}` }), 'no-store', `${query} with a token`)
  }
  t.equal((await headersOf('{ countries { id } }')).vary, 'Authorization, Store')

  for (const query of [
    '{ customer { email } }',
    '{ countries { id } customer { email } }',
    '{ customerGroup { uid } }',
    '{ isEmailAvailable(email: "a@example.com") { is_email_available } }',
    '{ country(id: "XX") { id } }',
    '{ countries { id } country(id: "XX") { id } }',
    '{ countries { nothing } }',
    '{ countries { id ',
    '{ __schema { queryType { name } } countries { id } }',
    '{ _service { sdl } }',
    '{ __typename }',
    '{ _entities(representations: [{ __typename: "Customer", id: 1 }]) { ... on Customer { email } } }',
    '{ countries { ...f } } fragment f on Country { id ...f }',
    'mutation { generateCustomerToken(email: "a@example.com", password: "countries") { token } }',
    'mutation { requestPasswordResetEmail(email: "nobody@example.com") } query countries { countries { id } }',
  ]) {
    t.equal(await control(query), 'no-store', query)
  }
  const two = 'query a { countries { id } } query b { isEmailAvailable(email: "a@example.com") { is_email_available } }'
  t.equal(await control(two, {}, { operationName: 'a' }), STORED)
  t.equal(await control(two, {}, { operationName: 'b' }), 'no-store')
  t.equal(await control(two, {}, { operationName: 'a' }), STORED)
  t.equal(await control('{ countries { id } }', { authorization: 'Bearer forged' }), 'no-store')
  t.equal(await control('{ countries { id } }', { store: 'nowhere' }), 'no-store')
  t.equal(await control('{ countries { id } }', { store: 'de' }), STORED)
  t.equal(await control('{ countries { id } }', { 'apollo-federation-include-trace': 'ftv1' }), 'no-store', 'a trace')
  const read = await app.inject({ url: '/graphql?query={storeConfig{locale}}' })
  t.equal(read.headers['cache-control'], STORED, 'by GET')
})

t.test('times are those of Apollo Server’s directive', (t) => {
  const control = createCacheControl(
    buildSchema(`directive @cacheControl(maxAge: Int, inheritMaxAge: Boolean) on FIELD_DEFINITION | OBJECT | INTERFACE | UNION
      type Query { a: A @cacheControl(maxAge: 60) plain: Int @cacheControl(maxAge: 30) none: Int b: B i: I @cacheControl(maxAge: 9) }
      type A { id: ID! slow: Int @cacheControl(maxAge: 10) b: B c: C inherited: C @cacheControl(inheritMaxAge: true) own: B @cacheControl(maxAge: 7) }
      type B @cacheControl(maxAge: 20) { id: ID! a: A } type C { id: ID! }
      interface I { id: ID! } type D implements I { id: ID! c: C }`),
  )
  const age = (query: string) => Number(/\d+/.exec(control(query, undefined)?.['cache-control'] ?? '0')?.[0])
  t.equal(age('{ a { id } }'), 60)
  t.equal(age('{ a { id slow } }'), 10)
  t.equal(age('{ a { id } plain }'), 30)
  t.equal(age('{ a { id } none }'), 0, 'a root field without a time')
  t.equal(age('{ b { id } }'), 20, 'that of the type')
  t.equal(age('{ a { b { id } } }'), 20)
  t.equal(age('{ a { own { id } } }'), 7, 'the field’s own comes first')
  t.equal(age('{ a { c { id } } }'), 0, 'an object without a time')
  t.equal(age('{ a { inherited { id } } }'), 60)
  t.equal(age('{ b { a { id } } }'), 0)
  t.equal(age('{ i { id ... on D { id } } }'), 9)
  t.equal(age('{ i { ... on D { c { id } } } }'), 0)
  t.equal(age('{ a { ...f } } fragment f on A { slow ...g } fragment g on A { own { id } }'), 7)
  t.equal(age('{ a { ...missing } }'), 0)
  t.equal(age(`{ a { id } } ${'# '.repeat(10)}`), 60)
  // Each fragment is read once: otherwise this would take 2^60 steps.
  const fragments = Array.from({ length: 60 }, (_, n) => `fragment f${n} on A { ...f${n + 1} ...f${n + 1} }`)
  t.equal(age(`{ a { ...f0 } } ${fragments.join(' ')} fragment f60 on A { id }`), 60)
  t.equal(age(`{ a ${'{ b { a '.repeat(20_000)}`), 0, 'too deep')
  t.end()
})
