/**
 * The subgraphs of the gateway benches, and the key set of their tokens, on plain node:http. A body is executed once; every
 * later one of the same text gets the same bytes, so that it is the gateways that are measured.
 */
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buildSubgraphSchema } from '@apollo/subgraph'
import { type GraphQLSchema, graphql, parse } from 'graphql'
import { product, reviews, SUBGRAPHS, users } from '../graph.ts'
import { options, ready } from './contender.ts'

interface Key {
  readonly id: string
  readonly upc: string
}
const resolvers = {
  users: {
    Query: { me: () => users[0], users: () => users },
    User: { __resolveReference: ({ id }: Key) => users.find((user) => user.id === id) },
  },
  reviews: {
    User: { reviewCount: ({ id }: Key) => reviews(id).length, reviews: ({ id }: Key) => reviews(id) },
  },
  products: {
    Query: { product: (_: unknown, { upc }: Key) => product(upc) },
    Product: { __resolveReference: ({ upc }: Key) => product(upc) },
  },
}
const names = ['users', 'reviews', 'products'] as const
const subgraphs = new Map(
  names.map((name) => [
    `/${name}`,
    {
      schema: buildSubgraphSchema({ typeDefs: parse(SUBGRAPHS[name]), resolvers: resolvers[name] }),
      answers: new Map<string, string>(),
    },
  ]),
)
const KEPT = 1000

async function execute(schema: GraphQLSchema, body: string): Promise<string> {
  const { query, variables, operationName } = JSON.parse(body)
  return JSON.stringify(await graphql({ schema, source: query, variableValues: variables, operationName }))
}

/** Texts are ASCII: head and body leave in one write. */
function send(response: ServerResponse, body: string): void {
  response.sendDate = false
  const headers = ['content-type', 'application/json', 'content-length', String(body.length)]
  response.writeHead(200, cacheControl === undefined ? headers : [...headers, 'cache-control', cacheControl])
  response.end(body, 'latin1')
}

const { cacheControl, jwks: keys } = options<{ jwks: object; cacheControl?: string }>()
const jwks = JSON.stringify(keys)
const server = createServer((request, response) => {
  const { url = '' } = request
  const subgraph = subgraphs.get(url) ?? subgraphs.get(url.split('?')[0] ?? '')
  if (!subgraph) return send(response, jwks)
  const { schema, answers } = subgraph
  let body = ''
  request.on('data', (chunk: Buffer) => {
    body += chunk.toString('latin1')
  })
  request.on('end', async () => {
    let answer = answers.get(body)
    if (answer === undefined) {
      answer = await execute(schema, body)
      if (answers.size === KEPT) answers.clear()
      answers.set(body, answer)
    }
    send(response, answer)
  })
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  ready(url, Object.fromEntries(names.map((name) => [name, `${url}/${name}`])))
})
