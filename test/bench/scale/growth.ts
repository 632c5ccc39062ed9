/** How figures grow with the log, and a table of them. */

/** The figures of one operation: time and CPU in seconds, memory in MiB. */
export interface Figures {
  readonly time: number
  readonly cpu: number
  readonly memory: number
}

export type Figure = keyof Figures

export interface Growth {
  readonly name: string
  /** Figures that must not depend on the size of the log. */
  readonly flat: readonly Figure[]
  /** In the order of the sizes. */
  readonly measured: readonly Figures[]
}

const FIGURES = ['time', 'cpu', 'memory'] as const
/**
 * A figure with a larger exponent counts as growing. With ten times the log, CPU and memory may grow by half. Time may
 * double, because other processes on the machine affect it.
 */
const FLAT: Readonly<Record<Figure, number>> = { time: 0.3, cpu: 0.18, memory: 0.18 }

/** The x in figure ~ size^x, between the last two sizes. */
export function exponentOf(sizes: readonly number[], values: readonly number[]): number {
  const [size, before] = [sizes.at(-1) ?? 1, sizes.at(-2) ?? 1]
  const [value, valueBefore] = [values.at(-1) ?? 1, values.at(-2) ?? 1]
  return Math.log(value / valueBefore) / Math.log(size / before)
}

/** A line for each operation: its figures at each size, and their exponents. `!` marks one that should be flat and is not. */
export function growthTable(sizes: readonly number[], growths: readonly Growth[]): string {
  const head = [
    [
      '',
      ...sizes.flatMap((size) => [`${size.toLocaleString('en')}: time`, 'CPU', 'memory']),
      'exponent: time',
      'CPU',
      'memory',
    ],
  ]
  const rows = growths.map(({ name, flat, measured }) => [
    name,
    ...measured.flatMap(({ time, cpu, memory }) => [seconds(time), seconds(cpu), `${memory.toFixed(0)} MiB`]),
    ...FIGURES.map((figure) => {
      const exponent = exponentOf(
        sizes,
        measured.map((each) => each[figure]),
      )
      return `${exponent.toFixed(2)}${flat.includes(figure) && exponent > FLAT[figure] ? ' !' : ''}`
    }),
  ])
  const all = [...head, ...rows]
  const widths = (all[0] ?? []).map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  const isMarked = rows.some((row) => row.some((cell) => cell.endsWith('!')))
  return [...all.map(line), ...(isMarked ? ['', '! should not depend on the size of the log'] : [])].join('\n')
}

const seconds = (value: number) => (value < 0.1 ? `${(value * 1000).toFixed(2)} ms` : `${value.toFixed(2)} s`)
