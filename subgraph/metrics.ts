/** The subgraph's metrics, beside those of the process. */
import { Counter } from 'prom-client'
import { createHistogram } from '../runtime/histogram.ts'
import { createRegistry } from '../runtime/metrics.ts'

export type SubgraphMetrics = ReturnType<typeof createMetrics>

export function createMetrics() {
  const registry = createRegistry('subgraph')
  const registers = [registry]
  return {
    registry,
    reads: new Counter({
      name: 'customer_reads_total',
      help: 'Customer queries by what answered them: the read model, or the folded stream where the read model was behind or away.',
      labelNames: ['source'],
      registers,
    }),
    appends: createHistogram({
      name: 'eventstore_append_seconds',
      help: 'How long appends took, by what came of them.',
      labelNames: ['outcome'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5],
      registers,
    }),
    conflicts: new Counter({
      name: 'eventstore_append_conflicts_total',
      help: 'Appends that failed because of another writer; the command decides again.',
      registers,
    }),
    errors: new Counter({
      name: 'graphql_errors_total',
      help: 'Errors answered, by extensions.code.',
      labelNames: ['code'],
      registers,
    }),
    unrecorded: new Counter({
      name: 'access_records_failed_total',
      help: 'Sign-ins and the like whose record could not be written.',
      registers,
    }),
    access: new Counter({
      name: 'customer_access_total',
      help: 'Sign-ins, refused passwords, lockouts and the like, by kind.',
      labelNames: ['kind'],
      registers,
    }),
    hashes: new Counter({
      name: 'password_hashes_total',
      help: 'Hashes made to check passwords at sign-in, by kind: a wrong password costs one of each kind that the store holds.',
      labelNames: ['kind'],
      registers,
    }),
    operations: new Counter({
      name: 'customer_operations_total',
      help: 'Root fields answered, by name and by whether with an error.',
      labelNames: ['operation', 'outcome'],
      registers,
    }),
    cancelled: new Counter({
      name: 'graphql_requests_cancelled_total',
      help: 'Requests whose client was gone before the answer.',
      registers,
    }),
    shed: new Counter({
      name: 'load_shed_total',
      help: 'Requests answered 503 because the event loop or the heap was too full.',
      registers,
    }),
  }
}
