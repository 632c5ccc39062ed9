/** Caches of a number of entries. */
import { LRUCache } from 'lru-cache'

/**
 * A cache that keeps the entries used last.
 *
 * It grows with what it holds. With `max` an LRUCache fills its arrays at the start, which for 100,000 entries takes 8 ms
 * and 2 MB, and a process has a dozen caches.
 * @param entries how many it keeps at most
 */
export const boundedCache = <Key extends {}, Value extends {}>(entries: number): LRUCache<Key, Value> =>
  new LRUCache({ maxSize: entries, sizeCalculation: () => 1 })
