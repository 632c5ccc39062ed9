/** A picture of the log: the part that the newest checkpoint covers, and the part that none covers yet. */
import type { Coverage } from '../../../audit/proof/coverage.ts'
import { count } from '../../components.ts'
import { type Html, html } from '../../html.ts'

const WIDTH = 640
const HEIGHT = 92
const BAR = { top: 30, height: 26 }
/** A part that is there is seen, however small it is. */
const NARROWEST = 14

/** Its numbers are in the sentence below it, so it has no table of its own. */
export function logPicture({ covered, uncovered = 0, isMore, checkpoints }: Coverage): Html {
  const all = covered + uncovered
  const share = all === 0 ? 0 : uncovered / all
  const open =
    uncovered === 0
      ? 0
      : Math.max(NARROWEST, Math.min(WIDTH - (covered > 0 ? NARROWEST : 0), Math.round(share * WIDTH)))
  const edge = WIDTH - open
  const { top, height } = BAR
  const more = isMore ? 'more than ' : ''
  const ticks =
    covered === 0
      ? []
      : checkpoints
          .filter(({ isSigned, size }) => isSigned && size <= covered)
          .map(({ size }) => Math.round((size / covered) * edge))
  const label = `The log in the order in which it was written: ${count(covered)} events covered by a signed checkpoint, then ${more}${count(uncovered)} not covered yet`
  return html`<figure class="log-picture"><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${label}">
${edge > 0 && html`<rect class="covered" x="0" y="${top}" width="${edge}" height="${height}" rx="3"/>`}
${open > 0 && html`<rect class="uncovered" x="${edge + 1}" y="${top + 1}" width="${open - 2}" height="${height - 2}" rx="3"/>`}
${[...new Set(ticks)].map((x) => html`<line class="tick" x1="${x}" x2="${x}" y1="${top - 7}" y2="${top + height}"/>`)}
${covered > 0 && html`<text x="0" y="16">${count(covered)} covered</text>`}
${open > 0 && html`<text x="${WIDTH}" y="16" text-anchor="end">${more}${count(uncovered)} not yet</text>`}
<text class="soft" x="0" y="${HEIGHT - 14}">first event</text>
<text class="soft" x="${WIDTH}" y="${HEIGHT - 14}" text-anchor="end">newest event</text>
</svg></figure>`
}
