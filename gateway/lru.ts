/** A bounded map that forgets what was used longest ago. */
export type Lru<Value> = {
  readonly get: (key: string) => Value | undefined
  readonly set: (key: string, value: Value) => void
}

/**
 * @param maxEntries how many values are kept
 * @param maxCharacters how long all keys together may be; a longer key alone is never kept
 */
export function createLru<Value>(maxEntries: number, maxCharacters: number): Lru<Value> {
  // A Map keeps the order of insertion: what is read is put in again at the end.
  const entries = new Map<string, Value>()
  let characters = 0

  function remove(key: string) {
    if (entries.delete(key)) characters -= key.length
  }

  return {
    get: (key) => {
      const value = entries.get(key)
      if (value === undefined) return undefined
      entries.delete(key)
      entries.set(key, value)
      return value
    },
    set: (key, value) => {
      remove(key)
      if (key.length > maxCharacters) return
      entries.set(key, value)
      characters += key.length
      for (const oldest of entries.keys()) {
        if (entries.size <= maxEntries && characters <= maxCharacters) break
        remove(oldest)
      }
    },
  }
}
