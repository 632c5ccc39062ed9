/** One request, or one look, in the timeline of a customer. */
import { streamOf } from '../../../schema/streams.ts'
import { badge, count, facts, time } from '../../components.ts'
import { words } from '../../form-fields.ts'
import { EMPTY, type Html, html } from '../../html.ts'
import { actorShown, eventWords, sentence, valueWords } from '../../words.ts'
import { anchorOf, placeUrl, requestUrl } from '../find/rows.ts'
import { address } from './address.ts'
import type { Entry, Group, Look } from './history.ts'
import { changeTable } from './state-panel.ts'

/** Longer lists of changes are folded away. */
const MOST_OPEN = 8

export function groupItem(customerId: number, query: URLSearchParams, group: Group): Html {
  if (group.kind === 'look') return lookItem(group.look)
  const { requestId, entries, signedIn } = group
  const [first] = entries
  if (!first) return EMPTY
  const actors = [...new Set(entries.map(({ actor }) => actor))]
  const network = signedIn?.details.clientAddress
  return html`<li><p class="head">${time(first.created)} <span>by ${actors.map((actor, index) => html`${index > 0 && ', '}${actorShown(actor)}`)}</span>
${requestId !== '' && html`<small>request <a href="${requestUrl(requestId, first.created)}" title="Everything that this request did">${requestId}</a></small>`}</p>
${signedIn && html`<p class="soft">${network != null && html`from <strong>${valueWords(network)}</strong>, `}signed in ${time(signedIn.created)}</p>`}
${entries.map((entry) => entryArticle(customerId, query, entry))}</li>`
}

const lookItem = ({ created, actor, reason, command, place }: Look): Html => html`<li class="look">
<p class="head">${time(created)} ${badge('looked at', 'warning')} <span>by ${actorShown(actor)}</span></p>
<p>Personal data was shown, because: <q>${reason}</q> <small>(${command}; <a href="${placeUrl(place)}">the record of it</a>)</small></p></li>`

function entryArticle(customerId: number, query: URLSearchParams, entry: Entry): Html {
  const { type, revision, stream, changes, details, problem } = entry
  const isOwn = stream === streamOf.customer(customerId)
  const title = type === 'AccessRecorded' ? accessWords(details.kind) : eventWords(type)
  const table = changes.length > 0 && changeTable(`${title}, revision ${revision}`, changes, ['Before', 'After'])
  const shown = Object.entries(details).filter(([name, value]) => name !== 'kind' && value !== undefined)
  return html`<article class="event" id="${anchorOf(entry)}" data-place>
<h3>${title} ${mark(type, details.kind)}${
    isOwn &&
    html` <small>revision <a href="${address(customerId, query, { at: String(revision) })}#state">${revision}</a></small>`
  }</h3>
${problem !== undefined && html`<p class="fault">It can't be applied: ${problem}</p>`}
${isOwn && entry.evidence?.reason !== undefined && html`<p>Reason: <q>${entry.evidence.reason}</q></p>`}
${changes.length > MOST_OPEN ? html`<details><summary>${changes.length} fields</summary>${table}</details>` : table}
${shown.length > 0 && facts(shown.map(([name, value]) => [DETAIL_WORDS[name] ?? name, valueWords(value ?? null)]))}
${evidence(customerId, query, entry, isOwn)}
</article>`
}

const DETAIL_WORDS: Readonly<Record<string, string>> = {
  clientAddress: 'Client network',
  userAgent: 'Browser',
  reason: 'Reason',
  revision: 'Revision',
}

const accessWords = (kind: unknown): string =>
  typeof kind === 'string' ? sentence(words(kind)) : eventWords('AccessRecorded')

/** What stands out in a timeline. */
function mark(type: string, kind: unknown): Html | false {
  if (type === 'CustomerDeleted') return badge('erasure', 'bad')
  if (type === 'CustomerLocked' || kind === 'locked') return badge('lockout', 'bad')
  if (type === 'EventSkipped') return badge('parked event skipped', 'warning')
  if (kind === 'signed-in') return badge('sign-in', 'good')
  if (kind === 'sign-in-failed' || kind === 'password-refused') return badge('refused', 'warning')
  return type === 'AccessRecorded' && badge('access')
}

function evidence(customerId: number, query: URLSearchParams, entry: Entry, isOwn: boolean): Html {
  const { id, stream, revision, evidence, covering } = entry
  const place = String(revision)
  return html`<details class="evidence"><summary>Evidence</summary>
${facts([
  ['Event', html`<code>${id}</code>`],
  [
    'Place',
    html`<code>${stream}</code> revision ${revision}${evidence && html`, position ${evidence.position.commit}`}`,
  ],
  ['Hash', evidence?.hash === undefined ? 'from before there were hashes' : html`<code>${evidence.hash}</code>`],
  [
    'Checkpoint that covers it',
    covering
      ? html`number ${covering.revision}, of ${time(covering.time)}, over ${count(covering.size)} events`
      : evidence?.isInTree === false
        ? 'none: its stream is in no checkpoint, because its events are not kept for good'
        : 'none yet',
  ],
])}
${
  isOwn &&
  html`<p class="actions"><a href="${address(customerId, query, { at: place })}#state">State here</a>
<a href="${address(customerId, query, { from: place, at: undefined })}#state">Compare with now</a>
<a href="/proof?event=${encodeURIComponent(`${customerId}:${revision}`)}#of-event">Prove it</a></p>`
}</details>`
}
