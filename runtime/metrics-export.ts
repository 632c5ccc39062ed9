/**
 * Exports the Prometheus metrics of a process by OTLP, too: the same numbers under the same names, read from the same
 * registries. Without an endpoint the SDK is not loaded.
 */
import type { HrTime } from '@opentelemetry/api'
import type { MetricData, MetricProducer } from '@opentelemetry/sdk-metrics'
import type { MetricObjectWithValues, MetricValue, Registry } from 'prom-client'
import type { Configuration } from './configuration.ts'
import type { Log } from './log.ts'
import type { Running } from './process.ts'
import { within } from './time-limits.ts'
import { VERSION } from './version.ts'

/** How long a process that ends waits for the endpoint to accept its last metrics, in milliseconds. */
const FLUSH_LIMIT_MS = 2_000
/** Of Node and the process; each registry has its own, but there is one process. */
const DEFAULT = /^(process_|nodejs_|customers_build_info$)/

type Settings = Pick<
  Configuration,
  | 'OTEL_EXPORTER_OTLP_ENDPOINT'
  | 'OTEL_EXPORTER_OTLP_METRICS_ENDPOINT'
  | 'OTEL_METRICS_EXPORTER'
  | 'OTEL_METRIC_EXPORT_INTERVAL'
  | 'OTEL_SERVICE_NAME'
>

/**
 * Exports to the configured OTLP endpoint (HTTP, JSON), if there is one.
 * @param service the process's name, unless OTEL_SERVICE_NAME gives another
 * @param log says when the endpoint does not accept metrics, and when it does again
 * @returns a handle whose close() exports the last values, within two seconds
 */
export async function startMetricsExport(
  configuration: Settings,
  service: string,
  registries: readonly Registry[],
  log: Pick<Log, 'info' | 'warn'>,
): Promise<Running> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: base, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: metrics } = configuration
  const url = metrics ?? (base === undefined ? undefined : `${base.replace(/\/+$/, '')}/v1/metrics`)
  if (url === undefined || configuration.OTEL_METRICS_EXPORTER === 'none') return { close: async () => {} }
  const [sdk, { OTLPMetricExporter }, { resourceFromAttributes }] = await Promise.all([
    import('@opentelemetry/sdk-metrics'),
    import('@opentelemetry/exporter-metrics-otlp-http'),
    import('@opentelemetry/resources'),
  ])
  const resource = resourceFromAttributes({
    'service.name': configuration.OTEL_SERVICE_NAME ?? service,
    'service.version': VERSION,
  })
  const producer: MetricProducer = {
    async collect() {
      const found = await collected(registries, sdk)
      const scopeMetrics = [{ scope: { name: 'customer-subgraph', version: VERSION }, metrics: found }]
      return { resourceMetrics: { resource, scopeMetrics }, errors: [] }
    },
  }
  const interval = configuration.OTEL_METRIC_EXPORT_INTERVAL
  const reader = new sdk.PeriodicExportingMetricReader({
    exporter: reported(new OTLPMetricExporter({ url }), log),
    exportIntervalMillis: interval,
    exportTimeoutMillis: Math.min(interval, 10_000),
    metricProducers: [producer],
  })
  const provider = new sdk.MeterProvider({ resource, readers: [reader] })
  return {
    async close() {
      await within(FLUSH_LIMIT_MS, provider.shutdown()).catch(() => {})
    },
  }
}

type Sdk = typeof import('@opentelemetry/sdk-metrics')
type Exporter = ConstructorParameters<Sdk['PeriodicExportingMetricReader']>[0]['exporter']

/** The exporter, which logs when exports begin to fail, and when they succeed again. */
function reported(exporter: Exporter, log: Pick<Log, 'info' | 'warn'>): Exporter {
  const send = exporter.export.bind(exporter)
  let isFailing = false
  exporter.export = (metrics, done) =>
    send(metrics, (result) => {
      const failed = result.code !== 0
      if (failed && !isFailing) log.warn({ reason: result.error?.message }, 'Metrics cannot be exported')
      if (!failed && isFailing) log.info({}, 'Metrics are exported again')
      isFailing = failed
      done(result)
    })
  return exporter
}

