/** A Fastify route that makes the two calls of the bench's gateway query, one after the other, and joins their answers. */
import Fastify from 'fastify'
import { subgraph } from './calls.ts'
import { options, ready } from './contender.ts'

const { subgraphs } = options<{ subgraphs: { customers: string; orders: string } }>()
const customers = subgraph(subgraphs.customers)
const orders = subgraph(subgraphs.orders)

const app = Fastify()
app.post('/graphql', async ({ headers: { authorization = '' } }) => {
  const { customer } = await customers({ query: '{customer{__typename id email}}' }, authorization)
  const { id, email } = customer
  const { _entities } = await orders(
    {
      query:
        'query($representations:[_Any!]!){_entities(representations:$representations){...on Customer{orders{number}}}}',
      variables: { representations: [{ __typename: 'Customer', id }] },
    },
    authorization,
  )
  return { data: { customer: { id, email, orders: _entities[0].orders } } }
})
ready(await app.listen({ port: 0, host: '127.0.0.1' }))
