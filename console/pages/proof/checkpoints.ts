/** What checkpoints cover of the log, in plain words and as a picture; and the public key that checks them. */
import { type Coverage, coverageOf } from '../../../audit/proof/coverage.ts'
import { writeCheckpoint } from '../../../audit/proof/signed-checkpoints.ts'
import { type PublicKey, publicPem } from '../../../audit/proof/signing-key.ts'
import { badge, commandBox, count, empty, table, time } from '../../components.ts'
import { Refused } from '../../errors.ts'
import { type Html, html, lines } from '../../html.ts'
import { unhurried } from '../../jobs.ts'
import { action, type ConsoleApp, page, type View } from '../../routes.ts'
import { logPicture } from './log-picture.ts'
import { otherKeyOfLog, type ProofKeys, trustedKey } from './proof-keys.ts'
import { PROOF_ROLES } from './roles.ts'

export function registerCheckpoints(app: ConsoleApp, keys: ProofKeys): void {
  action(app, { path: '/proof/checkpoint', roles: PROOF_ROLES, isLong: true }, async ({ options, signal }) => {
    const key = keys.signing
    if (key === undefined)
      throw new Refused(409, 'The console has no key that signs: AUDIT_SIGNING_KEY is not set for its process.')
    await trustedKey(keys, options.stored)
    const written = await writeCheckpoint(unhurried(options.stored), key, { signal })
    const text = written
      ? `A checkpoint of ${count(written.size)} events is signed.`
      : 'There is nothing new since the last checkpoint.'
    return { redirect: '/proof#checkpoints', notice: { kind: 'done', text } }
  })
  page(app, { path: '/proof/public.pem', title: 'Public key', roles: PROOF_ROLES }, async ({ options }) => ({
    filename: 'public.pem',
    type: 'application/x-pem-file',
    content: publicPem(await trustedKey(keys, options.stored)),
  }))
}

export async function checkpointSection({ options, formToken }: View, keys: ProofKeys): Promise<Html> {
  const key = keys.trusted
  const coverage = await coverageOf(options.stored, key ? [key] : [])
  const other = key && (await otherKeyOfLog(key, options.stored))
  const maySign = keys.signing !== undefined && other === undefined
  return html`<section id="checkpoints" aria-labelledby="checkpoints-title"><h2 id="checkpoints-title">What checkpoints cover</h2>
<p>A checkpoint is a signature over all events up to a moment. Whoever changes, removes or moves one of them later can't do so unnoticed, not even with full access to the store.</p>
${coverage.newest || coverage.uncovered ? html`<div class="panel">${logPicture(coverage)}${sentence(coverage, options.configuration.CHECKPOINT_MINUTES)}</div>` : empty('The log has no events yet that a checkpoint covers.', 'Checkpoints begin with the first customer.')}
${maySign && html`<form method="post" action="/proof/checkpoint">${formToken}<button>Sign a checkpoint now</button></form>`}
${coverage.checkpoints.length > 0 && html`<details><summary>The newest checkpoints</summary>${list(coverage)}</details>`}
<p class="soft">Streams from which the service removes events by design (credentials, sign-in counters, records of access) are in no checkpoint.</p>
${key && (other === undefined ? publicKeyBox(key) : html`<p class="notice failed">The console’s key is not the one of this log, so nothing here can be checked or signed with it. The log’s key is ${other}, the console’s is ${key.id}.</p>`)}
${commandBox('customers audit checkpoint')}</section>`
}

function sentence({ newest, covered, uncovered, isMore, uncoveredSince }: Coverage, minutes: number): Html {
  const next =
    minutes === 0
      ? 'Checkpoints are switched off (CHECKPOINT_MINUTES=0).'
      : `The service signs one every ${count(minutes)} ${minutes === 1 ? 'minute' : 'minutes'}, if there are new events.`
  const covers = newest
    ? html`The newest valid checkpoint was signed at ${time(newest.time)} and covers the first ${count(covered)} events.`
    : html`No checkpoint that this console can check covers anything yet.`
  if (uncovered === undefined)
    return html`<p>${covers} It is not of this log, so nobody can say what came after it: verify the log.</p>`
  if (uncovered === 0) return html`<p>${covers} There are no newer ones. ${next}</p>`
  const [are, they] = uncovered === 1 ? ['event is', 'it was'] : ['events are', 'they were']
  return html`<p>${covers} <strong>${isMore && 'More than '}${count(uncovered)} newer ${are} not covered yet</strong>${
    uncoveredSince && html`, the first written at ${time(uncoveredSince)}`
  }: if ${they} cut off the end of the log, nobody would notice. ${next}</p>`
}

function list({ checkpoints }: Coverage): Html {
  const rows = checkpoints.map(({ revision, time: at, size, keyId, isSigned }, index) => {
    const before = checkpoints[index + 1]
    return [
      time(at),
      count(size),
      before ? `+${count(size - before.size)}` : '',
      isSigned ? badge('signature valid', 'good') : badge('not of this key', 'warning'),
      html`<code>${keyId.slice(0, 12)}…</code>`,
      count(revision),
    ]
  })
  const columns = [
    { label: 'Signed' },
    { label: 'Events', isNumber: true },
    { label: 'New', isNumber: true },
    { label: 'Signature' },
    { label: 'Key' },
    { label: 'Revision', isNumber: true },
  ]
  return table('Checkpoints', columns, rows)
}

function publicKeyBox(key: PublicKey): Html {
  return html`<details><summary>The public key, for those who check proofs</summary>
<p>Give it to them once, by another way than the proofs. It is no secret.</p>
<div class="copied"><pre tabindex="0" aria-label="Public key">${lines(publicPem(key).trim())}</pre><button type="button" class="quiet" data-copy hidden>Copy</button></div>
<p><a href="/proof/public.pem">Download it</a></p></details>`
}
