/** `/healthz`, `/readyz` and `/metrics`. */
import type { FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import type { EventStore } from '../../eventstore/port.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { answersProbe } from '../../runtime/time-limits.ts'
import type { Customers } from '../customers/customers.ts'

export function serveProbes(
  app: FastifyInstance,
  options: {
    readonly eventStore: EventStore
    readonly readModel: ReadModel
    readonly customers: Customers
    readonly isOverloaded: () => boolean
    readonly registry: Registry
  },
): void {
  const { eventStore, readModel, customers, isOverloaded, registry } = options
  app.get('/healthz', async () => ({ status: 'ok' }))
  app.get('/metrics', async (_, reply) => reply.type(registry.contentType).send(await registry.metrics()))

  app.get('/readyz', async (_, reply) => {
    const [reached, readable, writable] = await Promise.all(
      [eventStore.ping(), readModel.ping(), readModel.probe()].map(answersProbe),
    )
    // Without the read model, or without its documents, queries are answered from the streams, so that is no reason to
    // take all instances out of service. A single instance that is cut off should be taken out, because its fence makes
    // all others fold.
    // Without the event store, no mutation works.
    const [isAlone, overloaded] = [customers.isAlone(), isOverloaded()]
    const ready = reached && !isAlone && !overloaded
    return reply.code(ready ? 200 : 503).send({
      ready,
      eventStore: reached,
      readModel: readable,
      readModelWrites: writable,
      degraded: !(readable && writable) || customers.isFenced(),
      cutOff: isAlone,
      overloaded,
    })
  })
}
