/** Mercurius' gateway with its JIT compiler, each document compiled when it first comes. */
import gateway from '@mercuriusjs/gateway'
import Fastify from 'fastify'
import { options, ready } from '../contenders/contender.ts'

const { subgraphs } = options()
const app = Fastify()
await app.register(gateway, {
  jit: 1,
  gateway: {
    services: Object.entries(subgraphs).map(([name, url]) => ({
      name,
      url,
      connections: 64,
      rewriteHeaders: ({ authorization }) => ({ authorization }),
    })),
  },
})
ready(await app.listen({ port: 0, host: '127.0.0.1' }))
