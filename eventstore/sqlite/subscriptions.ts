/**
 * Catch-up subscriptions: a loop that reads a batch, delivers it, and waits for the next change once it has caught up.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Subscription, SubscriptionBatch } from '../port.ts'
import type { Access } from './access.ts'
import type { Changes } from './changes.ts'

interface Subscribed extends Subscription {
  ended: boolean
}

export interface Subscriptions {
  /** @param read reads the next batch, and remembers how far it has come */
  open(read: () => SubscriptionBatch): Subscription
  /** From now on, new subscriptions end at once. */
  refuse(): void
  /** Ends all open subscriptions. */
  end(): Promise<void>
}

export function createSubscriptions({ read: readBatch }: Access, changes: Changes): Subscriptions {
  const subscriptions = new Set<Subscribed>()
  let isRefusing = false

  async function* follow(read: () => SubscriptionBatch, subscribed: Subscribed): AsyncGenerator<SubscriptionBatch> {
    let last: SubscriptionBatch | undefined
    try {
      while (!subscribed.ended) {
        // The count first, so that a commit between the two causes a superfluous read and is not missed.
        const { batch, seen } = await readBatch(() => ({ seen: changes.count(), batch: read() }))
        if (subscribed.ended) return
        // The first batch always reports the current end; later ones only report news.
        if (batch.checkpoint.commit !== last?.checkpoint.commit || batch.caughtUp !== last.caughtUp) yield batch
        last = batch
        if (!batch.caughtUp) await nextTurn()
        else if (!subscribed.ended) await changes.after(seen)
      }
    } finally {
      subscriptions.delete(subscribed)
    }
  }

  return {
    open(read) {
      const subscribed: Subscribed = {
        ended: isRefusing,
        [Symbol.asyncIterator]: () => batches,
        async unsubscribe() {
          subscribed.ended = true
          subscriptions.delete(subscribed)
          changes.announce()
          await nextTurn() // a batch that is on its way to the consumer arrives before this resolves
        },
      }
      const batches = follow(read, subscribed)
      subscriptions.add(subscribed)
      return subscribed
    },

    refuse() {
      isRefusing = true
    },

    async end() {
      await Promise.all([...subscriptions].map((each) => each.unsubscribe()))
    },
  }
}
