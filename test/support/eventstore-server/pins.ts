/**
 * Which consumer of a group holds which streams, as the server's PinnedConsumerState does it: streams fall into 1,024
 * buckets by a hash; a bucket goes to whoever holds the fewest when its first event comes, and stays there.
 */
import { createHash } from 'node:crypto'

const BUCKETS = 1_024

export interface Pins<C> {
  holderOf(bucket: number, consumers: readonly C[]): C
  /** Takes buckets from the others, those without events under way first, until it holds its share. */
  joined(consumer: C, consumers: readonly C[], isBusy: (holder: C, bucket: number) => boolean): void
  left(consumer: C): void
}

export function createPins<C>(): Pins<C> {
  const holders = new Map<number, C>()
  const bucketsOf = (consumer: C) => [...holders].flatMap(([bucket, holder]) => (holder === consumer ? [bucket] : []))

  return {
    holderOf(bucket, consumers) {
      const holder = holders.get(bucket)
      if (holder !== undefined) return holder
      const counts = new Map(consumers.map((consumer) => [consumer, 0]))
      for (const each of holders.values()) counts.set(each, (counts.get(each) ?? 0) + 1)
      const [least] = [...counts].reduce((a, b) => (b[1] < a[1] ? b : a))
      holders.set(bucket, least)
      return least
    },

    joined(consumer, consumers, isBusy) {
      const share = Math.ceil(holders.size / consumers.length)
      for (const other of consumers) {
        if (other === consumer) continue
        const buckets = bucketsOf(other).sort((a, b) => Number(isBusy(other, a)) - Number(isBusy(other, b)))
        for (const bucket of buckets.slice(0, Math.max(0, buckets.length - share))) holders.set(bucket, consumer)
      }
    },

    left(consumer) {
      for (const bucket of bucketsOf(consumer)) holders.delete(bucket)
    },
  }
}

const known = new Map<string, number>()

export function bucketOf(key: string): number {
  let bucket = known.get(key)
  if (bucket === undefined) {
    bucket = createHash('sha1').update(key).digest().readUInt32BE(0) % BUCKETS
    if (known.size > 100_000) known.clear()
    known.set(key, bucket)
  }
  return bucket
}
