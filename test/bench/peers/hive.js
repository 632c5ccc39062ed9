/** Hive Gateway in a process of ours, as its documentation sets it up; with `native` its planner in Rust. */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createGatewayRuntime } from '@graphql-hive/gateway-runtime'
import { unifiedGraphHandler } from '@graphql-hive/router-runtime'
import { options, ready } from '../contenders/contender.ts'

const { supergraph, native } = options()
const runtime = createGatewayRuntime({
  supergraph: readFileSync(supergraph, 'utf8'),
  ...(native && { unifiedGraphHandler }),
  propagateHeaders: {
    fromClientToSubgraphs: ({ request }) => ({ authorization: request.headers.get('authorization') }),
  },
  disableIntrospection: { disableIf: () => true },
  graphiql: false,
  landingPage: false,
  logging: 'warn',
})
const server = createServer(runtime)
server.listen(0, '127.0.0.1', () => ready(`http://127.0.0.1:${server.address().port}`))
