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
    readonly isFenced: () => boolean
    readonly isOverloaded: () => boolean
    readonly registry: Registry
  },
): void {
  const { eventStore, readModel, customers, isFenced, isOverloaded, registry } = options
  app.get('/healthz', async () => ({ status: 'ok' }))
  app.get('/metrics', async (_, reply) => reply.type(registry.contentType).send(await registry.metrics()))

  let hasReached = false
  app.get('/readyz', async (_, reply) => {
    const [reached, readable, writable] = await Promise.all(
      [eventStore.ping(), readModel.ping(), readModel.probe()].map(answersProbe),
    )
    // Without the read model, or without its documents, queries are answered from the streams, so that is no reason to
    // take all instances out of service. A single instance that is cut off should be taken out, because its fence makes
    // all others fold.
    // While the event store is away no mutation works, and queries are answered from the documents. It is mostly away for all
    // instances: if each were taken out of service, nobody would answer anything. Without it the documents are believed only
    // by an instance whose own writes succeed. One that has never reached it is not ready, so a release with a wrong address
    // does not replace one that works.
    if (reached) hasReached = true
    const [isAlone, overloaded] = [customers.isAlone(), isOverloaded()]
    const fenced = isFenced()
    const answers = reached || (hasReached && readable && writable && !fenced)
    const ready = answers && !isAlone && !overloaded
    return reply.code(ready ? 200 : 503).send({
      ready,
      eventStore: reached,
      readModel: readable,
      readModelWrites: writable,
      degraded: !(reached && readable && writable) || fenced,
      cutOff: isAlone,
      overloaded,
    })
  })
}
