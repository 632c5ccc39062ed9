/** The appends that the import makes, and nothing else: the same events to the same streams, as many at once. */
import type { EventStore } from '../../../eventstore/port.ts'
import { emptyStore, type ImportBench, importInto, writeFiles } from './import-files.ts'
import { job } from './job.ts'

await job<ImportBench>(async (options) => {
  const files = writeFiles(options)
  const appends: Parameters<EventStore['append']>[] = []
  const recording = await emptyStore(options.folder)
  const append: EventStore['append'] = (...args) => {
    appends.push(args)
    return recording.append(...args)
  }
  await importInto({ ...recording, append }, files)
  await recording.close()

  const eventStore = await emptyStore(options.folder)
  return async () => {
    let next = 0
    const worker = async () => {
      for (let args = appends[next++]; args; args = appends[next++]) {
        await eventStore.append(args[0], args[1], { expected: 'any' })
      }
    }
    await Promise.all(Array.from({ length: 256 }, worker))
    await eventStore.close()
    return options.rows
  }
})
