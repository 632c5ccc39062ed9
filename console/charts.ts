/** Small charts as SVG, made on the server, with their numbers as a table beside them for those who read rather than look. */
import { count, table } from './components.ts'
import { type Content, type Html, html } from './html.ts'

const WIDTH = 640
const HEIGHT = 160
const MARGIN = { top: 10, right: 8, bottom: 22, left: 48 }
const INNER = { width: WIDTH - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom }

export interface Point {
  /** At the axis and in the table, such as a day or a time. */
  readonly label: string
  /** 0 or more. */
  readonly value: number
}

/**
 * A chart of values in their order.
 * @param chart.kind `bars` for counts, `line` for a course
 * @param chart.shown how a value is written; default: with its thousands
 * @param chart.columns the heads of the table's two columns
 */
export function chart(chart: {
  readonly title: string
  readonly kind: 'bars' | 'line'
  readonly points: readonly Point[]
  readonly columns: readonly [string, string]
  readonly shown?: (value: number) => Content
}): Html {
  const { title, kind, points, columns, shown = count } = chart
  const top = niceTop(Math.max(0, ...points.map(({ value }) => value)))
  const y = (value: number) => round(MARGIN.top + INNER.height * (1 - value / top))
  const step = INNER.width / Math.max(1, points.length)
  const x = (index: number) => round(MARGIN.left + step * (index + 0.5))
  const floor = MARGIN.top + INNER.height
  const line = points.map(({ value }, index) => `${index === 0 ? 'M' : 'L'}${x(index)} ${y(value)}`).join('')
  const marks =
    kind === 'bars'
      ? points.map(
          ({ value }, index) =>
            html`<rect class="bar" x="${round(x(index) - step * 0.35)}" y="${y(value)}" width="${round(step * 0.7)}" height="${round(floor - y(value))}"/>`,
        )
      : points.length > 0 &&
        html`<path class="area" d="${line}L${x(points.length - 1)} ${floor}L${x(0)} ${floor}Z"/><path class="line" d="${line}"/>`
  const labelled = new Set([0, Math.floor((points.length - 1) / 2), points.length - 1])
  return html`<figure class="chart"><figcaption>${title}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}: the numbers are in the table below">
${[0, top / 2, top].map(
  (
    value,
  ) => html`<line class="axis" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(value)}" y2="${y(value)}"/>
<text x="${MARGIN.left - 6}" y="${y(value) + 4}" text-anchor="end">${shown(value)}</text>`,
)}
${marks}
${points.map(
  ({ label }, index) =>
    labelled.has(index) &&
    html`<text x="${x(index)}" y="${HEIGHT - 6}" text-anchor="${anchor(index, points.length)}">${label}</text>`,
)}
</svg>
<details><summary>Numbers</summary>${table(
    title,
    [{ label: columns[0] }, { label: columns[1], isNumber: true }],
    points.map(({ label, value }) => [label, shown(value)]),
  )}</details></figure>`
}

/** The next round number above: 1, 2 or 5 times a power of ten; at least 2, so that half of it is whole. */
function niceTop(value: number): number {
  if (value <= 2) return 2
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 5, 10].find((factor) => factor * power >= value) ?? 10) * power
}

const round = (value: number) => Math.round(value * 10) / 10

const anchor = (index: number, length: number) =>
  length === 1 ? 'middle' : index === 0 ? 'start' : index === length - 1 ? 'end' : 'middle'
