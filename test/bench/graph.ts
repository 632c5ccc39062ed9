/** The graph of the gateway benches: three subgraphs, their data, and what its queries answer. Federation 1 SDL: all rivals read it. */

export const SUBGRAPHS = {
  users: `
    extend type Query { me: User users: [User!]! }
    type User @key(fields: "id") { id: ID! name: String! email: String! }
  `,
  reviews: `
    extend type User @key(fields: "id") { id: ID! @external reviewCount: Int! reviews: [Review!]! }
    type Review @key(fields: "id") { id: ID! body: String! product: Product! }
    extend type Product @key(fields: "upc") { upc: String! @external }
  `,
  products: `
    extend type Query { product(upc: String!): Product }
    type Product @key(fields: "upc") { upc: String! name: String! price: Int! }
  `,
} as const

/** URLs of the subgraphs. */
export type SubgraphUrls = Readonly<Record<keyof typeof SUBGRAPHS, string>>

export const users = Array.from({ length: 25 }, (_, index) => ({
  id: `${index + 1}`,
  name: `Customer number ${index + 1}`,
  email: `customer${index + 1}@example.com`,
}))

export const product = (upc: string) => ({ upc, name: `Product ${upc} of the catalogue`, price: 100 + upc.length })

/** Five of each user; all together over fifty products. */
export const reviews = (userId: string) =>
  Array.from({ length: 5 }, (_, index) => {
    const number = (Number(userId) - 1) * 5 + index
    return {
      id: `review-${number}`,
      body: `Review ${number}: arrived in time, works as described, would buy it again.`,
      product: { upc: `upc-${number % 50}` },
    }
  })

/** One entity hop: from users to reviews. */
export const hop = {
  selection: '{ me { id name email reviewCount } }',
  answer: { data: { me: { ...users[0], reviewCount: 5 } } },
}

/** Three levels, each of another subgraph: 24 kB. */
export const list = {
  selection: '{ users { id name reviews { id body product { upc name price } } } }',
  answer: {
    data: {
      users: users.map(({ id, name }) => ({
        id,
        name,
        reviews: reviews(id).map((review) => ({ ...review, product: product(review.product.upc) })),
      })),
    },
  },
}
