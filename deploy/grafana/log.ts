/** The log and its projections: appends and conflicts, lag and throughput, parked events, rebuilds, mails. */
import { dashboard, graph, here, stat } from './panels.ts'

const quantile = (q: number, buckets: string) =>
  `histogram_quantile(${q}, sum by (le) (rate(${here(buckets)}[$__rate_interval])))`
const BAD_FROM = (limit: number) =>
  [
    [null, 'green'],
    [limit, 'red'],
  ] as const
const GOOD_IS_ONE = [
  [null, 'red'],
  [1, 'green'],
] as const

const summary = [
  stat(
    {
      title: 'Event store',
      description: 'Whether every process gets an answer from it.',
      unit: 'bool_yes_no',
      series: { reachable: `min(${here('eventstore_reachable')})` },
    },
    GOOD_IS_ONE,
  ),
  stat(
    {
      title: 'Read model takes writes',
      description: 'Whether every subgraph can write to it. If not, queries fold the streams.',
      unit: 'bool_yes_no',
      series: { writable: `min(${here('read_model_writable')})` },
    },
    GOOD_IS_ONE,
  ),
  stat(
    {
      title: 'Lag',
      description:
        'Age of the oldest event that is not in the documents yet. Each process reports that of all; the highest counts.',
      unit: 's',
      series: { lag: `max(${here('customers:projection_lag_seconds:max')})` },
    },
    BAD_FROM(30),
  ),
  stat(
    {
      title: 'Events that wait',
      description:
        'Events of customers that are not in the documents yet; an estimate above 10,000. KEDA scales by it.',
      unit: 'short',
      series: { events: `max(${here('customers:projection_lag_events:max')})` },
    },
    BAD_FROM(10_000),
  ),
  stat(
    {
      title: 'Parked events',
      description:
        'Events that could not be applied. Each keeps one customer from being served until an operator acts.',
      unit: 'short',
      series: { parked: `max(${here('projection_parked_events')})` },
    },
    BAD_FROM(1),
  ),
  stat(
    {
      title: 'Mails that wait',
      description: 'Mails in hand that are not sent yet.',
      unit: 'short',
      series: { mails: `max(${here('mail_waiting')})` },
    },
    BAD_FROM(100),
  ),
]

const log = [
  graph(
    {
      title: 'Appends',
      description: 'By what came of them: written, conflict (decided again), unavailable, refused.',
      unit: 'ops',
      series: {
        '{{outcome}}': `sum by (outcome) (rate(${here('eventstore_append_seconds_count')}[$__rate_interval]))`,
      },
    },
    { stacked: true },
  ),
  graph({
    title: 'Duration of appends',
    description: 'Percentiles of appends that were written.',
    unit: 's',
    series: {
      p50: quantile(0.5, 'eventstore_append_seconds_bucket{outcome="written"}'),
      p99: quantile(0.99, 'eventstore_append_seconds_bucket{outcome="written"}'),
    },
  }),
  graph({
    title: 'Conflicts',
    description:
      'Appends that failed because of another writer. Many of them: clients change the same customer at once.',
    unit: 'ops',
    series: { conflicts: `sum(rate(${here('eventstore_append_conflicts_total')}[$__rate_interval]))` },
  }),
  graph({
    title: 'Operations and errors of the subgraph',
    description: 'Root fields answered, and errors by code.',
    unit: 'ops',
    series: {
      'operations: {{outcome}}': `sum by (outcome) (rate(${here('customer_operations_total')}[$__rate_interval]))`,
      '{{code}}': `sum by (code) (rate(${here('graphql_errors_total')}[$__rate_interval]))`,
    },
  }),
]

const reads = [
  graph(
    {
      title: 'Reads of customers',
      description:
        'By what answered them: a document, or the folded stream where the document was behind, fenced or away.',
      unit: 'ops',
      series: { '{{source}}': `sum by (source) (rate(${here('customer_reads_total')}[$__rate_interval]))` },
    },
    { stacked: true },
  ),
  graph({
    title: 'Fence of the read model',
    description:
      'Subgraphs whose queries fold the streams because documents are not trusted, and those that are cut off alone.',
    unit: 'short',
    series: { fenced: `sum(${here('read_model_fenced')})`, 'cut off': `sum(${here('read_model_cut_off')})` },
  }),
]

