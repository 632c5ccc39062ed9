/** Brings the keys of so many customers into memory, as whoever walks the whole log has them, and looks each one up. */
import { keysOf } from '../../../eventstore/encryption/customer-keys.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { collectGarbage, job } from './job.ts'

/** So many are asked for at a time. */
const BATCH = 6_400

const resident = () => {
  collectGarbage()
  return process.memoryUsage.rss() / 2 ** 20
}

await job<StoreOptions & { readonly count: number }>(async (options) => {
  const { eventStore, readModel } = await openStores(options)
  await readModel.close()
  const keys = keysOf(eventStore)
  await keys.check()
  const before = resident()
  return async () => {
    await keys.loadAll()
    for (let first = 1; first < options.count; first += BATCH) {
      const subjects = Array.from({ length: Math.min(BATCH, options.count - first) }, (_, index) =>
        String(first + index),
      )
      await keys.load(subjects)
      for (const subject of subjects) if (!keys.peek(subject)?.bytes) throw new Error(`No key of ${subject}.`)
    }
    const memory = resident() - before
    if (keys.peek('1') === undefined) throw new Error('The keys are to be in memory until here.')
    return { count: options.count, memory }
  }
})
