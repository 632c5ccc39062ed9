/** Reads the whole log with the official client's `readAll`. */
import { KurrentDBClient } from '@kurrent/kurrentdb-client'
import type { StoreOptions } from '../stores.ts'
import { job } from './job.ts'

await job<StoreOptions>(async ({ eventStoreUrl = '' }) => {
  const client = KurrentDBClient.connectionString(eventStoreUrl)
  for await (const _ of client.readAll({ maxCount: 1 }));
  return async () => {
    let count = 0
    for await (const { event } of client.readAll()) if (event) count++
    return count
  }
})
