/** The panel beside the timeline: the customer as of a moment, how to choose one, and the difference of two. */
import type { Change } from '../../../audit/changes.ts'
import { smallTable, time } from '../../components.ts'
import { type Html, html } from '../../html.ts'
import { valueWords } from '../../words.ts'
import { address } from './address.ts'
import type { State } from './state.ts'

/** @param newest the newest revision of the customer's stream; -1: none */
export function statePanel(
  customerId: number,
  state: State | 'not there' | 'not applicable',
  query: URLSearchParams,
  newest: number,
): Html {
  const isThere = typeof state === 'object'
  return html`<section class="panel state" id="state" aria-labelledby="state-title">
<h2 id="state-title">${isThere ? `The customer at revision ${state.revision}` : 'The customer then'}</h2>
${state === 'not there' && html`<p>${newest < 0 ? 'There is no account with this number: only the records beside it.' : 'The customer was not there at that moment. Choose another one.'}</p>`}
${state === 'not applicable' && html`<p class="fault">An event before that moment can't be applied: the timeline marks it.</p>`}
${isThere && html`<p class="soft">Since ${time(state.created)}${state.revision === newest && ', the newest state'}.</p>`}
${newest >= 0 && momentForms(customerId, query, isThere ? state.revision : newest, newest)}
${isThere && steps(customerId, query, state.revision, newest)}
${isThere && difference(state)}
${isThere && html`<h3>All fields</h3>${fieldTable(state)}`}
</section>`
}

function steps(customerId: number, query: URLSearchParams, revision: number, newest: number): Html {
  const step = (label: string, to: number) =>
    to < 0 || to > newest
      ? html`<span class="button disabled" aria-disabled="true">${label}</span>`
      : html`<a class="button" href="${address(customerId, query, { at: String(to) })}#state">${label}</a>`
  return html`<nav class="actions neighbours" aria-label="Neighbouring revisions">${step('← Previous', revision - 1)} <span>${revision} of ${newest}</span> ${step('Next →', revision + 1)}</nav>`
}

const fieldTable = ({ revision, fields, changed }: State): Html =>
  smallTable(
    `Fields at revision ${revision}`,
    [{ label: 'Field' }, { label: 'Value' }],
    fields.map(({ field, value }) => [
      html`<code>${field}</code>`,
      changed.has(field)
        ? html`<mark>${value}</mark><span class="visually-hidden"> (changed by this revision)</span>`
        : value,
    ]),
  )

function difference({ revision, difference }: State): Html | false {
  if (difference === undefined) return false
  if (difference === 'not there')
    return html`<h3>Difference</h3><p>The customer was not there at the moment to compare with.</p>`
  const { from, changes } = difference
  const title = `Difference from revision ${from} to ${revision}`
  return html`<h3>${title}</h3>${
    changes.length === 0
      ? html`<p>Nothing differs.</p>`
      : changeTable(title, changes, [`Revision ${from}`, `Revision ${revision}`])
  }`
}

/** Values before and after. */
export const changeTable = (
  caption: string,
  changes: readonly Change[],
  [before, after]: readonly [string, string],
): Html =>
  smallTable(
    caption,
    [{ label: 'Field' }, { label: before }, { label: after }],
    changes.map(({ field, from, to }) => [html`<code>${field}</code>`, shownValue(from), shownValue(to)]),
  )

const shownValue = (value: Change['from']) =>
  value === null ? html`<span class="soft">not set</span>` : valueWords(value)

/** Parameters of the address that a form keeps. */
export const hiddenFields = (query: URLSearchParams, names: readonly string[]): readonly Html[] =>
  names.flatMap((name) => {
    const value = query.get(name)
    return value ? [html`<input type="hidden" name="${name}" value="${value}">`] : []
  })

function momentForms(customerId: number, query: URLSearchParams, revision: number, newest: number): Html {
  const action = `/customers/${customerId}#state`
  const zone = query.get('zone')
  return html`${
    newest > 0 &&
    html`<form class="slider" method="get" action="${action}" data-submits>${hiddenFields(query, ['from', 'zone', 'field', 'page'])}
<label for="c-slider">Travel through its ${newest + 1} revisions</label>
<span class="field"><input id="c-slider" type="range" name="at" min="0" max="${newest}" step="1" value="${revision}"><output for="c-slider">${revision}</output><button>Go</button></span></form>`
  }
<form method="get" action="${action}">${hiddenFields(query, ['field', 'page'])}<div class="fields narrow">
<div><label for="c-at">State at</label><input id="c-at" name="at" value="${query.get('at')}" placeholder="newest" autocomplete="off"></div>
<div><label for="c-from">Compared with</label><input id="c-from" name="from" value="${query.get('from')}" placeholder="nothing" autocomplete="off"></div>
<div><label for="c-zone">Time zone</label><input id="c-zone" name="zone" value="${zone ?? 'UTC'}"${zone === null && html` data-viewer-zone`}></div>
<div class="actions"><button>Show</button></div></div>
<p class="soft">Each is a revision, a day (2026-11-24) or a time (2026-11-24 14:30).</p></form>`
}
