/** Parts that the pages of operations share. */
import { badge, count, time } from '../../components.ts'
import { type Html, html } from '../../html.ts'
import type { Job } from './jobs.ts'

const PAGES = [
  ['/operations', 'Overview'],
  ['/operations/generations', 'Generations'],
  ['/operations/parked', 'Parked events'],
] as const

/** @param parked how many events are parked, if it is known */
export const subNavigation = (path: string, parked?: number): Html =>
  html`<nav class="sub" aria-label="Operations"><ul>${PAGES.map(
    ([page, label]) =>
      html`<li><a href="${page}"${page === path && html` aria-current="page"`}>${label}${page.endsWith('parked') && parked !== undefined && parked > 0 && html` ${badge(count(parked), 'warning')}`}</a></li>`,
  )}</ul></nav>`

/** A bar of progress with its share in words. @param live what updates it */
export function bar(label: string, share: number | undefined, live = ''): Html {
  const percent = share === undefined ? undefined : Math.floor(share * 100)
  const key = live !== '' && html` data-live="${live}"`
  return html`<p><progress class="bar-meter" aria-label="${label}" max="100"${percent !== undefined && html` value="${percent}"`}${key}></progress>
<span${live !== '' && html` data-live="${live}Text"`}>${percent === undefined ? 'how far is not known yet' : `${percent} %`}</span></p>`
}

/** What an operator started from the console, while it runs and after it. */
export function jobSummary(job: Job | undefined): Html | false {
  if (job === undefined) return false
  const { kind, by, startedAt, phase, done, share, ended } = job
  if (ended) {
    return html`<p class="notice ${ended.isGood ? 'done' : 'failed'}">The ${kind} that ${by} started ${time(startedAt)} has ended ${time(ended.at)}. ${ended.text} <a href="/operations/generations">More</a></p>`
  }
  return html`<section class="panel" aria-label="Running"><p><strong>A ${kind} is running</strong>, started by ${by} ${time(startedAt)}:
<span data-live="phase">${phase}</span>, <span data-live="done">${count(done)}</span> so far.</p>${bar(`Progress of the ${kind}`, share, 'share')}
<p><a href="/operations/generations">Differences, and stopping it</a></p></section>`
}

/** Live updates: without scripts, the page has a link to refresh it. */
export const liveScript = (): Html => html`<script type="module" src="/assets/operations.js"></script>`
