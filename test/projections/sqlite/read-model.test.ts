/** The SQLite read model: the contract, and what only a file can get wrong. */
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { openReadModel } from '../../../projections/open-read-model.ts'
import { ReadModelUnavailable } from '../../../projections/read-model.ts'
import { openSqliteReadModel } from '../../../projections/sqlite/read-model.ts'
import { aCheckpoint, aDocument, brokenDocuments, type Damage, readModelContract } from '../../contract/read-model.ts'
import { ending, startScript, temporaryFolder } from '../support.ts'

/** Rows that another program has changed. */
function damaged(path: string, generation: number): Damage {
  const run = (sql: string, ...values: (string | number)[]) => {
    const database = new DatabaseSync(path, { timeout: 5_000 })
    try {
      database.prepare(sql).run(...values)
    } finally {
      database.close()
    }
  }
  return {
    async documents(customerId, document, work) {
      for (const [name, text] of Object.entries(brokenDocuments(document))) {
        run('INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)', generation, customerId, document.revision, text)
        await work(name)
      }
    },
    async checkpoints(work) {
      for (const [commit, prepare] of [
        ['garbage', '1'],
        ['1', ''],
        ['-1', '-1'],
        ['1.5', '1'],
        ['9'.repeat(30), '1'],
      ] as const) {
        run('INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, 1)', generation, commit, prepare, 'x')
        await work(`${commit}/${prepare}`)
      }
    },
    async parked(customerId, work) {
      for (const text of ['', 'garbage', 'null', '[]', '{}', `{"customerId":${customerId}}`]) {
        run('INSERT OR REPLACE INTO parked VALUES (?, ?, ?)', generation, customerId, text)
        await work(text)
      }
    },
    async marks() {}, // the file takes nothing but whole numbers
    async generations(work) {
      run('UPDATE generations SET live = 0')
      await work('none is live')
      run('DELETE FROM generations')
      await work('none is there')
    },
  }
}

t.test('contract', async (t) => {
  const path = join(await temporaryFolder(t), 'readmodel.db')
  await readModelContract(t, 'SQLite', {
    open: (generation) => openSqliteReadModel({ path, generation }),
    damage: (generation) => damaged(path, generation),
  })
})

t.test('what was stored is there after reopening', async (t) => {
  const path = join(await temporaryFolder(t), 'new', 'folder', 'readmodel.db')
  const first = await openReadModel(`sqlite:${path}`)
  await first.setCheckpoint(aCheckpoint(3n), null)
  await first.put([{ document: aDocument(1, 2), expected: -1 }])
  await first.acknowledge(1, 3)
  await first.close()
  const second = await openReadModel(`sqlite:${path}`)
  t.same(await second.get([1]), [{ document: aDocument(1, 2), acknowledged: 3 }])
  t.same(await second.getCheckpoint(), aCheckpoint(3n))
  await second.close()
  t.equal((await stat(path)).mode & 0o077, 0, 'personal data: for the owner alone')
})

t.test('two processes on one file', async (t) => {
  const path = join(await temporaryFolder(t), 'readmodel.db')
  const last = 400
  const readModel = openSqliteReadModel({ path })
  t.teardown(() => readModel.close())
  const children = ['a', 'b'].map((letter) => startScript(t, 'read-model-process.ts', path, String(last), letter))
  const endings = children.map(ending)
  await Promise.all(children.map((child) => new Promise((resolve) => child.stdout?.once('data', resolve))))
  for (const child of children) child.stdin?.end('go')
  const ended = await Promise.all(endings)
  t.same(
    ended.map(({ end }) => end),
    [0, 0],
  )
  const [document] = await readModel.documents([1])
  t.equal(document?.revision, last)
  t.equal(document?.lastname.length, last + 1, 'each revision was written once')
  t.equal(new Set(document?.lastname).size, 2, 'by both')
  t.equal((await readModel.get([1]))[0]?.acknowledged, last)
})

