/** A picture of the log: the part that the newest checkpoint covers, and the part that none covers yet. */
import type { Coverage } from '../../../audit/proof/coverage.ts'
import { count } from '../../components.ts'
import { type Html, html } from '../../html.ts'

/** The picture is stretched to the page's width, so this is its resolution. */
const WIDTH = 1_000
/** A part that is there is seen, however small it is. */
const NARROWEST = 16

/** Its numbers are in the sentence below it, so it has no table of its own. */
export function logPicture({ covered, uncovered = 0, isMore, checkpoints }: Coverage): Html {
  const all = covered + uncovered
  const share = all === 0 ? 0 : uncovered / all
  const most = WIDTH - (covered > 0 ? NARROWEST : 0)
  const open = uncovered === 0 ? 0 : Math.max(NARROWEST, Math.min(most, Math.round(share * WIDTH)))
  const edge = WIDTH - open
  const signed = checkpoints.filter(({ isSigned, size }) => isSigned && size <= covered)
  const ticks = new Set(signed.map(({ size }) => Math.round((size / covered) * edge)))
  const notYet = `${isMore ? 'more than ' : ''}${count(uncovered)}`
  const label = `The log in the order in which it was written: ${count(covered)} events covered by a signed checkpoint, then ${notYet} not covered yet`
  return html`<figure class="log-picture">
<p class="ends"><strong>${covered > 0 && `${count(covered)} covered`}</strong><strong>${open > 0 && `${notYet} not yet`}</strong></p>
<svg viewBox="0 0 ${WIDTH} 40" preserveAspectRatio="none" role="img" aria-label="${label}">
${edge > 0 && html`<rect class="covered" x="0" y="8" width="${edge}" height="32"/>`}
${open > 0 && html`<rect class="uncovered" x="${edge}" y="8" width="${open}" height="32"/>`}
${[...ticks].map((x) => html`<line class="tick" x1="${x}" x2="${x}" y1="0" y2="40"/>`)}
</svg>
<p class="ends soft"><span>first event</span><span>newest event</span></p></figure>`
}