const projections = [
  graph(
    {
      title: 'Events applied',
      description: 'Per second, by process. The processes of a group share the events.',
      unit: 'ops',
      series: { '{{instance}}': `sum by (instance) (rate(${here('projection_events_total')}[$__rate_interval]))` },
    },
    { stacked: true },
  ),
  graph({
    title: 'From event to document',
    description: 'Percentiles, without those that fill a read model. The service level is 2 s for 99 %.',
    unit: 's',
    series: {
      p50: quantile(0.5, 'projection_event_to_document_seconds_bucket'),
      p99: quantile(0.99, 'projection_event_to_document_seconds_bucket'),
    },
  }),
  graph({
    title: 'Lag in seconds',
    description:
      'Age of the oldest event that is not in the documents yet. Nothing is drawn while a store is away, because it is unknown then.',
    unit: 's',
    series: { lag: `max(${here('customers:projection_lag_seconds:max')})` },
  }),
  graph({
    title: 'Lag in events',
    description: 'Events that wait, and the processes that share them.',
    unit: 'short',
    series: {
      events: `max(${here('customers:projection_lag_events:max')})`,
      processes: `count(${here('projection_lag_events')})`,
    },
  }),
  graph({
    title: 'Events in a batch',
    description: 'The mean. It grows with the lag, up to what one write takes.',
    unit: 'short',
    series: {
      events: `sum(rate(${here('projection_batch_events_sum')}[$__rate_interval])) / sum(rate(${here('projection_batch_events_count')}[$__rate_interval]))`,
    },
  }),
  graph({
    title: 'Trouble of the projections',
    description:
      'Outages of a store, lost subscriptions, and events that could not be applied, in the last five minutes; and parked events.',
    unit: 'short',
    series: {
      interruptions: `sum(increase(${here('projection_interruptions_total')}[5m]))`,
      reconnects: `sum(increase(${here('projection_reconnects_total')}[5m]))`,
      stuck: `sum(increase(${here('projection_stuck_total')}[5m]))`,
      parked: `max(${here('projection_parked_events')})`,
    },
  }),
  graph({
    title: 'Generations of the read model',
    description:
      'How many are stored: two while a rebuild runs, and until `rebuild --drop`. The number of the live one rises when a rebuild switches.',
    unit: 'short',
    series: { stored: `max(${here('read_model_generations')})`, live: `max(${here('read_model_live_generation')})` },
  }),
]

const mails = [
  graph({
    title: 'Mails by outcome',
    description: 'Sent, refused for good, no longer wanted, and failed attempts that are retried.',
    unit: 'ops',
    series: {
      'sent: {{mail}}': `sum by (mail) (rate(${here('mail_sent_total')}[$__rate_interval]))`,
      'failed: {{mail}}': `sum by (mail) (rate(${here('mail_failed_total')}[$__rate_interval]))`,
      'skipped: {{reason}}': `sum by (reason) (rate(${here('mail_skipped_total')}[$__rate_interval]))`,
      'retried: {{mail}}': `sum by (mail) (rate(${here('mail_retries_total')}[$__rate_interval]))`,
    },
  }),
  graph({
    title: 'Delay of mails',
    description:
      'The oldest that waits, and the p99 from the event to the acceptance. The service level is 60 s for 99 %.',
    unit: 's',
    series: { oldest: `max(${here('mail_lag_seconds')})`, p99: quantile(0.99, 'mail_delivery_seconds_bucket') },
  }),
]

export const logDashboard = () =>
  dashboard(
    'customers-log',
    'Customers: the log and its projections',
    'Appends and conflicts, lag and throughput of the projections, parked events, rebuilds, mails.',
    { Now: summary, 'The log': log, Reads: reads, Projections: projections, Mails: mails },
  )
