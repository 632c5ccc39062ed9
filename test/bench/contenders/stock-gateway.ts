/** Stock @apollo/server with stock @apollo/gateway, set up as their documentation does. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ApolloGateway, RemoteGraphQLDataSource } from '@apollo/gateway'
import { ApolloServer } from '@apollo/server'
import { startStandaloneServer } from '@apollo/server/standalone'
import { options, ready } from './contender.ts'

interface Context {
  readonly authorization?: string
}
type Willing = NonNullable<RemoteGraphQLDataSource<Context>['willSendRequest']>

class ForwardAuthorization extends RemoteGraphQLDataSource<Context> {
  override willSendRequest({ request, context }: Parameters<Willing>[0]) {
    if (context.authorization) request.http?.headers.set('authorization', context.authorization)
  }
}

const sample = join(import.meta.dirname, '../../../examples/commerce/supergraph.graphql')
const { supergraph = sample, subgraphs = {} } = options<{ supergraph?: string; subgraphs?: Record<string, string> }>()
const gateway = new ApolloGateway({
  supergraphSdl: readFileSync(supergraph, 'utf8'),
  buildService: ({ name, url }) => new ForwardAuthorization({ url: subgraphs[name] ?? url ?? '' }),
})
const { url } = await startStandaloneServer(new ApolloServer({ gateway }), {
  listen: { port: 0, host: '127.0.0.1' },
  context: async ({ req: { headers } }): Promise<Context> =>
    headers.authorization ? { authorization: headers.authorization } : {},
})
ready(new URL(url).origin)
