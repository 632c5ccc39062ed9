/** Histograms for what happens in every request. */
import type { Metric, MetricType, MetricValueWithName, Registry } from 'prom-client'

export interface HistogramOptions<Label extends string> {
  readonly name: string
  readonly help: string
  readonly labelNames: readonly Label[]
  /** The upper bounds of its buckets, ascending. */
  readonly buckets: readonly number[]
  readonly registers: readonly Registry[]
}

export interface FastHistogram<Label extends string> {
  /**
   * Begins a series, or goes on with the one of the same labels. It is shown from its first value on.
   * @returns a function that counts a value; it may be kept as long as the series is not removed
   */
  readonly series: (labels: Readonly<Record<Label, string>>) => (value: number) => void
  /** Ends a series. */
  readonly remove: (labels: Readonly<Record<Label, string>>) => void
}

/**
 * Makes a histogram that is exported like those of prom-client, but counts in an array. prom-client's finds a bucket as a
 * property whose name is a fraction, and the series by a text that it makes of the labels: 1.4 µs and more for each value.
 */
export function createHistogram<Label extends string>({
  name,
  help,
  labelNames,
  buckets,
  registers,
}: HistogramOptions<Label>): FastHistogram<Label> {
  const all = new Map<string, Series>()
  const keyOf = (labels: Readonly<Record<Label, string>>) => JSON.stringify(labelNames.map((label) => labels[label]))
  const described = { name, help, type: 'histogram' as unknown as MetricType, aggregator: 'sum' }
  const metric = {
    ...described,
    labelNames,
    get: async () => ({ ...described, values: [...all.values()].flatMap((each) => each.values(name)) }),
    reset: () => {
      for (const each of all.values()) each.reset()
    },
  }
  for (const registry of registers) registry.registerMetric(metric as unknown as Metric)
  return {
    series(labels) {
      const key = keyOf(labels)
      const series = all.get(key) ?? new Series(labels, buckets)
      all.set(key, series)
      return (value) => series.observe(value)
    },
    remove: (labels) => void all.delete(keyOf(labels)),
  }
}

class Series {
  readonly #labels: Readonly<Record<string, string>>
  readonly #bounds: readonly number[]
  /** One for each bound, and one for what is above all of them. */
  readonly #counts: Float64Array
  #sum = 0

  constructor(labels: Readonly<Record<string, string>>, bounds: readonly number[]) {
    this.#labels = labels
    this.#bounds = bounds
    this.#counts = new Float64Array(bounds.length + 1)
  }

  observe(value: number): void {
    const bounds = this.#bounds
    let bucket = 0
    while (bucket < bounds.length && value > (bounds[bucket] as number)) bucket++
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1
    this.#sum += value
  }

  reset(): void {
    this.#counts.fill(0)
    this.#sum = 0
  }

  values(name: string): MetricValueWithName<string>[] {
    if (this.#counts.every((count) => count === 0)) return []
    let count = 0
    const values: MetricValueWithName<string>[] = [...this.#bounds, '+Inf'].map((le, index) => {
      count += this.#counts[index] as number
      return { metricName: `${name}_bucket`, labels: { le, ...this.#labels }, value: count }
    })
    values.push({ metricName: `${name}_sum`, labels: this.#labels, value: this.#sum })
    values.push({ metricName: `${name}_count`, labels: this.#labels, value: count })
    return values
  }
}
