/** Appends to a SQLite log, twice as many as are timed: as the service has it, or with the hash chain alone, or bare. */
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { chained } from '../../../eventstore/hash-chain.ts'
import { appendChanges, BUSY } from '../appends.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

type Options = StoreOptions & { readonly count: number; readonly isChained?: boolean }

await job<Options>(async ({ folder, count, isBare = false, isChained = false }) => {
  const { eventStore } = await openStores({ folder: mkdtempSync(join(folder, 'appends-')), isBare })
  const store = isChained ? chained(eventStore) : eventStore
  // As the benches of requests: a service runs for longer than it takes to compile what it runs.
  const warmUp = await appendChanges(store, count)
  return () => appendChanges(store, count, warmUp / BUSY)
})
