/** EXAMPLE: loyalty points, as a subgraph that extends `Customer`. Copy it: docs/own-subgraph.md explains it. */
import { readFileSync } from 'node:fs'
import { buildSubgraphSchema } from '@apollo/subgraph'
import Fastify from 'fastify'
import { GraphQLError, parse } from 'graphql'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import mercurius from 'mercurius'

const customers = process.env.CUSTOMERS_URL || 'http://127.0.0.1:4001'
const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', customers))

/** Tokens of customers, for this graph: TOKEN_ISSUER and TOKEN_AUDIENCE of the customer subgraph. */
const expected = {
  issuer: process.env.TOKEN_ISSUER || 'customers',
  audience: process.env.TOKEN_AUDIENCE || 'graph',
  algorithms: ['EdDSA'],
  requiredClaims: ['sub', 'exp'],
}

/** The number of the customer whose token came with the request; undefined without a token that counts. */
async function customerOf(authorization = '') {
  const token = authorization.replace(/^Bearer /i, '')
  const verified = await jwtVerify(token, keys, expected).catch(() => undefined)
  return verified && Number(verified.payload.sub)
}

const pointsOf = (id) => id * 100 // yours come from a database

const typeDefs = parse(readFileSync(new URL('./loyalty.graphql', import.meta.url), 'utf8'))
const resolvers = {
  Customer: {
    // The gateway names customers by their key.
    __resolveReference: ({ id }) => ({ id }),
    loyaltyPoints: async ({ id }, _arguments, { caller }) => {
      if ((await caller) === id) return pointsOf(id)
      throw new GraphQLError("The current customer isn't authorized.", { extensions: { code: 'FORBIDDEN' } })
    },
  },
}

const app = Fastify({ logger: { level: 'warn' } })
app.register(mercurius, {
  schema: buildSubgraphSchema({ typeDefs, resolvers }),
  context: ({ headers }) => ({ caller: customerOf(headers.authorization) }),
})
const url = await app.listen({ port: Number(process.env.PORT ?? 4010) })
console.log(`Loyalty subgraph: ${url}/graphql`)