t.test('another process holds the lock', async (t) => {
  const path = join(await temporaryFolder(t), 'readmodel.db')
  const readModel = openSqliteReadModel({ path })
  t.teardown(() => readModel.close())
  const other = new DatabaseSync(path)
  t.teardown(() => other.close())

  await t.test('writes wait for it without holding up anything else; reads do not wait', async (t) => {
    other.exec('BEGIN IMMEDIATE')
    const writes = Promise.all([
      readModel.acknowledge(1, 5),
      readModel.put([{ document: aDocument(2, 0), expected: -1 }]),
      readModel.setCheckpoint(aCheckpoint(1n), null),
    ])
    // If a write held up the event loop for as long as it may wait, it would have failed before the lock is given up.
    for (let turn = 0; turn < 50; turn++) {
      await delay(2)
      if ((await readModel.documents([2]))[0] !== null) t.fail('a write went past the lock')
    }
    other.exec('COMMIT')
    await writes
    t.same(await readModel.get([1, 2]), [
      { document: null, acknowledged: 5 },
      { document: aDocument(2, 0), acknowledged: -1 },
    ])
  })

  await t.test('closing waits for a write under way', async (t) => {
    const closing = openSqliteReadModel({ path })
    other.exec('BEGIN IMMEDIATE')
    const write = closing.acknowledge(3, 7)
    await new Promise((resolve) => setTimeout(resolve, 20))
    const closed = closing.close()
    setTimeout(() => other.exec('COMMIT'), 50)
    await write
    await closed
    t.equal((await readModel.get([3]))[0]?.acknowledged, 7)
  })

  await t.test('held for seconds, it is an outage', async (t) => {
    other.exec('BEGIN IMMEDIATE')
    const started = Date.now()
    await t.rejects(readModel.acknowledge(1, 6), ReadModelUnavailable)
    t.ok(Date.now() - started >= 4_000, 'not given up early')
    other.exec('ROLLBACK')
    await readModel.acknowledge(1, 6)
  })
})

t.test('a file that is no read model is named in one line', async (t) => {
  const folder = await temporaryFolder(t)
  const refused = (path: string, pattern: RegExp) => {
    t.throws(() => openSqliteReadModel({ path }), { name: 'SqliteFileError', message: pattern })
    t.throws(() => openSqliteReadModel({ path }), { message: /^[^\n]+$/ })
  }

  const text = join(folder, 'notes.txt')
  await writeFile(text, 'Remember the milk. '.repeat(300))
  refused(text, /notes\.txt is not a read model file/)
  t.match(await readFile(text, 'utf8'), /^Remember the milk/, 'and is left as it was')

  const foreign = join(folder, 'foreign.db')
  const database = new DatabaseSync(foreign)
  database.exec('CREATE TABLE recipes (name TEXT)')
  database.close()
  refused(foreign, /another program's database/)

  const newer = join(folder, 'newer.db')
  await openSqliteReadModel({ path: newer }).close()
  const upgraded = new DatabaseSync(newer)
  upgraded.exec('PRAGMA user_version = 1000')
  upgraded.close()
  refused(newer, /written by a newer release/)

  const damaged = join(folder, 'damaged.db')
  const whole = openSqliteReadModel({ path: damaged })
  const documents = Array.from({ length: 200 }, (_, index) => aDocument(index + 1, 0, { lastname: 'x'.repeat(500) }))
  await whole.put(documents.map((document) => ({ document, expected: -1 })))
  await whole.close()
  const bytes = await readFile(damaged)
  bytes.fill(0x5a, 8192, bytes.length - 4096)
  await writeFile(damaged, bytes)
  refused(damaged, /damaged/)

  refused(folder, /can't be opened/)
  refused(join(text, 'readmodel.db'), /can't be opened/)
})

t.test('a URL of another kind is refused with what is accepted', async (t) => {
  await t.rejects(openReadModel('mysql://localhost/customers'), { message: /READMODEL_URL.*accepted: sqlite:PATH/ })
})
