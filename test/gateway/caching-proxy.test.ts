/** A real nginx stores the gateway's answers: what is stored is served, and never to somebody else. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { buildGateway } from '../../gateway/server.ts'
import { signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { startNginx, withoutNginx } from '../support/nginx.ts'
import { until } from '../support/until.ts'
import { compose, serve, startGateway } from './support.ts'

type Json = Record<string, unknown>

/** GETs through nginx. `cache` is what it did: MISS, HIT, EXPIRED, REVALIDATED. */
async function startProxy(t: Test, gateway: string) {
  const nginx = await startNginx(await temporaryFolder(t), gateway)
  t.teardown(nginx.stop)
  return async (query: string, headers: Record<string, string> = {}, more: Record<string, string> = {}) => {
    const response = await fetch(`${nginx.url}/graphql?${new URLSearchParams({ query, ...more })}`, { headers })
    const body = (await response.json()) as { data: Json | null; errors?: { message: string }[] }
    return { cache: response.headers.get('x-cache'), body, status: response.status, headers: response.headers }
  }
}

t.test(
  'nginx serves the store’s settings, and each customer only what is theirs',
  { skip: withoutNginx },
  async (t) => {
    const store = { moreViews: [{ id: 2, code: 'de', locale: 'de_DE' }] }
    const subgraph = await startSubgraph(t, { store })
    const origin = await subgraph.app.listen({ port: 0, host: '127.0.0.1' })
    const gateway = await buildGateway({
      supergraph: join(import.meta.dirname, '../../schema/supergraph.graphql'),
      subgraphUrls: { customers: `${origin}/graphql` },
      tokenKeys: { jwksUrl: `${origin}/.well-known/jwks.json` },
      tokenStatus: { url: `${origin}/introspect` },
    })
    t.teardown(() => gateway.close())
    const get = await startProxy(t, await gateway.listen({ port: 0, host: '127.0.0.1' }))
    const [ann, bob] = [await signUp(subgraph.send), await signUp(subgraph.send)]
    const as = ({ token }: { token: string }) => ({ authorization: `Bearer ${token}` })

    await t.test('hits', async (t) => {
      const first = await get('{ countries { id } }')
      t.equal(first.cache, 'MISS')
      t.equal(first.headers.get('cache-control'), 'public, max-age=300')
      const second = await get('{ countries { id } }')
      t.equal(second.cache, 'HIT')
      t.same(second.body, first.body)
      t.equal((await get('{ countries { two_letter_abbreviation } }')).cache, 'MISS', 'another document')
      const one = 'query($id: String) { country(id: $id) { id } }'
      const of = async (id: string) => {
        const { body, cache } = await get(one, {}, { variables: JSON.stringify({ id }) })
        return [cache, (body.data?.country as Json | undefined)?.id]
      }
      t.same(
        [await of('DE'), await of('US'), await of('DE')],
        [
          ['MISS', 'DE'],
          ['MISS', 'US'],
          ['HIT', 'DE'],
        ],
      )
    })

    await t.test('another store is another answer', async (t) => {
      const of = async (store: string | undefined) => {
        const { body, cache } = await get('{ storeConfig { locale } }', store === undefined ? {} : { store })
        return [cache, (body.data?.storeConfig as Json | undefined)?.locale]
      }
      t.same(await of(undefined), ['MISS', 'en_US'])
      t.same(await of('de'), ['MISS', 'de_DE'])
      t.same(await of(undefined), ['HIT', 'en_US'])
      t.same(await of('de'), ['HIT', 'de_DE'])
      t.equal(
        (await get('{ storeConfig { locale } }', { store: 'nowhere' })).body.errors?.[0]?.message,
        'Requested store is not found',
      )
      t.equal((await get('{ storeConfig { locale } }', { store: 'nowhere' })).cache, 'MISS')
    })

    await t.test('what a token was looked at for reaches nobody else', async (t) => {
      const query = '{ customer { email } storeConfig { locale } }'
      for (let round = 0; round < 2; round++) {
        for (const who of [ann, bob]) {
          const { body, cache } = await get(query, as(who))
          t.equal(cache, 'MISS')
          t.same(body.data?.customer, { email: who.email })
        }
        const guest = await get(query)
        t.equal(guest.cache, 'MISS')
        t.equal(guest.body.data?.customer, null)
        t.equal(guest.body.errors?.length, 1)
      }
      // The guests' answer is stored: a token, also a forged one, does not get it.
      await get('{ storeConfig { store_code } }')
      t.equal((await get('{ storeConfig { store_code } }')).cache, 'HIT')
      t.equal((await get('{ storeConfig { store_code } }', as(ann))).cache, 'MISS')
      t.equal((await get('{ storeConfig { store_code } }', as({ token: 'forged' }))).status, 401)
      t.equal((await get('{ storeConfig { store_code } }')).cache, 'HIT')
      await get('{ storeConfig { id } }', as(ann))
      t.equal((await get('{ storeConfig { id } }')).cache, 'MISS', 'nor do guests get one of a token')
    })
  },
)

t.test(
  'nginx lets answers expire, asks whether they are still right, and keeps encodings apart',
  { skip: withoutNginx },
  async (t) => {
    const told = { text: 'first '.repeat(500), calls: 0, control: 'max-age=2' }
    const url = await serve(t, ({ response }) => {
      told.calls++
      response
        .writeHead(200, { 'content-type': 'application/json', 'cache-control': told.control })
        .end(JSON.stringify({ data: { text: told.text, other: told.text } }))
    })
    const gateway = await startGateway(t, {
      supergraph: compose(t, { a: { sdl: 'type Query { text: String other: String }', url } }),
    })
    const get = await startProxy(t, gateway.base)
    const ask = async (query: string, headers: Record<string, string> = {}) => {
      const { cache, body, headers: got } = await get(query, { 'accept-encoding': 'identity', ...headers })
      return [
        cache,
        String(Object.values(body.data ?? {})[0])
          .slice(0, 6)
          .trim(),
        got.get('content-encoding'),
      ]
    }
    t.same(await ask('{ text }'), ['MISS', 'first', null])
    told.text = 'second '.repeat(500)
    t.same(await ask('{ text }'), ['HIT', 'first', null])
    t.equal(told.calls, 1)
    told.control = 'max-age=1'
    /** Asks until the stored answer has expired. */
    const askLater = () =>
      until('it has expired', async () => {
        const answer = await ask('{ text }')
        return answer[0] !== 'HIT' && answer
      })
    t.same(await askLater(), ['EXPIRED', 'second', null])
    t.equal(told.calls, 2)
    t.same(await askLater(), ['REVALIDATED', 'second', null], 'by its ETag, without the body')
    t.equal(told.calls, 3)

    told.control = 'max-age=60'
    for (const encoding of ['gzip', 'br']) {
      t.same(await ask('{ other }', { 'accept-encoding': encoding }), ['MISS', 'second', encoding])
      t.same(await ask('{ other }', { 'accept-encoding': encoding }), ['HIT', 'second', encoding])
    }
    t.same(await ask('{ other }'), ['MISS', 'second', null])
    t.same(await ask('{ other }'), ['HIT', 'second', null])
  },
)
