/** The gateway's Prometheus metrics. */
import { Counter, Gauge, type Registry } from 'prom-client'
import { createHistogram } from '../runtime/histogram.ts'
import { createRegistry } from '../runtime/metrics.ts'
import { createSubgraphMetrics, DURATION_BUCKETS, type SubgraphMetrics } from './subgraphs/metrics.ts'
import { createSubscriptionMetrics, type SubscriptionMetrics } from './subscriptions/metrics.ts'

/**
 * `rejected`: not executed; `errors`: executed, with errors in the answer; `cancelled`: the client went away before.
 */
export type Outcome = 'success' | 'errors' | 'rejected' | 'failed' | 'cancelled'

/** Counts a request. @param seconds from its arrival to its answer */
export type CountRequest = (outcome: Outcome, seconds: number) => void

export interface Metrics extends SubgraphMetrics, SubscriptionMetrics {
  /** Returns the counter for an operation's requests, looked up once. Only the first names get series of their own. */
  readonly operation: (name: string, type: string) => CountRequest
  /** Counts a request whose answer has an error that is the service's own fault. */
  readonly fault: (type: string) => void
  /** Counts a request that a limit refused. */
  readonly limited: (bucket: string) => void
  /** Counts a check of a token's status. */
  readonly tokenCheck: (outcome: string) => void
  /** Counts a fetch of an issuer's keys. */
  readonly keyFetch: (issuer: string, outcome: 'fetched' | 'failed') => void
  /** Counts a hook of a plugin that failed. */
  readonly pluginFailure: (plugin: string, hook: string) => void
  /** Counts a request that was refused because of too much load. */
  readonly shed: () => void
  /** Records which supergraph is served from now on. */
  readonly supergraph: (hash: string) => void
  /** Records that the file's supergraph is served. */
  readonly supergraphCurrent: () => void
  /** Counts a supergraph file that could not be loaded: the one before stays. */
  readonly supergraphFailure: () => void
  /** Where all of them are registered; plugins may add theirs. */
  readonly registry: Registry
  readonly contentType: string
  /** Everything, in Prometheus' text format. */
  readonly text: () => Promise<string>
}

/** Operation names with series of their own: clients choose them, and a series costs memory for good. */
const NAMES = 200
/** A longer name counts as "other". */
const MAX_NAME = 100
const OTHER = 'other'

/** Metrics in a registry of their own, so that several servers of one process do not mix. */
export function createMetrics(): Metrics {
  const register = createRegistry('gateway')
  const registers = [register]
  const requests = new Counter({
    name: 'gateway_requests_total',
    help: 'GraphQL requests by operation name, type and outcome.',
    labelNames: ['operation', 'type', 'outcome'] as const,
    registers,
  })
  const durations = createHistogram({
    name: 'gateway_request_duration_seconds',
    help: 'Time from the arrival of a GraphQL request to its answer, by operation name and type.',
    labelNames: ['operation', 'type'],
    buckets: DURATION_BUCKETS,
    registers,
  })
  const faults = new Counter({
    name: 'gateway_faulty_answers_total',
    help: "Requests whose answer has an error that is the service's own fault, by type: INTERNAL_SERVER_ERROR, PLUGIN_FAILED, SERVICE_UNAVAILABLE or TOKEN_UNCHECKED.",
    labelNames: ['type'] as const,
    registers,
  })
  // A series that begins with its first fault would hide that fault from rates.
  for (const type of ['query', 'mutation', 'subscription', 'unknown']) faults.inc({ type }, 0)
  const pluginFailures = new Counter({
    name: 'gateway_plugin_failures_total',
    help: 'Hooks of plugins that threw or took too long.',
    labelNames: ['plugin', 'hook'] as const,
    registers,
  })
  const info = new Gauge({
    name: 'gateway_supergraph_info',
    help: 'Always 1; the label says which supergraph is served.',
    labelNames: ['hash'] as const,
    registers,
  })
  const stale = new Gauge({
    name: 'gateway_supergraph_stale',
    help: 'Whether the supergraph file can not be served, so that an earlier one is (1).',
    registers,
  })
  const loadFailures = new Counter({
    name: 'gateway_supergraph_load_failures_total',
    help: 'Changed supergraph files that could not be loaded.',
    registers,
  })
  const names = new Set<string>()
  return {
    ...createSubgraphMetrics(registers),
    ...createSubscriptionMetrics(registers),
    ...createLoadMetrics(registers),
    ...createTokenMetrics(registers),
    operation: (asked, type) => {
      if (!names.has(asked) && names.size < NAMES && asked.length <= MAX_NAME) names.add(asked)
      const operation = names.has(asked) ? asked : OTHER
      const observe = durations.series({ operation, type })
      const counters = new Map<Outcome, { inc(): void }>()
      return (outcome, seconds) => {
        let counter = counters.get(outcome)
        if (!counter) {
          counter = requests.labels({ operation, type, outcome })
          counters.set(outcome, counter)
        }
        counter.inc()
        observe(seconds)
      }
    },
    fault: (type) => faults.inc({ type }),
    pluginFailure: (plugin, hook) => pluginFailures.inc({ plugin, hook }),
    supergraph: (hash) => {
      info.reset()
      info.set({ hash }, 1)
    },
    supergraphCurrent: () => stale.set(0),
    supergraphFailure: () => {
      loadFailures.inc()
      stale.set(1)
    },
    registry: register,
    contentType: register.contentType,
    text: () => register.metrics(),
  }
}

function createTokenMetrics(registers: Registry[]): Pick<Metrics, 'tokenCheck' | 'keyFetch'> {
  const tokenChecks = new Counter({
    name: 'gateway_token_checks_total',
    help: 'Checks of token status with the customer subgraph: active, revoked, or failed where it did not answer.',
    labelNames: ['outcome'] as const,
    registers,
  })
  const keyFetches = new Counter({
    name: 'gateway_token_key_fetches_total',
    help: "Fetches of issuers' public keys: fetched, or failed where the issuer did not answer as it should.",
    labelNames: ['issuer', 'outcome'] as const,
    registers,
  })
  return {
    tokenCheck: (outcome) => tokenChecks.inc({ outcome }),
    keyFetch: (issuer, outcome) => keyFetches.inc({ issuer, outcome }),
  }
}

function createLoadMetrics(registers: Registry[]): Pick<Metrics, 'limited' | 'shed'> {
  const limited = new Counter({
    name: 'gateway_rate_limited_total',
    help: 'Requests refused by a rate limit.',
    labelNames: ['bucket'] as const,
    registers,
  })
  const shed = new Counter({
    name: 'gateway_load_shed_total',
    help: 'Requests answered 503 because of too much load, of the process or of their client.',
    registers,
  })
  return {
    limited: (bucket) => limited.inc({ bucket }),
    shed: () => shed.inc(),
  }
}
