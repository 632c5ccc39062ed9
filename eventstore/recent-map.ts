/**
 * A map that keeps what was set or read last. Kept in two generations instead of a list in order of use: a read or a write costs
 * one or two look-ups of a Map, which is a fifth of what an exact order costs, and here it is done for each event.
 */
export interface RecentMap<K, V> {
  get(key: K): V | undefined
  set(key: K, value: V): void
  has(key: K): boolean
  delete(key: K): void
  clear(): void
}

/** @param atLeast so many entries are kept for certain, those that were used last; at most twice as many */
export function createRecentMap<K, V>(atLeast: number): RecentMap<K, V> {
  let young = new Map<K, V>()
  let old = new Map<K, V>()

  function set(key: K, value: V): void {
    young.set(key, value)
    if (young.size < atLeast) return
    old = young
    young = new Map()
  }

  return {
    get(key) {
      const value = young.get(key)
      if (value !== undefined) return value
      const aged = old.get(key)
      if (aged !== undefined) set(key, aged)
      return aged
    },
    set,
    has: (key) => young.has(key) || old.has(key),
    delete(key) {
      young.delete(key)
      old.delete(key)
    },
    clear() {
      young.clear()
      old.clear()
    },
  }
}
