/** The import of export files into an empty log. */
import { emptyLog, type ImportBench, importInto, writeFiles } from './import-files.ts'
import { job } from './job.ts'

await job<ImportBench>(async (options) => {
  const files = writeFiles(options)
  // Warms up, as the job that it is compared with does when it records the appends.
  const first = await emptyLog(options.folder)
  await importInto(first, files)
  await first.close()

  const eventStore = await emptyLog(options.folder)
  return async () => {
    await importInto(eventStore, files)
    await eventStore.close()
    return options.rows
  }
})
