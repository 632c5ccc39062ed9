/** The verification of the log: the last ones, and one that runs now. */

import type { PublicKey } from '../../../audit/proof/signing-key.ts'
import { faultText } from '../../../audit/proof/verification-text.ts'
import {
  type RecordedVerification,
  recentVerifications,
  recordVerification,
} from '../../../audit/proof/verifications.ts'
import { type Verification, verifyLog } from '../../../audit/proof/verify.ts'
import { logEnd } from '../../../eventstore/read.ts'
import { badge, commandBox, count, empty, facts, table, time } from '../../components.ts'
import { type Html, html } from '../../html.ts'
import { createJob, type Job, type JobState, unhurried } from '../../jobs.ts'
import { action, type ConsoleApp, page, type View } from '../../routes.ts'
import { type ProofKeys, trustedKey } from './proof-keys.ts'
import { PROOF_ROLES } from './roles.ts'

/** Verifications in the list, and faults of the last one. */
const LISTED = 10
const FAULTS = 100

/** What a run came to. */
interface Outcome {
  readonly result: Verification
  /** Why it is not in the log, if it is not. */
  readonly unrecorded: string | undefined
}

export type VerificationJob = Job<Outcome>

/** Adds the actions, and the progress for the page's script. @returns the job of this process */
export function registerVerification(app: ConsoleApp, keys: ProofKeys): VerificationJob {
  const job: VerificationJob = createJob((error) =>
    app.fastify.log.error({ err: error }, 'a verification of the log failed'),
  )
  app.fastify.addHook('preClose', () => job.close())
  action(app, { path: '/proof/verify', roles: PROOF_ROLES }, async (view) => {
    const isStarted = start(job, view, await trustedKey(keys, view.options.stored))
    const text = isStarted ? 'The verification has begun.' : 'A verification is running already.'
    return { redirect: '/proof#verification', notice: { kind: isStarted ? 'done' : 'failed', text } }
  })
  action(app, { path: '/proof/verify/stop', roles: PROOF_ROLES }, () => {
    job.stop()
    return {
      redirect: '/proof#verification',
      notice: { kind: 'done', text: 'The verification is stopped; it is not recorded.' },
    }
  })
  page(app, { path: '/proof/progress', title: 'Progress', roles: PROOF_ROLES }, ({ signal }) => ({
    filename: 'progress.txt',
    type: 'text/event-stream',
    content: messages(job, signal),
  }))
  return job
}

function start(job: VerificationJob, { options, actor }: View, key: PublicKey): boolean {
  const { stored } = options
  return job.start(actor, async ({ signal, report }) => {
    const end = Number((await logEnd(stored))?.commit ?? 1n)
    const result = await verifyLog(unhurried(stored), {
      keys: [key],
      signal,
      report(done, { commit }) {
        if (done % 1_000 === 0) report({ done, share: Math.min(1, Number(commit) / end) })
      },
    })
    const unrecorded = signal.aborted ? undefined : await recordVerification(stored, result, actor)
    return { result, unrecorded }
  })
}

/** Server-sent events: how far it is, and an empty one at the end. */
async function* messages(job: VerificationJob, signal: AbortSignal): AsyncGenerator<string> {
  for await (const state of job.watch(signal)) {
    const data =
      state.status === 'running' ? { text: progressText(state.progress.done), share: state.progress.share } : null
    yield `data: ${JSON.stringify(data)}\n\n`
  }
}

const progressText = (done: number) => `${count(done)} events read so far`

/** The section of the page. */
export async function verificationSection({ options, formToken }: View, job: VerificationJob): Promise<Html> {
  const recent = await recentVerifications(options.stored, LISTED)
  const [last] = recent
  const state = job.state()
  return html`<section id="verification" aria-labelledby="verification-title"><h2 id="verification-title">Is the log whole?</h2>
${last ? lastOne(last) : state.status !== 'running' && empty('The log has not been verified yet.', 'Verify it below, or on the command line. Each run is recorded here.')}
${state.status === 'running' ? running(state, formToken) : idle(state, formToken)}
${recent.length > 1 && html`<details><summary>Earlier verifications</summary>${list(recent.slice(1))}</details>`}
${commandBox('customers audit verify')}</section>`
}

const outcomeBadge = ({ faults }: RecordedVerification): Html =>
  faults === 0 ? badge('whole', 'good') : badge(`${count(faults)} ${faults === 1 ? 'fault' : 'faults'}`, 'bad')

function lastOne(last: RecordedVerification): Html {
  const { by, at, events, streams, faults, uncovered, checkpoints } = last
  return html`<div class="panel">
<p>${outcomeBadge(last)} ${
    faults === 0
      ? 'Nothing in the log was changed, removed, put in or moved when it was last verified.'
      : 'The log was not as it had been written when it was last verified. Verify it again to see each fault.'
  }</p>
${facts([
  ['Verified', time(at)],
  ['By', by],
  ['Events read', count(events)],
  ['Streams', count(streams)],
  ['Valid checkpoints', count(checkpoints)],
  ['Not covered then', `${count(uncovered)} ${uncovered === 1 ? 'event' : 'events'}`],
])}</div>`
}

function running(state: Extract<JobState<Outcome>, { status: 'running' }>, formToken: Html): Html {
  const { by, since, progress } = state
  const percent = progress.share === undefined ? undefined : Math.round(progress.share * 100)
  return html`<div class="panel" data-progress="/proof/progress"><p id="progress-text"><strong>A verification is running</strong>, begun ${time(since, 'clock')} by ${by}: <span data-text>${progressText(progress.done)}</span>.</p>
<progress class="bar-meter" aria-labelledby="progress-text" max="100"${percent !== undefined && html` value="${percent}"`}></progress>
<div class="actions"><form method="post" action="/proof/verify/stop">${formToken}<button>Stop</button></form> <a class="button" href="/proof#verification">Refresh</a></div></div>
<script type="module" src="/assets/progress.js"></script>`
}

function idle(state: Exclude<JobState<Outcome>, { status: 'running' }>, formToken: Html): Html {
  return html`${ended(state)}
<form method="post" action="/proof/verify">${formToken}<p>A verification reads the whole log once, at half speed, so that the service keeps the other half. It takes some seconds for each 100,000 events, one runs at a time, and you can stop it.</p>
<button class="primary">Verify the log now</button></form>`
}

function ended(state: Exclude<JobState<Outcome>, { status: 'running' }>): Html | false {
  if (state.status === 'failed') {
    return html`<p class="fault" role="alert">The last verification could not be finished: the log could not be read to its end. Try again.</p>`
  }
  if (state.status !== 'done') return false
  const { faults, faultCount } = state.result.result
  return html`${state.result.unrecorded !== undefined && html`<p class="fault" role="alert">The outcome could not be recorded in the log: ${state.result.unrecorded}</p>`}
${
  faultCount > 0 &&
  html`<h3>What was found</h3><ul class="faults">${faults.slice(0, FAULTS).map((fault) => html`<li>${faultText(fault)}</li>`)}</ul>
${faultCount > FAULTS && html`<p>And ${count(faultCount - FAULTS)} more.</p>`}`
}`
}

const list = (verifications: readonly RecordedVerification[]): Html =>
  table(
    'Earlier verifications',
    [
      { label: 'When' },
      { label: 'By' },
      { label: 'Outcome' },
      { label: 'Events', isNumber: true },
      { label: 'Not covered', isNumber: true },
    ],
    verifications.map((each) => [
      time(each.at),
      each.by,
      outcomeBadge(each),
      count(each.events),
      count(each.uncovered),
    ]),
  )