/** What the registries hold now. Of metrics that every process has, only the first registry's. */
async function collected(registries: readonly Registry[], sdk: Sdk): Promise<MetricData[]> {
  const time = { startTime: hrTime(performance.timeOrigin), endTime: hrTime(Date.now()) }
  const seen = new Set<string>()
  const found: MetricData[] = []
  for (const registry of registries) {
    const metrics = await registry.getMetricsAsJSON()
    for (const metric of metrics) {
      if (!(DEFAULT.test(metric.name) && seen.has(metric.name))) found.push(...converted(metric, time, sdk))
    }
    for (const { name } of metrics) seen.add(name)
  }
  return found
}

interface Times {
  readonly startTime: HrTime
  readonly endTime: HrTime
}

type Labels = MetricValue<string>['labels']

/** A metric of prom-client as the SDK has it. */
function converted(
  { name, help, type, values }: MetricObjectWithValues<MetricValue<string>>,
  time: Times,
  { DataPointType, AggregationTemporality, InstrumentType: _ }: Sdk,
): MetricData[] {
  const kind = type as unknown as 'counter' | 'gauge' | 'histogram' | 'summary'
  const valueType = 1 // DOUBLE
  const common = {
    descriptor: { name, description: help, unit: name.includes('_seconds') ? 's' : '', valueType },
    aggregationTemporality: AggregationTemporality.CUMULATIVE,
  }
  if (kind === 'histogram') {
    return [{ ...common, dataPointType: DataPointType.HISTOGRAM, dataPoints: histograms(values, time) }]
  }
  // The value of what can't be measured now is not a number.
  const dataPoints = values
    .filter(({ value }) => Number.isFinite(value))
    .map(({ labels, value }) => ({ ...time, attributes: attributesOf(labels), value }))
  if (dataPoints.length === 0) return []
  if (kind !== 'counter') return [{ ...common, dataPointType: DataPointType.GAUGE, dataPoints }]
  return [{ ...common, dataPointType: DataPointType.SUM, isMonotonic: true, dataPoints }]
}

/** Prometheus' buckets are cumulative, and one number each; OTLP's are apart, and in one point. */
function histograms(values: readonly MetricValue<string>[], time: Times) {
  const points = new Map<string, { labels: Labels; bounds: number[]; totals: number[]; sum: number; count: number }>()
  for (const each of values as readonly (MetricValue<string> & { readonly metricName?: string })[]) {
    const { le, ...labels } = each.labels as Labels & { readonly le?: number | string }
    const key = JSON.stringify(labels)
    const point = points.get(key) ?? { labels: labels as Labels, bounds: [], totals: [], sum: 0, count: 0 }
    points.set(key, point)
    if (each.metricName?.endsWith('_sum')) point.sum = each.value
    else if (each.metricName?.endsWith('_count')) point.count = each.value
    else if (le !== '+Inf') {
      point.bounds.push(Number(le))
      point.totals.push(each.value)
    }
  }
  return [...points.values()].map(({ labels, bounds, totals, sum, count }) => {
    const counts = [...totals, count].map((total, index) => total - (totals[index - 1] ?? 0))
    const value = { buckets: { boundaries: bounds, counts }, sum, count }
    return { ...time, attributes: attributesOf(labels), value }
  })
}

const attributesOf = (labels: Labels): Record<string, string> =>
  Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, String(value)]))

/** @param milliseconds since the epoch */
function hrTime(milliseconds: number): HrTime {
  const seconds = Math.floor(milliseconds / 1_000)
  return [seconds, Math.floor((milliseconds - seconds * 1_000) * 1e6)]
}
