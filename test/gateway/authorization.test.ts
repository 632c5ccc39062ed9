/** Protected fields and types: what a client may not have is not fetched, and null with an error. */
import { generateKeyPairSync } from 'node:crypto'
import { createSigner } from 'fast-jwt'
import t from 'tap'
import { startBoth, startCompiled } from './conformance/support.ts'
import { ACCEPTS, joinParts, readParts } from './incremental.ts'
import { post } from './support.ts'

const { publicKey, privateKey } = generateKeyPairSync('ed25519')
const key = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
const tokenKeys = { publicKey: publicKey.export({ type: 'spki', format: 'pem' }) as string }
const bearer = (claims: object) => ({
  authorization: `Bearer ${createSigner({ key, algorithm: 'EdDSA', expiresIn: 60_000 })({ sub: '1', ...claims })}`,
})

const user = { __typename: 'User', id: 'u', email: 'u@example.com', level: 'A', notes: ['n'] }
const thing = { __typename: 'Thing', id: 't', secret: 's', cost: 3 }
const subgraphs = {
  people: {
    sdl: `type Query { me: User @authenticated strict: Strict open: String node: Node nodes: [Node!]! any: [Any!] thing: Thing }
      type Mutation { wipe: Int! @requiresScopes(scopes: [["admin"]]) note: Int }
      interface Node { id: ID! } union Any = Thing | Vault
      type Thing implements Node @key(fields: "id") { id: ID! secret: String @requiresScopes(scopes: [["read", "write"], ["all"]]) }
      type User @key(fields: "id") { id: ID! email: String! @authenticated level: Level }
      type Strict { hidden: String! @authenticated }
      type Vault @policy(policies: [["guard"]]) { gold: Int! code: String }
      enum Level @authenticated { A B }`,
    resolvers: {
      Query: {
        me: () => user,
        strict: () => ({ hidden: 'hidden' }),
        open: () => 'open',
        node: () => thing,
        nodes: () => [thing, thing],
        any: () => [thing, { __typename: 'Vault', gold: 1, code: 'c' }],
        thing: () => thing,
      },
      Mutation: { wipe: () => 1, note: () => 2 },
    },
  },
  prices: {
    sdl: 'type Thing @key(fields: "id") { id: ID! cost: Int @authenticated }',
    resolvers: { Thing: { __resolveReference: ({ id }: { id: string }) => ({ id, cost: 3 }) } },
  },
}

t.test('protected fields and types', async (t) => {
  const { compiled, apollo, calls } = await startBoth(t, { subgraphs, options: { tokenKeys } })
  const ask = async (query: string, claims?: object, url = compiled.url) => {
    calls.length = 0
    const { body } = await post(url, { query }, claims ? bearer(claims) : {})
    return body
  }
  const paths = (body: { errors?: { path: string[]; extensions: { code: string } }[] }) =>
    body.errors?.map(({ path, extensions }) => `${path.join('.')} ${extensions.code}`)

  const guest = await ask('{ open me { id } }')
  t.same(guest.data, { open: 'open', me: null })
  t.same(paths(guest), ['me FORBIDDEN'])
  t.same(
    calls.map(({ query }) => query),
    ['{open}'],
    'it is not fetched',
  )
  t.same(await ask('{ open me { id email level } }', {}), {
    data: { open: 'open', me: { id: 'u', email: 'u@example.com', level: 'A' } },
  })
  t.same((await ask('{ me { id } }')).data, { me: null })
  t.same(calls, [])

  for (const scope of ['read write', 'x all', ['write', 'read']]) {
    t.same(await ask('{ thing { secret } }', { scope }), { data: { thing: { secret: 's' } } }, String(scope))
  }
  for (const claims of [undefined, {}, { scope: 'read' }, { scope: 7 }]) {
    const refused = await ask('query Q { thing { ...F s: secret } } fragment F on Thing { id secret }', claims)
    t.same(refused.data, { thing: { id: 't', secret: null, s: null } })
    t.same(paths(refused), ['thing.secret FORBIDDEN', 'thing.s FORBIDDEN'])
    t.notMatch(calls.map(({ query }) => query).join(), /secret/)
  }

  const strict = await ask('{ strict { hidden } open }')
  t.same(strict.data, { strict: null, open: 'open' }, 'a null that may not be bubbles')
  t.same(paths(strict), ['strict.hidden FORBIDDEN'])

  const hop = await ask('{ nodes { ... on Thing { id cost } } }')
  t.same(hop.data, {
    nodes: [
      { id: 't', cost: null },
      { id: 't', cost: null },
    ],
  })
  t.same(paths(hop), ['nodes.0.cost FORBIDDEN', 'nodes.1.cost FORBIDDEN'])
  t.equal(calls.length, 1, 'nor is the subgraph called that has it')
  t.same((await ask('{ nodes { ... on Thing { cost } } }', {})).data, { nodes: [{ cost: 3 }, { cost: 3 }] })

  const any = await ask('{ any { __typename ... on Vault { gold code } ... on Thing { id } } }', {})
  t.same(any.data, { any: null })
  t.same(paths(any), ['any.1.gold FORBIDDEN'])
  t.notMatch(calls.map(({ query }) => query).join(), /gold|code/)
  const guard = { policies: ['guard'] }
  t.same((await ask('{ any { ... on Vault { gold code } } }', guard)).data, { any: [{}, { gold: 1, code: 'c' }] })

  const wipe = await ask('mutation { note wipe }', { scope: 'user' })
  t.same(wipe.data, null)
  t.same(paths(wipe), ['wipe FORBIDDEN'])
  t.notMatch(calls.map(({ query }) => query).join(), /wipe/)
  t.same((await ask('mutation { wipe }', { scope: 'admin' })).data, { wipe: 1 })

  t.same(paths(await ask('{ open me { id } }', undefined, apollo.url)), ['me FORBIDDEN'], 'with Apollo executing, too')
  t.same((await ask('{ me { id } }', {}, apollo.url)).data, { me: { id: 'u' } })
  calls.length = 0
  const deferred = await fetch(compiled.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: ACCEPTS['v0.2'] },
    body: JSON.stringify({ query: '{ open ... @defer { thing { id cost } me { id } } }' }),
  })
  const payloads = readParts(deferred.headers.get('content-type') ?? '', await deferred.text())
  t.equal(payloads.length, 2)
  const whole = joinParts(payloads, 'v0.2')
  t.same(whole.data, { open: 'open', thing: { id: 't', cost: null }, me: null }, 'in a deferred fragment, too')
  t.same(paths(whole as never), ['thing.cost FORBIDDEN', 'me FORBIDDEN'])
  t.notMatch(calls.map(({ query }) => query).join(), /cost|me/)
  const forged = await post(compiled.url, { query: '{ open }' }, { authorization: 'Bearer x.y.z' })
  t.equal(forged.status, 401)
})

t.test('without keys to verify tokens with nobody is known', async (t) => {
  const compiled = await startCompiled(t, { subgraphs })
  const { body } = await post(compiled.url, { query: '{ open me { id } }' }, bearer({ scope: 'all' }))
  t.same(body.data, { open: 'open', me: null })
})
