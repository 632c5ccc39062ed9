/** What the log says about its checkpoints, its verifications, requests of data subjects and reveals, as metrics. */
import { Counter, type Registry } from 'prom-client'
import type { EventStore } from '../eventstore/port.ts'
import { newestRevision } from '../eventstore/read.ts'
import { addGauge, remembered } from '../runtime/metrics.ts'
import { newestCheckpointTime, uncoveredSince } from './proof/signed-checkpoints.ts'
import { lastVerification } from './proof/verifications.ts'
import { countRequests } from './requests/register.ts'
import { REVEALS_STREAM } from './reveals.ts'

/**
 * Adds the metrics. They are facts of the log: each process that serves them says the same.
 * @param eventStore the log in clear text
 */
export function addAuditMetrics(registry: Registry, eventStore: EventStore): void {
  const checkpoint = remembered(() => newestCheckpointTime(eventStore))
  const uncovered = remembered(() => uncoveredSince(eventStore))
  const verification = remembered(() => lastVerification(eventStore))
  addGauge(
    registry,
    'log_checkpoint_age_seconds',
    'Age of the newest signed checkpoint; NaN if there is none.',
    async () => ageOf(await checkpoint()),
  )
  addGauge(
    registry,
    'log_uncovered_seconds',
    'Age of the oldest event that should be in a signed checkpoint and is in none; 0 if there is none.',
    async () => {
      const since = await uncovered()
      return since === undefined ? 0 : ageOf(since)
    },
  )
  addGauge(
    registry,
    'log_verification_age_seconds',
    'Age of the last verification of the whole log; NaN if there is none.',
    async () => ageOf((await verification())?.at),
  )
  addGauge(
    registry,
    'log_verification_faults',
    'Faults that the last verification of the whole log found; NaN if there is none.',
    async () => (await verification())?.faults ?? Number.NaN,
  )
  addRequests(registry, eventStore)
  addReveals(
    registry,
    remembered(async () => ((await newestRevision(eventStore, REVEALS_STREAM)) ?? -1) + 1),
  )
}

function addRequests(registry: Registry, eventStore: EventStore): void {
  const requests = remembered(() => countRequests(eventStore, new Date()))
  addGauge(
    registry,
    'privacy_requests_open',
    'Requests of data subjects that are neither done nor refused.',
    async () => (await requests()).open,
  )
  addGauge(
    registry,
    'privacy_request_oldest_due_seconds',
    'Time until the end of the day on which the first open request of a data subject is due, negative once it is over; NaN if none is open.',
    async () => (await requests()).oldestDueSeconds ?? Number.NaN,
  )
}

/** The count is that of the log, so it covers the command line and the console, and continues after a restart. */
function addReveals(registry: Registry, count: () => Promise<number>): void {
  new Counter({
    name: 'audit_reveals_total',
    help: 'Times that personal data was revealed to an auditor. Absent while the event store has not answered yet.',
    registers: [registry],
    async collect() {
      try {
        const total = await count()
        this.reset()
        this.inc(total)
      } catch {
        this.remove()
      }
    },
  })
}

/** @returns seconds; NaN if nothing has happened yet */
const ageOf = (time: Date | string | undefined): number =>
  time === undefined ? Number.NaN : Math.max(0, (Date.now() - new Date(time).getTime()) / 1000)
