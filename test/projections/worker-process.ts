/**
 * A projection worker that is killed (SIGKILL) right after it stored the documents of its n-th write, before their
 * checkpoint. Arguments: the event store's file, the read model's, the batch size, n, after how many events it
 * writes (default: each batch).
 */
import { openSqliteEventStore } from '../../eventstore/sqlite/event-store.ts'
import { openSqliteReadModel } from '../../projections/sqlite/read-model.ts'
import { startProjection } from '../../projections/worker/worker.ts'

const [events = '', documents = '', batchSize = '1', killAt = '1', writeAfter = batchSize] = process.argv.slice(2)
const readModel = openSqliteReadModel({ path: documents })
let puts = 0
startProjection({
  eventStore: openSqliteEventStore({ path: events }),
  readModel: {
    ...readModel,
    async put(writes, newest) {
      const revisions = await readModel.put(writes, newest)
      if (++puts === Number(killAt)) process.kill(process.pid, 'SIGKILL')
      return revisions
    },
  },
  batchSize: Number(batchSize),
  writeAfter: Number(writeAfter),
})
