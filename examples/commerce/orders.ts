/** SAMPLE subgraph: order history with data of its own, shown only to the customer whose orders they are. */
import { readFileSync } from 'node:fs'
import { buildSubgraphSchema } from '@apollo/subgraph'
import { GraphQLError, parse } from 'graphql'
import { InvalidToken } from '../../gateway/authentication/token-verifier.ts'

/** What the resolvers know of a request. */
export interface OrdersContext {
  /** The id that the request's bearer token was issued to; undefined without a token. Throws InvalidToken for a bad one. */
  readonly customerId: () => Promise<string | undefined>
}

interface Item {
  readonly product_sku: string
  readonly quantity: number
}

const order = (number: string, order_date: string, status: string, total: number, items: readonly Item[]) => ({
  number,
  order_date,
  status,
  total: { value: total, currency: 'USD' },
  items: items.map((item) => ({ ...item, product: { sku: item.product_sku } })),
})

/** By customer id: the first customer to register has some. */
const orders = new Map([
  [
    '1',
    [
      order('000000003', '2025-03-02 18:20:41', 'Processing', 75, [
        { product_sku: '24-WG080', quantity: 1 },
        { product_sku: '24-UG06', quantity: 2 },
      ]),
      order('000000002', '2024-12-19 08:05:10', 'Complete', 92, [
        { product_sku: '24-MB01', quantity: 1 },
        { product_sku: 'MS04-M-Blue', quantity: 2 },
      ]),
      order('000000001', '2024-11-30 13:44:02', 'Complete', 28, [{ product_sku: '24-WG085', quantity: 2 }]),
    ],
  ],
])

const notAuthorized = (code: 'UNAUTHENTICATED' | 'FORBIDDEN') =>
  new GraphQLError("The current customer isn't authorized.", {
    extensions: { category: 'graphql-authorization', code },
  })

/** The order subgraph's executable schema. The token is verified once for a request, however many customers it names. */
export function ordersSchema() {
  return buildSubgraphSchema({
    typeDefs: parse(readFileSync(new URL('./orders.graphql', import.meta.url), 'utf8')),
    resolvers: {
      Customer: {
        __resolveReference: ({ id }: { id: number }) => ({ id }),
        orders: async ({ id }: { id: number }, _arguments: unknown, context: unknown) => {
          const caller = await (context as OrdersContext).customerId().catch((error: unknown) => {
            if (error instanceof InvalidToken) return undefined
            throw error
          })
          if (caller === undefined) throw notAuthorized('UNAUTHENTICATED')
          if (caller !== String(id)) throw notAuthorized('FORBIDDEN')
          return orders.get(caller) ?? []
        },
      },
    },
  })
}
