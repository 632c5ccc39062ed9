/** SAMPLE subgraphs, catalogue and orders, in one server. Not for production. */
import Fastify, { type FastifyInstance, type FastifyRequest, type FastifyServerOptions, LogController } from 'fastify'
import { createTokenVerifier, type KeySource } from '../../gateway/authentication/token-verifier.ts'
import { endingConnections } from '../../runtime/ending-connections.ts'
import type { TokenNames } from '../../runtime/token-names.ts'
import { catalogSchema } from './catalog.ts'
import { serveSubgraph } from './mercurius.ts'
import { type OrdersContext, ordersSchema } from './orders.ts'

export interface SamplesOptions {
  /** Against which keys the order subgraph verifies customers' tokens. */
  readonly keys: KeySource
  /** Whom these tokens have to name. Default: the customer subgraph's defaults. */
  readonly names?: TokenNames | undefined
  /** Fastify's logger option; nothing is logged without it. */
  readonly logger?: NonNullable<FastifyServerOptions['logger']>
}

/** Both sample subgraphs: `/catalog/graphql` and `/orders/graphql`. The caller listens and closes. */
export async function buildSamples({ keys, names, logger = false }: SamplesOptions): Promise<FastifyInstance> {
  const app = Fastify({ logger, logController: new LogController({ disableRequestLogging: true }) })
  // Without this a connection that is busy while the server closes stays open until its client ends it.
  let closing = false
  const endConnections = endingConnections(app.server)
  app.addHook('preClose', async () => {
    closing = true
    endConnections()
  })
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (closing) reply.header('connection', 'close')
    done()
  })
  app.get('/healthz', () => ({ status: 'ok' }))

  const verify = createTokenVerifier({ keys, names })
  const ordersContext = ({ headers }: FastifyRequest): OrdersContext => {
    let id: Promise<string | undefined> | undefined
    return {
      customerId: () => {
        const token = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1]
        id ??= token ? verify(token) : Promise.resolve(undefined)
        return id
      },
    }
  }
  await app.register((part) => serveSubgraph(part, catalogSchema(), () => ({})), { prefix: '/catalog' })
  await app.register((part) => serveSubgraph(part, ordersSchema(), ordersContext), { prefix: '/orders' })
  return app
}
