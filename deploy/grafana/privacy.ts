/** Privacy and audit: reveals, erasures, checkpoints and verifications, sign-ins and lockouts. */
import { dashboard, graph, here, stat } from './panels.ts'

const BAD_FROM = (limit: number) =>
  [
    [null, 'green'],
    [limit, 'red'],
  ] as const

const summary = [
  stat(
    {
      title: 'Faults in the log',
      description: 'What the last verification of the whole log found. It has to be 0.',
      unit: 'short',
      series: { faults: `max(${here('log_verification_faults')})` },
    },
    BAD_FROM(1),
  ),
  stat(
    {
      title: 'Last verification',
      description: 'How long ago the whole log was verified. The job audit-verify does it each night.',
      unit: 's',
      series: { age: `max(${here('log_verification_age_seconds')})` },
    },
    BAD_FROM(172_800),
  ),
  stat(
    {
      title: 'Not in a checkpoint for',
      description:
        'Age of the oldest event that no signed checkpoint covers. Until one does, it could be cut off without a trace.',
      unit: 's',
      series: { age: `max(${here('log_uncovered_seconds')})` },
    },
    BAD_FROM(7_200),
  ),
  stat(
    {
      title: 'Keys',
      description: "Whether every process reaches the store of the customers' keys.",
      unit: 'bool_yes_no',
      series: { reachable: `min(${here('keys_reachable')})` },
    },
    [
      [null, 'red'],
      [1, 'green'],
    ],
  ),
  stat(
    {
      title: 'Reveals, 1 day',
      description:
        'Times that personal data was shown to an auditor in the last day. Each has a reason in the log: `audit find --actor operator:*`.',
      unit: 'short',
      series: { reveals: `max(increase(${here('audit_reveals_total')}[1d]))` },
    },
    undefined,
    0,
  ),
  stat(
    {
      title: 'Erasures, 1 day',
      description: 'Customers whose deletion was applied in the last day, whoever asked for it.',
      unit: 'short',
      series: { erasures: `sum(increase(${here('customer_erasures_total')}[1d]))` },
    },
    undefined,
    0,
  ),
]

const proof = [
  graph({
    title: 'Checkpoints',
    description:
      'Age of the newest signed checkpoint, and of the oldest event without one. The first grows while nothing happens, the second does not.',
    unit: 's',
    series: {
      'newest checkpoint': `max(${here('log_checkpoint_age_seconds')})`,
      'oldest event without one': `max(${here('log_uncovered_seconds')})`,
    },
  }),
  graph({
    title: 'Verifications',
    description:
      'Faults that the last verification of the whole log found. Anything above 0 is an incident: see the runbook VerificationFailed.',
    unit: 'short',
    series: { faults: `max(${here('log_verification_faults')})` },
  }),
]

const persons = [
  graph({
    title: 'Reveals',
    description:
      'Times that personal data was shown to an auditor, by hour, by the command line, GraphQL and the console.',
    unit: 'short',
    series: { reveals: `max(increase(${here('audit_reveals_total')}[1h]))` },
  }),
  graph({
    title: 'Erasures',
    description: 'Customers whose deletion was applied, by hour.',
    unit: 'short',
    series: { erasures: `sum(increase(${here('customer_erasures_total')}[1h]))` },
  }),
]

const requests = [
  graph({
    title: 'Requests of data subjects',
    description: 'Those that are neither done nor refused: access, rectification, erasure, portability.',
    unit: 'short',
    series: { open: `max(${here('privacy_requests_open')})` },
  }),
  graph({
    title: 'Time left for the most urgent request',
    description:
      'Until the end of the day on which it is due; below 0 it is overdue. Nothing is drawn while none is open.',
    unit: 's',
    series: { left: `min(${here('privacy_request_oldest_due_seconds')})` },
  }),
]

const access = [
  graph({
    title: 'Sign-ins',
    description:
      'Per second: succeeded, refused, and refused current passwords. Many refused ones: somebody tries passwords.',
    unit: 'ops',
    series: {
      '{{kind}}': `sum by (kind) (rate(${here('customer_access_total{kind=~"signed-in|sign-in-failed|password-refused"}')}[$__rate_interval]))`,
    },
  }),
  graph({
    title: 'Lockouts and passwords',
    description:
      'Accounts that were locked after wrong passwords, passwords that were changed or reset, and tokens that were revoked, by hour.',
    unit: 'short',
    series: {
      '{{kind}}': `sum by (kind) (increase(${here('customer_access_total{kind!~"signed-in|sign-in-failed|password-refused"}')}[1h]))`,
    },
  }),
  graph({
    title: 'Hashes of passwords',
    description: 'Hashes made to check passwords, by kind. They are what sign-ins cost in CPU time.',
    unit: 'ops',
    series: { '{{kind}}': `sum by (kind) (rate(${here('password_hashes_total')}[$__rate_interval]))` },
  }),
  graph({
    title: 'Records of access that were lost',
    description: 'Sign-ins and the like whose record could not be written, by hour. It has to be 0.',
    unit: 'short',
    series: { lost: `sum(increase(${here('access_records_failed_total')}[1h]))` },
  }),
]

export const privacyDashboard = () =>
  dashboard(
    'customers-privacy',
    'Customers: privacy and audit',
    'Reveals, erasures, checkpoints and verifications of the log, sign-ins and lockouts.',
    { Now: summary, Proof: proof, 'Personal data': persons, Requests: requests, Access: access },
  )
