/** The gateway's Prometheus metrics. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** `rejected`: not executed; `errors`: executed, with errors in the answer. */
export type Outcome = 'success' | 'errors' | 'rejected' | 'failed'

export type Metrics = {
  /** Counts one request. @param seconds from its arrival to its answer */
  readonly request: (type: string, outcome: Outcome, seconds: number) => void
  /** Counts a subgraph call without a usable answer. */
  readonly subgraphFailure: (service: string) => void
  /** Says which supergraph is served from now on. */
  readonly supergraph: (hash: string) => void
  /** Counts a supergraph file that could not be loaded. */
  readonly supergraphFailure: () => void
  readonly contentType: string
  /** Everything, in Prometheus' text format. */
  readonly text: () => Promise<string>
}

/** Metrics in a registry of their own, so that several servers of one process do not mix. */
export function createMetrics(): Metrics {
  const register = new Registry()
  collectDefaultMetrics({ register })
  const registers = [register]
  const requests = new Counter({
    name: 'gateway_requests_total',
    help: 'GraphQL requests by operation type and outcome.',
    labelNames: ['type', 'outcome'] as const,
    registers,
  })
  const durations = new Histogram({
    name: 'gateway_request_duration_seconds',
    help: 'Time from the arrival of a GraphQL request to its answer.',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  })
  const failures = new Counter({
    name: 'gateway_subgraph_failures_total',
    help: 'Subgraph calls without a usable answer.',
    labelNames: ['service'] as const,
    registers,
  })
  const info = new Gauge({
    name: 'gateway_supergraph_info',
    help: 'Always 1; the label says which supergraph is served.',
    labelNames: ['hash'] as const,
    registers,
  })
  const loadFailures = new Counter({
    name: 'gateway_supergraph_load_failures_total',
    help: 'Changed supergraph files that could not be loaded.',
    registers,
  })
  return {
    request: (type, outcome, seconds) => {
      requests.inc({ type, outcome })
      durations.observe(seconds)
    },
    subgraphFailure: (service) => failures.inc({ service }),
    supergraph: (hash) => {
      info.reset()
      info.set({ hash }, 1)
    },
    supergraphFailure: () => loadFailures.inc(),
    contentType: register.contentType,
    text: () => register.metrics(),
  }
}
