/** Appends to an empty SQLite log as the service has it: encrypted, and with the hash chain. */
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { appendChanges } from '../appends.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions & { readonly count: number }>(async ({ folder, count }) => {
  const { eventStore } = await openStores({ folder: mkdtempSync(join(folder, 'appends-')) })
  return () => appendChanges(eventStore, count)
})
