/** From an append to the document in the read model, at 500 appends a second, with the projection a process of its own. */

import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { streamOf } from '../../../schema/streams.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

const PER_SECOND = 500

await job<StoreOptions & { readonly customers: number; readonly seconds: number }>(async (options) => {
  const { customers } = options
  const { eventStore, readModel } = await openStores(options)
  const revisions = new Map<number, number>()
  for (const [index, document] of (
    await readModel.documents(Array.from({ length: customers }, (_, i) => i + 1))
  ).entries()) {
    revisions.set(index + 1, document?.revision ?? -1)
  }
  const waits: number[] = []

  async function once(id: number): Promise<void> {
    const revision = revisions.get(id) as number
    revisions.set(id, revision + 1)
    const eventId = randomUUID()
    const metadata = {
      $correlationId: eventId,
      $causationId: eventId,
      actor: 'bench',
      at: new Date().toISOString(),
      schemaVersion: 1,
    }
    const event = { id: eventId, type: 'CustomerDetailsChanged', data: { firstname: `n${revision}` }, metadata }
    await eventStore.append(streamOf.customer(id), [event], { expected: revision })
    const appended = performance.now()
    for (;;) {
      const [document] = await readModel.documents([id])
      if ((document?.revision ?? -1) > revision) break
      await delay(1)
    }
    waits.push(performance.now() - appended)
  }

  return async () => {
    const began = performance.now()
    const pending: Promise<void>[] = []
    for (let number = 0; number < PER_SECOND * options.seconds; number++) {
      const due = began + (number * 1000) / PER_SECOND
      if (due > performance.now()) await delay(due - performance.now())
      pending.push(once((number % customers) + 1))
    }
    await Promise.all(pending)
    const sorted = waits.toSorted((a, b) => a - b)
    const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))] as number
    return { count: waits.length, p50: at(0.5), p99: at(0.99) }
  }
})
