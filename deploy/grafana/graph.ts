/** The graph: requests, errors and latency, by operation and by subgraph. */
import { dashboard, graph, here, stat } from './panels.ts'

const REQUESTS = 'gateway_requests_total'
const SUBGRAPH_CALLS = 'gateway_subgraph_duration_seconds_count'
const quantile = (q: number, by: string, buckets: string) =>
  `histogram_quantile(${q}, sum by (${by}) (rate(${here(buckets)}[$__rate_interval])))`

const summary = [
  stat(
    {
      title: 'Queries without a fault, 1 day',
      description:
        'The share of queries without an internal error, of the last day. The service level is 99.9 % over 30 days.',
      unit: 'percentunit',
      series: { queries: `1 - ${here('customers:slo_errors:ratio_rate1d{slo="queries"}')}` },
    },
    [
      [null, 'red'],
      [0.999, 'green'],
    ],
    3,
  ),
  stat(
    {
      title: 'Error budget left, 30 days',
      description:
        'Of what may be bad in 30 days, the share that is left, by service level. Below 0 the level is missed. See docs/service-levels.md.',
      unit: 'percentunit',
      series: {
        '{{slo}}': `1 - sum_over_time(${here('customers:slo_bad_events:rate5m')}[30d]) / sum_over_time(${here('customers:slo_events:rate5m')}[30d]) / on (slo) group_left () customers:slo_budget:ratio`,
      },
    },
    [
      [null, 'red'],
      [0, 'yellow'],
      [0.25, 'green'],
    ],
    1,
  ).span(8),
  stat(
    {
      title: 'p99 of queries',
      description: 'One query in a hundred takes longer, from its arrival to its answer. It should be under 200 ms.',
      unit: 's',
      series: { p99: `max(${here('customers:query_duration_seconds:p99_5m')})` },
    },
    [
      [null, 'green'],
      [0.2, 'red'],
    ],
  ),
  stat({
    title: 'Requests per second',
    description: 'GraphQL requests per second, of all gateways.',
    unit: 'reqps',
    series: { requests: `sum(${here('customers:gateway_requests:rate5m')})` },
  }),
  stat(
    {
      title: 'Supergraphs served',
      description: 'How many different ones. More than one while a change reaches the gateways, for a minute or so.',
      unit: 'short',
      series: { supergraphs: `max(${here('customers:gateway_supergraphs:count')})` },
    },
    [
      [null, 'green'],
      [2, 'yellow'],
    ],
  ),
]

const requests = [
  graph(
    {
      title: 'Requests by outcome',
      description:
        "success; errors: answered, with errors; rejected: not executed, mostly the client's mistake; failed: a fault; cancelled: the client went away.",
      unit: 'reqps',
      series: { '{{outcome}}': `sum by (outcome) (${here('customers:gateway_requests:rate5m')})` },
    },
    { stacked: true },
  ),
  graph({
    title: 'Faulty answers by type',
    description:
      "Requests per second whose answer has an error that is the service's own fault. This is what uses up the error budget.",
    unit: 'reqps',
    series: { '{{type}}': `sum by (type) (rate(${here('gateway_faulty_answers_total')}[$__rate_interval]))` },
  }),
  graph({
    title: 'Requests by operation',
    description:
      'The ten operations with the most requests. The first 200 names have series of their own, all others are "other".',
    unit: 'reqps',
    series: { '{{operation}}': `topk(10, sum by (operation) (rate(${here(REQUESTS)}[$__rate_interval])))` },
  }),
  graph({
    title: 'Errors by operation',
    description: 'The ten operations with the most answers that have errors, of any kind.',
    unit: 'reqps',
    series: {
      '{{operation}} {{outcome}}': `topk(10, sum by (operation, outcome) (rate(${here(`${REQUESTS}{outcome=~"errors|failed"}`)}[$__rate_interval])))`,
    },
  }),
]

const QUERY_BUCKETS = 'gateway_request_duration_seconds_bucket{type="query"}'
const latency = [
  graph({
    title: 'Latency of queries',
    description: 'Percentiles of the time from the arrival of a query at the gateway to its answer.',
    unit: 's',
    series: {
      p50: quantile(0.5, 'le', QUERY_BUCKETS),
      p95: quantile(0.95, 'le', QUERY_BUCKETS),
      p99: quantile(0.99, 'le', QUERY_BUCKETS),
    },
  }),
  graph({
    title: 'p99 by operation',
    description:
      'Of queries and mutations: the ten slowest operations. Sign-ins take long by intention, because hashing a password does.',
    unit: 's',
    series: {
      '{{operation}}': `topk(10, ${quantile(0.99, 'operation, le', 'gateway_request_duration_seconds_bucket')})`,
    },
  }),
]

