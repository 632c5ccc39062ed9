/** SAMPLE subgraph: a product catalogue with data of its own. */
import { readFileSync } from 'node:fs'
import { buildSubgraphSchema } from '@apollo/subgraph'
import { parse } from 'graphql'

interface Product {
  readonly sku: string
  readonly name: string
  readonly price: { readonly value: number; readonly currency: string }
}

const product = (sku: string, name: string, value: number): [string, Product] => [
  sku,
  { sku, name, price: { value, currency: 'USD' } },
]

const products = new Map<string, Product>([
  product('24-MB01', 'Joust Duffle Bag', 34),
  product('24-UG06', 'Affirm Water Bottle', 7),
  product('24-WG080', 'Sprite Yoga Companion Kit', 61),
  product('24-WG085', 'Sprite Yoga Strap 6 foot', 14),
  product('MS04-M-Blue', 'Gobi HeatTec Tee', 29),
])

// A copy for each answer: @apollo/subgraph writes __typename into what a reference resolves to.
const find = (sku: string) => {
  const found = products.get(sku)
  return found ? { ...found } : null
}

/** The catalogue's executable schema. Its data are in memory, so a batch of references costs one look-up each. */
export function catalogSchema() {
  return buildSubgraphSchema({
    typeDefs: parse(readFileSync(new URL('./catalog.graphql', import.meta.url), 'utf8')),
    resolvers: {
      Query: {
        products: () => [...products.values()],
        product: (_root: unknown, { sku }: { sku: string }) => find(sku),
      },
      Product: { __resolveReference: ({ sku }: { sku: string }) => find(sku) },
    },
  })
}
