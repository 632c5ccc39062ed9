/** Appends to an empty SQLite log. */
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { appendChanges } from '../appends.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions & { readonly count: number }>(async ({ folder, count }) => {
  const { eventStore } = await openStores({ folder: mkdtempSync(join(folder, 'appends-')), isBare: true })
  return () => appendChanges(eventStore, count)
})
