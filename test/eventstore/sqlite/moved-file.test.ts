/** A log whose file is removed or replaced while processes use it: nothing more is acknowledged that nobody would find. */
import { copyFile, mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { bulkAppendsOf } from '../../../eventstore/bulk-appends.ts'
import { EventStoreUnavailable } from '../../../eventstore/port.ts'
import { openSqliteEventStore } from '../../../eventstore/sqlite/event-store.ts'
import { temporaryFolder } from '../../support/graph.ts'
import { until } from '../../support/until.ts'

const anEvent = () => ({ id: crypto.randomUUID(), type: 'A', data: {} })
const refused = (suffix: string) => ({
  constructor: EventStoreUnavailable,
  message: new RegExp(`events\\.db${suffix} was removed, moved away or replaced`),
})

const LOSSES: Readonly<Record<string, (path: string, apart: string) => Promise<unknown>>> = {
  removed: (path) => Promise.all(['', '-wal', '-shm'].map((suffix) => rm(`${path}${suffix}`, { force: true }))),
  'moved away': (path, apart) => rename(path, apart),
  async replaced(path, apart) {
    await copyFile(path, apart)
    await rename(apart, path)
  },
  'without its write-ahead log': (path) => rm(`${path}-wal`),
  'without its index of the write-ahead log': (path) => rm(`${path}-shm`),
}
/** Of the file that is named, where it is not the log itself. */
const SUFFIXES: Readonly<Record<string, string>> = {
  'without its write-ahead log': '-wal',
  'without its index of the write-ahead log': '-shm',
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

    const REFUSED = refused(SUFFIXES[name] ?? '')
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

for (const suffix of ['-wal', '-shm']) {
  t.test(
    `what was acknowledged before ${suffix} was removed is in the file that is left, without another write`,
    async (t) => {
      const folder = await temporaryFolder(t)
      const path = join(folder, 'events.db')
      const store = openSqliteEventStore({ path })
      t.teardown(() => store.close())
      await store.append('customer-1', [anEvent(), anEvent()], { expected: 'no_stream' })
      await rm(`${path}${suffix}`)
      // Another process may begin logs of its own then, and writes what this one would never see.
      await until('reads are refused', async () => {
        try {
          for await (const _ of store.readStream('customer-1'));
          return false
        } catch (error) {
          return error instanceof EventStoreUnavailable
        }
      })
      await copyFile(path, join(folder, 'left.db')) // as a process that is killed now leaves it
      const left = openSqliteEventStore({ path: join(folder, 'left.db'), isCopy: true })
      t.teardown(() => left.close())
      const revisions = []
      for await (const { revision } of left.readStream('customer-1')) revisions.push(revision)
      t.same(revisions, [0, 1])
    },
  )
}
