/** Benches of requests over HTTP: contenders side by side under the same load. */
import type { Comparison } from './compare.ts'
import { addCustomers } from './customers.ts'
import type { StartContender } from './processes.ts'
import type { Servers } from './servers.ts'
import type { StoreOptions } from './stores.ts'

/** Starts what it compares. */
export type RequestBench = (start: StartContender, servers: Servers) => Promise<Comparison>

/** As many as there are connections: each signs in as one of them. */
const CUSTOMERS = 64

export const requestBenches: Readonly<Record<string, RequestBench>> = {
  /**
   * The subgraph's query; a route that reads the same document with the driver and answers the same; the same route over
   * the read model, so that only GraphQL and the token are left between the two. All are sent the same body.
   */
  query: (start, { folder }) => query(start, { folder: folder() }, 'query', { bare: 0.85, readModel: 0.75 }),

  /** The same on Redis, where the bare route makes the same call for each request. */
  'query-redis': async (start, { folder, redis }) =>
    query(start, { folder: folder(), readModelUrl: await redis() }, 'query, Redis', { bare: 1.2, readModel: 0.75 }),

  /** A mutation that changes something each time; a route that appends the event that it appends. */
  mutation: (start, { folder }) =>
    mutation(start, async () => ({ folder: folder() }), 'bare-append', { name: 'mutation / bare append', aim: 0.6 }),

  /** The same on a KurrentDB test server; the route appends with the official client alone. */
  'mutation-kurrentdb'(start, { folder, eventStore, redis }) {
    const stores = async () => ({
      folder: folder(),
      eventStoreUrl: await eventStore(),
      readModelUrl: await redis(),
    })
    return mutation(start, stores, 'bare-client-append', {
      name: 'mutation, KurrentDB / bare client append',
      aim: 0.75,
    })
  },

  /** The same subgraph without encryption and hash chain: what they cost where a client meets them. */
  'mutation-encryption': (start, { folder }) =>
    mutation(
      start,
      async () => ({ folder: folder() }),
      'subgraph-clear',
      { name: 'mutation, encrypted, chained log / log in clear', aim: 0.9 },
      { path: () => '/graphql', isBare: true },
    ),

  /** The gateway's query over two subgraphs; a route that makes the same two calls; Apollo's own gateway. */
  async gateway(start, { folder }) {
    const stores = { folder: folder() }
    const [customer] = await addCustomers(stores, 1) // the sample orders are the first customer's
    const { id, email, token } = customer as NonNullable<typeof customer>
    const { url, subgraphs } = await start('upstreams', stores)
    const jwksUrl = `${url}/.well-known/jwks.json`
    const orders = ['000000003', '000000002', '000000001'].map((number) => ({ number }))
    const entrant = async (script: string, path: string) => ({
      contender: await start(script, { subgraphs, jwksUrl }),
      exchanges: [
        [
          {
            path,
            body: { query: '{ customer { id email orders { number } } }' },
            token,
            answer: { data: { customer: { id, email, orders } } },
          },
        ],
      ],
    })
    const [ours, bare, stock] = await Promise.all([
      entrant('gateway', '/graphql'),
      entrant('bare-gateway', '/graphql'),
      entrant('stock-gateway', '/'),
    ])
    return {
      ours,
      others: [
        { name: 'gateway / bare calls', aim: 0.4, entrant: bare },
        { name: 'gateway / stock Apollo', aim: 4, entrant: stock },
      ],
    }
  },
}

interface Named {
  readonly name: string
  readonly aim: number
}

async function query(
  start: StartContender,
  stores: StoreOptions,
  name: string,
  aims: { readonly bare: number; readonly readModel: number },
): Promise<Comparison> {
  const customers = await addCustomers(stores, CUSTOMERS)
  const body = { query: '{ customer { id email firstname addresses { city } } }' }
  const entrant = async (script: string, path: (id: number) => string) => ({
    contender: await start(script, stores),
    exchanges: customers.map(({ id, email, token }) => [
      {
        path: path(id),
        body,
        token,
        answer: { data: { customer: { id, email, firstname: 'Ann', addresses: [{ city: 'Austin' }] } } },
      },
    ]),
  })
  const route = (id: number) => `/customers/${id}`
  const [ours, bare, readModel] = await Promise.all([
    entrant('subgraph', () => '/graphql'),
    entrant('bare-query', route),
    entrant('read-model-query', route),
  ])
  return {
    ours,
    others: [
      { name: `${name} / bare route`, aim: aims.bare, entrant: bare },
      { name: `${name} / route on the read model`, aim: aims.readModel, entrant: readModel },
    ],
  }
}

/** @param rival the contender beside ours */
async function mutation(
  start: StartContender,
  freshStores: () => Promise<StoreOptions>,
  rival: string,
  named: Named,
  { path, isBare }: { readonly path: (id: number) => string; readonly isBare: boolean } = {
    path: (id) => `/customers/${id}`,
    isBare: false,
  },
): Promise<Comparison> {
  const query = 'mutation($input: CustomerInput!) { updateCustomer(input: $input) { customer { firstname } } }'
  const entrant = async (script: string, path: (id: number) => string, isBare: boolean) => {
    const stores = { ...(await freshStores()), isBare }
    const customers = await addCustomers(stores, CUSTOMERS)
    return {
      contender: await start(script, stores),
      exchanges: customers.map(({ id, token }) =>
        ['Bob', 'Ann'].map((firstname) => ({
          path: path(id),
          body: { query, variables: { input: { firstname } } },
          token,
          answer: { data: { updateCustomer: { customer: { firstname } } } },
        })),
      ),
    }
  }
  const [ours, other] = await Promise.all([entrant('subgraph', () => '/graphql', false), entrant(rival, path, isBare)])
  return { ours, others: [{ ...named, entrant: other }] }
}
