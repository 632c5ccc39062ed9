/** The proof of an event as a file, and the page that checks such a file in the browser alone. */
import { join } from 'node:path'
import { NotCoveredError } from '../../../audit/errors.ts'
import { ACCEPTED_PLACES, parseEvent } from '../../../audit/places.ts'
import { type InclusionProof, proveInclusion } from '../../../audit/proof/inclusion.ts'
import { hasPersonal, isEncrypted } from '../../../eventstore/codec.ts'
import { customerOf } from '../../../projections/fold.ts'
import { eventSchemas } from '../../../schema/events.ts'
import { commandBox } from '../../components.ts'
import { Refused } from '../../errors.ts'
import { type Html, html } from '../../html.ts'
import { unhurried } from '../../jobs.ts'
import { mayReveal, ROLES } from '../../people.ts'
import { action, type ConsoleApp, page, type View } from '../../routes.ts'
import { type ProofKeys, trustedKey } from './proof-keys.ts'
import { PROOF_ROLES } from './roles.ts'

/** Proofs that are being made or wait for it. */
const MOST_WAITING = 4

export function registerEventProofs(app: ConsoleApp, keys: ProofKeys): void {
  // The leaves are stored in one folder, so proofs are made one after another.
  let before: Promise<unknown> = Promise.resolve()
  let waiting = 0
  const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
    if (waiting === MOST_WAITING) throw new Refused(409, 'Other proofs are being made. Try again in a moment.')
    waiting++
    const turn = before.then(work)
    before = turn.catch(() => {})
    try {
      return await turn
    } finally {
      waiting--
    }
  }
  action(app, { path: '/proof/of-event', roles: PROOF_ROLES, isLong: true }, async (view) => {
    const { options, form, person } = view
    const given = form.get('event') ?? ''
    const event = parseEvent(given)
    if (event === undefined) throw new Refused(400, `This is not an event; accepted: its id, or ${ACCEPTED_PLACES}.`)
    const content = form.get('content') !== null
    if (content && !mayReveal(person)) {
      throw new Refused(403, 'A proof with the event in it is for the role auditor or privacy officer.')
    }
    const key = await trustedKey(keys, options.stored)
    const leafCache = join(options.configuration.DATA_DIR, 'proof-leaves')
    let proof: InclusionProof
    try {
      proof = await inTurn(() => {
        if (view.signal.aborted) throw new Refused(503, 'Nobody waits for this proof any more.')
        return proveInclusion(unhurried(options.stored), key, event, { content, leafCache })
      })
    } catch (error) {
      if (!(error instanceof NotCoveredError)) throw error
      const text = `No checkpoint covers this event yet, so there is no proof of it. ${keys.signing ? 'Sign a checkpoint, then come back to the proof.' : 'The service signs the next one by itself.'}`
      const query = new URLSearchParams({ event: given })
      return { redirect: `/proof?${query}#checkpoints`, notice: { kind: 'failed', text } } as const
    }
    if (proof.event) {
      if (view.reason === undefined && isInClear(proof.event)) {
        throw new Refused(
          403,
          'This event has fields in clear, from before there was encryption. Give a reason first, on the page of the customer or in Find, or take the proof without the event.',
        )
      }
      const customerId = customerOf(proof.event.stream) ?? null
      await view.recordExport({ command: 'prove --content', customerId })
    }
    return { filename: filenameOf(proof), type: 'application/json', content: `${JSON.stringify(proof, null, 2)}\n` }
  })
  page(app, { path: '/proof/check', title: 'Check a proof', roles: ROLES }, () => ({
    body: checker(),
    command: 'customers audit check proof.json --key public.pem',
  }))
}

/** Whether personal data can be read in an event as stored; on doubt it can. */
const isInClear = (event: NonNullable<InclusionProof['event']>): boolean =>
  !isEncrypted(event) && (hasPersonal(event) || !Object.hasOwn(eventSchemas, event.type))

function filenameOf({ leaf }: InclusionProof): string {
  const [stream, revision] = JSON.parse(leaf) as [string, number]
  return `proof-${stream}-${revision}.json`
}

const NOT_PROVED = html`<p class="limits"><strong>What a proof does not prove.</strong> It shows that the log held this event when the checkpoint was signed, and that it has not changed since. It does not show that what the event says is true, that nothing happened which was never written down, or that whoever holds the signing key has not signed another log as well.</p>`

export function eventProofSection({ formToken, query, person }: View): Html {
  return html`<section id="of-event" aria-labelledby="of-event-title"><h2 id="of-event-title">Proof for an event</h2>
<p>A file with which anybody can check, with the public key and without this service, that the event is in the log that was signed.</p>
<form class="panel" method="post" action="/proof/of-event">${formToken}
<label for="event">Event</label>
<input id="event" name="event" required maxlength="200" value="${query.get('event') ?? ''}" placeholder="such as 7:3" aria-describedby="event-hint" autocomplete="off" spellcheck="false">
<p class="hint" id="event-hint">Its id, or its place: <code>7:3</code> is revision 3 of customer 7, as is <code>customer-7 revision 3</code>.</p>
${mayReveal(person) && html`<label class="check"><input type="checkbox" name="content"> With the event itself, as it is stored: personal fields stay encrypted, except those from before there was encryption, which need a reason. This is recorded.</label>`}
<button class="primary">Download the proof</button>
<p class="hint">The first proof reads the log once, later ones only what is new.</p></form>
${NOT_PROVED}
<p><a href="/proof/check">Check a proof file</a></p>
${commandBox('customers audit prove 7:3 > proof.json')}</section>`
}

function checker(): Html {
  return html`<link rel="stylesheet" href="/assets/proof.css">
<p>The file is checked in this browser alone. Nothing of it is sent anywhere: the page makes no request while it checks.</p>
<noscript><p class="fault">This page needs JavaScript. On the command line: <code>customers audit check proof.json --key public.pem</code></p></noscript>
<form class="panel" id="check" hidden>
<label for="key">Public key (PEM)</label>
<textarea id="key" rows="4" required spellcheck="false" aria-describedby="key-hint" placeholder="-----BEGIN PUBLIC KEY-----"></textarea>
<p class="hint" id="key-hint">From whoever runs the service, by another way than the proof. The key inside the proof file proves nothing.</p>
<label for="file">Proof file</label>
<input id="file" type="file" accept=".json,application/json" required>
<button class="primary">Check</button>
</form>
<div id="outcome" class="outcome" role="status" aria-live="polite"></div>
${NOT_PROVED}
<script type="module" src="/assets/proof-check.js"></script>`
}
