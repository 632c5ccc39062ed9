/** Measures contenders side by side: rounds in turn, so that whatever else the machine does meets all of them alike. */
import { check, type Exchange, load } from './load.ts'
import type { Contender } from './processes.ts'

interface Entrant {
  readonly contender: Contender
  /** One list for each connection. */
  readonly exchanges: readonly (readonly Exchange[])[]
}

export interface Comparison {
  readonly ours: Entrant
  readonly others: readonly { readonly name: string; readonly entrant: Entrant; readonly aim: number }[]
  /** Default 64. */
  readonly connections?: number
}

/** Medians of the rounds. */
export interface Figures {
  /** Requests, or events. */
  readonly perSecond: number
  /** Milliseconds. */
  readonly p50?: number
  readonly p99?: number
  /** Microseconds of CPU time of the contender's process for one request. */
  readonly cpu?: number
  /** MiB, the most of all rounds. */
  readonly memory?: number
}

type RequestFigures = Figures & { readonly p99: number; readonly cpu: number }

export interface Ratio {
  readonly name: string
  /** Ours to the other's per second: the median of the rounds, the lowest and the highest. */
  readonly ratio: number
  readonly lowest: number
  readonly highest: number
  readonly aim: number
  readonly ours: Figures
  readonly other: Figures
}

/** @throws Error where a contender gives another answer than it should, at first or under load */
export async function compare(
  { ours, others, connections = 64 }: Comparison,
  { rounds, seconds, warmUp }: { readonly rounds: number; readonly seconds: number; readonly warmUp: number },
): Promise<Ratio[]> {
  const entrants = [ours, ...others.map(({ entrant }) => entrant)]
  const measured = await Promise.all(
    entrants.map(async ({ contender, exchanges }) => ({
      contender,
      target: await check(contender.url, exchanges),
      rounds: [] as RequestFigures[],
    })),
  )
  for (const { target } of measured) await load(target, connections, warmUp)
  for (let round = 0; round < rounds; round++) {
    // Forth and back: none is always the first.
    for (const { contender, target, rounds } of round % 2 === 0 ? measured : measured.toReversed()) {
      const before = await contender.cpu()
      const { requests, requestsPerSecond, p99 } = await load(target, connections, seconds)
      rounds.push({ perSecond: requestsPerSecond, p99, cpu: ((await contender.cpu()) - before) / requests })
    }
  }
  const [first, ...rest] = measured.map(({ rounds }) => rounds) as [RequestFigures[], ...RequestFigures[][]]
  return others.map(({ name, aim }, index) => {
    const other = rest[index] as RequestFigures[]
    const ratios = first.map(({ perSecond }, round) => perSecond / (other[round]?.perSecond ?? 0))
    return {
      name,
      ratio: median(ratios),
      lowest: Math.min(...ratios),
      highest: Math.max(...ratios),
      aim,
      ours: summary(first),
      other: summary(other),
    }
  })
}

function summary(rounds: readonly RequestFigures[]): Figures {
  return {
    perSecond: median(rounds.map(({ perSecond }) => perSecond)),
    p99: median(rounds.map(({ p99 }) => p99)),
    cpu: median(rounds.map(({ cpu }) => cpu)),
  }
}

/** Of an even number of values the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const [low = Number.NaN, high = Number.NaN] = [sorted[middle - 1], sorted[middle]]
  return sorted.length % 2 === 1 ? high : (low + high) / 2
}
