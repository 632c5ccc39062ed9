/** The ratios as a table for people. */
import type { Figures, Ratio } from './compare.ts'

const columns: readonly (readonly [string, (ratio: Ratio) => string])[] = [
  ['', ({ name }) => name],
  ['ratio', ({ ratio }) => ratio.toFixed(2)],
  ['rounds', ({ lowest, highest }) => `${lowest.toFixed(2)}-${highest.toFixed(2)}`],
  ['aim', ({ aim }) => aim.toFixed(2)],
  ['met', ({ ratio, aim }) => (ratio >= aim ? 'yes' : 'no')],
  ['per s', both('perSecond', 0)],
  ['p50 ms', both('p50', 1)],
  ['p99 ms', both('p99', 1)],
  ['cpu us/req', both('cpu', 0)],
  ['memory MiB', both('memory', 0)],
]

/** One line for each ratio, under the names of the columns. Two figures in one column: ours, the other's. */
export function table(ratios: readonly Ratio[]): string {
  const rows = [columns.map(([title]) => title), ...ratios.map((ratio) => columns.map(([, cell]) => cell(ratio)))]
  const widths = columns.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function both(figure: keyof Figures, digits: number): (ratio: Ratio) => string {
  const shown = (figures: Figures) => figures[figure]?.toFixed(digits) ?? '-'
  return ({ ours, other }) => {
    const pair = [shown(ours), shown(other)]
    return pair.every((value) => value === '-') ? '' : pair.join(' / ')
  }
}
