/** Fastify routes that make the calls of the gateway benches' queries, one after the other, and join their answers. */
import Fastify from 'fastify'
import type { product, reviews, SubgraphUrls, users } from '../graph.ts'
import { subgraph } from './calls.ts'
import { options, ready } from './contender.ts'

type User = (typeof users)[number]
type Product = ReturnType<typeof product>
interface Reviewed {
  readonly reviews: ReturnType<typeof reviews>
}

const { subgraphs } = options<{ subgraphs: SubgraphUrls }>()
const [usersOf, reviewsOf, productsOf] = [subgraphs.users, subgraphs.reviews, subgraphs.products].map(subgraph) as [
  ReturnType<typeof subgraph>,
  ReturnType<typeof subgraph>,
  ReturnType<typeof subgraph>,
]
const entities = (selection: string, representations: object[]) => ({
  query: `query($representations:[_Any!]!){_entities(representations:$representations){${selection}}}`,
  variables: { representations },
})

const app = Fastify()

app.post('/hop', async ({ headers: { authorization = '' } }) => {
  const { me } = await usersOf({ query: '{me{__typename id name email}}' }, authorization)
  const { id, name, email } = me
  const { _entities } = await reviewsOf(
    entities('...on User{reviewCount}', [{ __typename: 'User', id }]),
    authorization,
  )
  return { data: { me: { id, name, email, reviewCount: _entities[0].reviewCount } } }
})

app.post('/list', async ({ headers: { authorization = '' } }) => {
  const { users }: { users: User[] } = await usersOf({ query: '{users{__typename id name}}' }, authorization)
  const { _entities: reviewed }: { _entities: Reviewed[] } = await reviewsOf(
    entities(
      '...on User{reviews{id body product{__typename upc}}}',
      users.map(({ id }) => ({ __typename: 'User', id })),
    ),
    authorization,
  )
  const upcs = [...new Set(reviewed.flatMap(({ reviews }) => reviews.map(({ product: { upc } }) => upc)))]
  const { _entities: found }: { _entities: Product[] } = await productsOf(
    entities(
      '...on Product{name price}',
      upcs.map((upc) => ({ __typename: 'Product', upc })),
    ),
    authorization,
  )
  const products = new Map(upcs.map((upc, index) => [upc, found[index] as Product]))
  return {
    data: {
      users: users.map(({ id, name }, index) => ({
        id,
        name,
        reviews: (reviewed[index] as Reviewed).reviews.map(({ id, body, product: { upc } }) => {
          const { name, price } = products.get(upc) as Product
          return { id, body, product: { upc, name, price } }
        }),
      })),
    },
  }
})
ready(await app.listen({ port: 0, host: '127.0.0.1' }))
