/** The metrics of subgraph calls. */
import { Counter, type Registry } from 'prom-client'
import { createHistogram } from '../../runtime/histogram.ts'
import { CALL_OUTCOMES, type CallOutcome } from './client.ts'

export interface SubgraphMetrics {
  /** Counts a subgraph call. */
  readonly subgraphCall: (service: string, outcome: CallOutcome, milliseconds: number) => void
  /** Counts a call that was saved because another client's was the same. */
  readonly sharedCall: (service: string) => void
  /** Counts a failed subgraph call: an unusable answer, or none. */
  readonly subgraphFailure: (service: string) => void
  /** Ends the series of all subgraphs but these. */
  readonly keepSubgraphs: (names: readonly string[]) => void
}

/** Of durations, in seconds. */
export const DURATION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1, 2.5, 5, 10]

export function createSubgraphMetrics(registers: Registry[]): SubgraphMetrics {
  const calls = createHistogram({
    name: 'gateway_subgraph_duration_seconds',
    help: 'Time of subgraph calls, including retries, by outcome.',
    labelNames: ['service', 'outcome'],
    buckets: DURATION_BUCKETS,
    registers,
  })
  const failures = new Counter({
    name: 'gateway_subgraph_failures_total',
    help: 'Subgraph calls without a usable answer.',
    labelNames: ['service'] as const,
    registers,
  })
  const shared = new Counter({
    name: 'gateway_subgraph_shared_total',
    help: 'Subgraph calls saved, because an identical one of another guest was in flight.',
    labelNames: ['service'] as const,
    registers,
  })
  /** By service and outcome: those that have series. */
  const observers = new Map<string, Map<CallOutcome, (seconds: number) => void>>()
  const forget = (service: string) => {
    observers.delete(service)
    for (const outcome of CALL_OUTCOMES) calls.remove({ service, outcome })
    failures.remove({ service })
    shared.remove({ service })
  }
  return {
    subgraphCall: (service, outcome, milliseconds) => {
      let own = observers.get(service)
      if (!own) {
        own = new Map()
        observers.set(service, own)
      }
      let observe = own.get(outcome)
      if (!observe) {
        observe = calls.series({ service, outcome })
        own.set(outcome, observe)
      }
      observe(milliseconds / 1000)
    },
    sharedCall: (service) => shared.inc({ service }),
    subgraphFailure: (service) => failures.inc({ service }),
    keepSubgraphs: (names) => {
      for (const service of observers.keys()) if (!names.includes(service)) forget(service)
    },
  }
}
