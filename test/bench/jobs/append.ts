/** Appends to an empty SQLite log: as the service has it, or with the hash chain alone, or bare. */
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { chained } from '../../../eventstore/hash-chain.ts'
import { appendChanges } from '../appends.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

type Options = StoreOptions & { readonly count: number; readonly isChained?: boolean }

await job<Options>(async ({ folder, count, isBare = false, isChained = false }) => {
  const { eventStore } = await openStores({ folder: mkdtempSync(join(folder, 'appends-')), isBare })
  return () => appendChanges(isChained ? chained(eventStore) : eventStore, count)
})
