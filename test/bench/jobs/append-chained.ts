/** Appends to an empty SQLite log, with the hash chain. */
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { chained } from '../../../eventstore/chain.ts'
import { appendChanges } from '../appends.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions & { readonly count: number }>(async ({ folder, count }) => {
  const { eventStore } = await openStores({ folder: mkdtempSync(join(folder, 'appends-')), isBare: true })
  return () => appendChanges(chained(eventStore), count)
})
