/** A set of customers' ids: a bit for each, as ids are given out one after the other. */

export interface IdSet {
  readonly size: number
  has(id: number): boolean
  /** @returns whether it is new */
  add(id: number): boolean
}

/** Ids of a piece. A lone id costs a piece: some 200 bytes, as in a Set of two. */
const PIECE = 1_024

export function createIdSet(): IdSet {
  const pieces = new Map<number, Uint32Array>()
  let size = 0
  const wordOf = (id: number) => Math.floor((id % PIECE) / 32)
  const bitOf = (id: number) => 1 << (id % 32)
  const has = (id: number) => ((pieces.get(Math.floor(id / PIECE))?.[wordOf(id)] ?? 0) & bitOf(id)) !== 0
  return {
    get size() {
      return size
    },
    has,
    add(id) {
      if (has(id)) return false
      const number = Math.floor(id / PIECE)
      const piece = pieces.get(number) ?? new Uint32Array(PIECE / 32)
      pieces.set(number, piece)
      piece[wordOf(id)] = (piece[wordOf(id)] ?? 0) | bitOf(id)
      size++
      return true
    },
  }
}
