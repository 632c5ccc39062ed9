/** A log whose file is removed or replaced while processes use it: nothing more is acknowledged that nobody would find. */
import { copyFile, mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { bulkAppendsOf } from '../../../eventstore/bulk-appends.ts'
import { EventStoreUnavailable } from '../../../eventstore/port.ts'
import { openSqliteEventStore } from '../../../eventstore/sqlite/event-store.ts'
import { temporaryFolder } from '../../support/graph.ts'

const anEvent = () => ({ id: crypto.randomUUID(), type: 'A', data: {} })
const REFUSED = { constructor: EventStoreUnavailable, message: /events\.db was removed, moved away or replaced/ }

const LOSSES: Readonly<Record<string, (path: string, apart: string) => Promise<unknown>>> = {
  removed: (path) => Promise.all(['', '-wal', '-shm'].map((suffix) => rm(`${path}${suffix}`, { force: true }))),
  'moved away': (path, apart) => rename(path, apart),
  async replaced(path, apart) {
    await copyFile(path, apart)
    await rename(apart, path)
  },
}

for (const [name, lose] of Object.entries(LOSSES)) {
  t.test(name, async (t) => {
    const folder = await temporaryFolder(t)
    await mkdir(join(folder, 'apart'))
    const path = join(folder, 'events.db')
    const store = openSqliteEventStore({ path })
    t.teardown(() => store.close())
    await store.append('customer-1', [anEvent()], { expected: 'no_stream' })
    await store.ping()

    await lose(path, join(folder, 'apart', 'events.db'))
    await t.rejects(store.append('customer-1', [anEvent()], { expected: 0 }), REFUSED)
    await t.rejects(store.setStreamMetadata('customer-1', { $maxCount: 1 }), REFUSED)
    await t.rejects(store.deleteStream('customer-1', { expected: 'any' }), REFUSED)
    const bulk = bulkAppendsOf(store)
    await t.rejects(
      Promise.resolve(bulk?.write([[{ stream: 'customer-2', events: [anEvent()], expected: 'no_stream' }]])),
      REFUSED,
    )
    await t.rejects(store.ping(), REFUSED, 'so it is not ready')
  })
}
