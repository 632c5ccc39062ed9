/** A set of customer ids. Each takes one bit, because ids are assigned consecutively. */

export interface IdSet {
  readonly size: number
  has(id: number): boolean
  /** @returns whether the id is new */
  add(id: number): boolean
}

/** Ids in a chunk. A single id far from all others takes a whole chunk: about 200 bytes, like a Set of two. */
const CHUNK = 1_024

export function createIdSet(): IdSet {
  const chunks = new Map<number, Uint32Array>()
  let size = 0
  const wordOf = (id: number) => Math.floor((id % CHUNK) / 32)
  const bitOf = (id: number) => 1 << (id % 32)
  const has = (id: number) => ((chunks.get(Math.floor(id / CHUNK))?.[wordOf(id)] ?? 0) & bitOf(id)) !== 0
  return {
    get size() {
      return size
    },
    has,
    add(id) {
      if (has(id)) return false
      const number = Math.floor(id / CHUNK)
      const chunk = chunks.get(number) ?? new Uint32Array(CHUNK / 32)
      chunks.set(number, chunk)
      chunk[wordOf(id)] = (chunk[wordOf(id)] ?? 0) | bitOf(id)
      size++
      return true
    },
  }
}
