/** What the metrics of all processes have in common. */
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { within } from './time-limits.ts'
import { VERSION } from './version.ts'

/**
 * A registry with the metrics of Node itself (`process_…`, `nodejs_…`) and `customers_build_info`.
 * @param process the process's name, as in its command: `subgraph`
 */
export function createRegistry(process: string): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  new Gauge({
    name: 'customers_build_info',
    help: 'Always 1; the labels name the release, the version of Node and the process.',
    labelNames: ['version', 'node', 'process'],
    registers: [registry],
  }).set({ version: VERSION, node: globalThis.process.versions.node, process }, 1)
  return registry
}

/** For how long what was read from a store counts as new, in milliseconds. */
const FRESH_MS = 10_000
/** How long a scrape waits for a store that may hang, in milliseconds. */
const ANSWER_MS = 1_000

/**
 * Remembers what metrics read from a store. One read serves all of them, at most one every ten seconds.
 * @returns a function that returns what the newest read has found; while the store does not answer, what the last
 * successful read has found. @throws what the read throws, while nothing is known
 */
export function remembered<T>(read: () => Promise<T>): () => Promise<T> {
  let known: { readonly value: T } | undefined
  let reading: Promise<T> | undefined
  let at = Number.NEGATIVE_INFINITY
  function refresh(): Promise<T> {
    at = performance.now()
    const started = read()
      .then((value) => {
        known = { value }
        return value
      })
      .finally(() => {
        reading = undefined
      })
    return started
  }
  return async () => {
    if (reading === undefined && (known === undefined || performance.now() - at > FRESH_MS)) reading = refresh()
    if (reading === undefined && known) return known.value
    try {
      return await within(ANSWER_MS, reading as Promise<T>)
    } catch (error) {
      if (known) return known.value
      throw error
    }
  }
}

/** The longest measurement, in milliseconds, well below Prometheus' default time limit. */
const MEASURED_MS = 3_000

/**
 * Adds a gauge that is measured when the metrics are collected. It is NaN if the measurement fails or takes longer than three
 * seconds: a store that hangs must not keep Prometheus from all other metrics.
 */
export function addGauge(
  registry: Registry,
  name: string,
  help: string,
  measure: () => number | boolean | Promise<number | boolean>,
): void {
  new Gauge({
    name,
    help,
    registers: [registry],
    async collect() {
      this.set(await within(MEASURED_MS, (async () => measure())()).then(Number, () => Number.NaN))
    },
  })
}
