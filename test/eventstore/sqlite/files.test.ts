import { execFile } from 'node:child_process'
import { appendFile, mkdir, open, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import t from 'tap'
import { SqliteFileError } from '../../../eventstore/errors.ts'
import { openEventStore } from '../../../eventstore/open-event-store.ts'
import { openSqliteEventStore } from '../../../eventstore/sqlite/event-store.ts'
import { all, datas, ids, someEvents } from '../../contract/event-store.ts'
import { environment, openTestLog } from '../../support/graph.ts'
import { openStore, startProcess, temporaryFolder } from './support.ts'

t.test('a disk that is full: the append says so, and nothing that was acknowledged is lost', async (t) => {
  const path = join(await temporaryFolder(t), 'events.db')
  // Blocks of 512 or 1024 bytes, by the shell. NODE_OPTIONS: what tap preloads would end the process at the signal.
  const limit = 'trap "" XFSZ; unset NODE_OPTIONS; ulimit -f 2000;'
  const writer = await startProcess(t, path, 'any', 's', 1000, limit)
  writer.go()
  await writer.ended
  const acknowledged = writer.said().filter((line) => !line.includes(' '))
  const refusals = writer.said().filter((line) => line.includes(' '))
  t.ok(acknowledged.length > 10, `${acknowledged.length} written`)
  t.equal(acknowledged.length + refusals.length, 1000)
  t.ok(refusals.length > 0, `${refusals.length} refused`)
  for (const line of new Set(refusals))
    t.match(line, /^EventStoreUnavailable: The event store can't be written: /, line)
  const { store } = await openStore(t, path)
  const there = new Set(ids(await all(store.readStream('s'))))
  t.same(
    acknowledged.filter((id) => !there.has(id)),
    [],
  )
  await store.append('s', someEvents(1), { expected: 'any' })
})

t.test('a disk that is full when a command ends: what it wrote counts, and no stack is shown', async (t) => {
  const folder = await temporaryFolder(t)
  const { store } = await openStore(t, join(folder, 'events.db'))
  await store.append('s', someEvents(2_000), { expected: 'any' })
  await store.close()
  // Large enough for the write-ahead log, and too small for the pages at the end of the file.
  const command = [join(import.meta.dirname, '../../../bin/customers.js'), 'keys', 'accept', 'token']
  const limited = [
    '-c',
    'trap "" XFSZ; unset NODE_OPTIONS; ulimit -f 70; exec "$@"',
    'sh',
    process.execPath,
    ...command,
  ]
  const env = { PATH: process.env.PATH, ...environment(folder) }
  const { stdout, stderr } = await promisify(execFile)('sh', limited, { env })
  t.match(stdout, /^TOKEN_SIGNING_KEY is the log's key from now on\./)
  t.equal(stderr, '')
  const again = await openTestLog(t, folder)
  t.equal((await all(again.readStream('keyFingerprints'))).length, 1)
})

t.test('a path is a file name, whatever SQLite makes of it', async (t) => {
  const folder = await temporaryFolder(t)
  const here = process.cwd()
  process.chdir(folder)
  t.teardown(() => process.chdir(here))
  for (const path of [':memory:', 'file:x?mode=memory']) {
    const store = await openEventStore(`sqlite:${path}`)
    await store.append('s', someEvents(2), { expected: 'any' })
    await store.close()
    const again = await openEventStore(`sqlite:${path}`)
    t.equal((await all(again.readStream('s'))).length, 2, path)
    await again.close()
  }
  await t.rejects(openEventStore('sqlite:'), { name: 'ConfigurationError', message: /accepted: sqlite:PATH/ })
})

t.test('files that can not be used: one clear line each', async (t) => {
  const folder = await temporaryFolder(t)
  const file = (name: string) => join(folder, name)
  const refused = (path: string, message: RegExp, name: string) => {
    try {
      openSqliteEventStore({ path }).close()
      t.fail(`${name} was opened`)
    } catch (error) {
      t.type(error, SqliteFileError, name)
      const text = (error as Error).message
      t.match(text, message, name)
      t.match(text, path, `${name}: names the file`)
      t.notMatch(text, /\n/, `${name}: one line`)
    }
  }

  await writeFile(file('text'), 'This is not a database. '.repeat(500))
  refused(file('text'), /is not an event store file/, 'a text file')
  await writeFile(file('short'), 'short')
  refused(file('short'), /is not an event store file/, 'a short text file')

  const foreign = new DatabaseSync(file('foreign'))
  foreign.exec('CREATE TABLE things (id INTEGER)')
  foreign.close()
  refused(file('foreign'), /is not an event store file: another program's database/, 'a foreign database')
  const untouched = new DatabaseSync(file('foreign'))
  t.match(untouched.prepare('SELECT group_concat(name) AS names FROM sqlite_schema').get(), { names: 'things' })
  t.match(untouched.prepare('PRAGMA journal_mode').get(), { journal_mode: 'delete' }, 'and it is left as it was')
  untouched.close()
  const marked = new DatabaseSync(file('marked'))
  marked.exec('PRAGMA application_id = 77')
  marked.close()
  refused(file('marked'), /another program's database/, "another program's database without tables")

  await openSqliteEventStore({ path: file('newer') }).close()
  const newer = new DatabaseSync(file('newer'))
  newer.exec('PRAGMA user_version = 99')
  newer.close()
  refused(file('newer'), /written by a newer release.*up to version 1/, 'a newer version')

  for (const name of ['scratched', 'cut', 'headless']) {
    const store = openSqliteEventStore({ path: file(name) })
    for (let n = 0; n < 20; n++) await store.append(`s-${n}`, someEvents(50), { expected: 'any' })
    await store.close()
  }
  const { size } = await stat(file('scratched'))
  const scratched = await open(file('scratched'), 'r+')
  for (let at = 4096; at < size; at += 4096) await scratched.write(Buffer.alloc(64, 0xa5), 0, 64, at)
  await scratched.close()
  refused(file('scratched'), /damaged/, 'overwritten pages')
  await truncate(file('cut'), Math.floor(size / 2))
  refused(file('cut'), /damaged/, 'half a file')
  const headless = await open(file('headless'), 'r+')
  await headless.write(Buffer.alloc(100, 0), 0, 100, 0)
  await headless.close()
  refused(file('headless'), /is not an event store file, or is damaged/, 'no header')

  refused(join(file('text'), 'below/events.db'), /can't be opened/, 'a folder that can not be made')
  refused(join(file('text'), 'events.db'), /can't be opened/, 'a path below a file')
  await mkdir(file('folder'))
  refused(file('folder'), /can't be opened/, 'a folder')

  await writeFile(file('empty'), '')
  await openSqliteEventStore({ path: file('empty') }).close()
  t.pass('an empty file becomes a store')
})

t.test('other schemes are refused', async (t) => {
  await t.rejects(openEventStore('postgres://localhost/x'), {
    name: 'ConfigurationError',
    message: /accepted: sqlite:PATH, kurrentdb:/,
  })
})

t.test('a torn end of the write-ahead log does not hurt', async (t) => {
  const path = join(await temporaryFolder(t), 'events.db')
  const writer = await startProcess(t, path, 'any', 's', 1_000_000)
  writer.go()
  await writer.untilSaid(10)
  await writer.kill()
  await appendFile(`${path}-wal`, Buffer.alloc(5000, 0x5a))
  const { store } = await openStore(t, path)
  t.same(ids(await all(store.readStream('s'))).slice(0, writer.said().length), writer.said())
  t.same(datas(await all(store.readStream('s', { from: 'end' }))), [])
})