const subgraphs = [
  graph({
    title: 'Subgraph calls by outcome',
    description:
      'answered; failed: no usable answer; refused: not made, because the subgraph failed too often; cancelled: the client went away.',
    unit: 'reqps',
    series: {
      '{{service}} {{outcome}}': `sum by (service, outcome) (rate(${here(SUBGRAPH_CALLS)}[$__rate_interval]))`,
    },
  }),
  graph({
    title: 'p99 by subgraph',
    description: 'Of calls that were answered, with their retries.',
    unit: 's',
    series: {
      '{{service}}': quantile(0.99, 'service, le', 'gateway_subgraph_duration_seconds_bucket{outcome="answered"}'),
    },
  }),
  graph({
    title: 'Failures by subgraph',
    description: 'Calls without a usable answer. Five in a row, and the gateway leaves the subgraph alone.',
    unit: 'reqps',
    series: { '{{service}}': `sum by (service) (rate(${here('gateway_subgraph_failures_total')}[$__rate_interval]))` },
  }),
  graph({
    title: 'Calls saved by subgraph',
    description: 'Calls that were not made, because an identical one of another guest was in flight.',
    unit: 'reqps',
    series: { '{{service}}': `sum by (service) (rate(${here('gateway_subgraph_shared_total')}[$__rate_interval]))` },
  }),
]

const protection = [
  graph({
    title: 'Refused requests',
    description: 'By a rate limit (by bucket), and because of too much load. `strict` is sign-ins and the like.',
    unit: 'reqps',
    series: {
      'rate limit: {{bucket}}': `sum by (bucket) (rate(${here('gateway_rate_limited_total')}[$__rate_interval]))`,
      'load: gateway': `sum(rate(${here('gateway_load_shed_total')}[$__rate_interval]))`,
      'load: subgraph': `sum(rate(${here('load_shed_total')}[$__rate_interval]))`,
    },
  }),
  graph({
    title: 'Clients that went away',
    description: 'Requests whose client disconnected before the answer. Many of them: answers come too late.',
    unit: 'reqps',
    series: {
      gateway: `sum(${here('customers:gateway_requests:rate5m{outcome="cancelled"}')})`,
      subgraph: `sum(rate(${here('graphql_requests_cancelled_total')}[$__rate_interval]))`,
    },
  }),
  graph({
    title: 'Checks of tokens',
    description:
      'Whether a token was revoked, asked of the customer subgraph. `failed`: it did not answer. And fetches of public keys that failed.',
    unit: 'reqps',
    series: {
      '{{outcome}}': `sum by (outcome) (rate(${here('gateway_token_checks_total')}[$__rate_interval]))`,
      'keys of {{issuer}}': `sum by (issuer) (rate(${here('gateway_token_key_fetches_total{outcome="failed"}')}[$__rate_interval]))`,
    },
  }),
  graph({
    title: 'Failures of plugins and supergraphs',
    description:
      'Hooks of plugins that threw or took too long, and supergraph files that could not be loaded, in the last five minutes.',
    unit: 'short',
    series: {
      '{{plugin}} {{hook}}': `sum by (plugin, hook) (increase(${here('gateway_plugin_failures_total')}[5m]))`,
      supergraph: `sum(increase(${here('gateway_supergraph_load_failures_total')}[5m]))`,
    },
  }),
]

const subscriptions = [
  graph({
    title: 'Open subscriptions',
    description: 'Under way, by transport.',
    unit: 'short',
    series: { '{{transport}}': `sum by (transport) (${here('gateway_subscriptions')})` },
  }),
  graph({
    title: 'Events and ends of subscriptions',
    description:
      'Events that clients were sent, and subscriptions that ended, by reason. `slow`: the client did not keep up.',
    unit: 'ops',
    series: {
      events: `sum(rate(${here('gateway_subscription_events_total')}[$__rate_interval]))`,
      'ended: {{reason}}': `sum by (reason) (rate(${here('gateway_subscriptions_ended_total')}[$__rate_interval]))`,
    },
  }),
]

const processes = [
  graph({
    title: 'CPU',
    description: 'Processors in use by each process. One that stays near 1 has its event loop full.',
    unit: 'short',
    series: {
      '{{job}} {{instance}}': `rate(${here('process_cpu_seconds_total{job=~"customers-.+"}')}[$__rate_interval])`,
    },
  }),
  graph({
    title: 'Memory',
    description: 'Resident memory of each process.',
    unit: 'bytes',
    series: { '{{job}} {{instance}}': `${here('process_resident_memory_bytes{job=~"customers-.+"}')}` },
  }),
  graph({
    title: 'Delay of the event loop',
    description: 'The p99 by kind of process. Above MAX_EVENT_LOOP_DELAY_MS, requests are answered 503.',
    unit: 's',
    series: { '{{job}}': `max by (job) (${here('nodejs_eventloop_lag_p99_seconds{job=~"customers-.+"}')})` },
  }),
  graph({
    title: 'Releases',
    description: 'Processes by release. Two at once: a release is under way.',
    unit: 'short',
    series: { '{{process}} {{version}}': `count by (process, version) (${here('customers_build_info')})` },
  }),
]

export const graphDashboard = () =>
  dashboard('customers-graph', 'Customers: the graph', 'Requests, errors and latency, by operation and by subgraph.', {
    'Service levels': summary,
    Requests: requests,
    Latency: latency,
    Subgraphs: subgraphs,
    Protection: protection,
    Subscriptions: subscriptions,
    Processes: processes,
  })
