/** Random choices that a seed decides. */
export interface Random {
  /** From 0 up to, and without, `limit`. */
  readonly int: (limit: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <T>(list: readonly T[]) => T
  /** Some of a list, each with the same probability. */
  readonly some: <T>(list: readonly T[], probability: number) => T[]
  /** All of a list, in any order. */
  readonly shuffle: <T>(list: readonly T[]) => T[]
}

/** mulberry32. @param seed a 32-bit integer */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const int = (limit: number) => Math.floor(next() * limit)
  return {
    int,
    chance: (probability) => next() < probability,
    pick: (list) => list[int(list.length)] as never,
    some: (list, probability) => list.filter(() => next() < probability),
    shuffle: (list) => {
      const shuffled = [...list]
      for (let index = shuffled.length - 1; index > 0; index--) {
        const other = int(index + 1)
        ;[shuffled[index], shuffled[other]] = [shuffled[other] as never, shuffled[index] as never]
      }
      return shuffled
    },
  }
}

/** FNV-1a, 32 bits. */
export function hash(text: string): number {
  let value = 0x811c9dc5
  for (let index = 0; index < text.length; index++) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193)
  }
  return value >>> 0
}
