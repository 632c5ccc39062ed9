/** Reads that come in one turn of the event loop, from readers who do not know of each other, share a transaction. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { ReadModelUnavailable } from '../../../projections/read-model.ts'
import { openSqliteReadModel } from '../../../projections/sqlite/read-model.ts'
import { aCheckpoint, aDocument } from '../../contract/read-model.ts'
import { until } from '../../support/until.ts'
import { temporaryFolder } from '../support.ts'

const IDS = Array.from({ length: 100 }, (_, index) => index + 1)

t.test('each has its own customer, and what other processes wrote before', async (t) => {
  const path = join(await temporaryFolder(t), 'readmodel.db')
  const [one, two] = [openSqliteReadModel({ path }), openSqliteReadModel({ path })]
  t.teardown(() => Promise.all([one.close(), two.close()]))
  await one.setCheckpoint(aCheckpoint(1n), null)
  await one.put(IDS.map((id) => ({ document: aDocument(id, id), expected: -1 })))
  for (const raised of [0, 1, 2]) {
    await Promise.all(IDS.map((id) => two.acknowledge(id, id + raised)))
    const found = await Promise.all([...IDS, ...IDS, 999].map((id) => one.get([id])))
    const expected = IDS.map((id) => [{ document: aDocument(id, id), acknowledged: id + raised }])
    t.same(found, [...expected, ...expected, [{ document: null, acknowledged: -1 }]])
  }
  t.same(await one.get([2, 1]), [
    { document: aDocument(2, 2), acknowledged: 4 },
    { document: aDocument(1, 1), acknowledged: 3 },
  ])

  // Writes of the same turn are transactions of the same connection.
  const mixed = await Promise.all(IDS.flatMap((id) => [one.acknowledge(id, 200), one.get([id]), one.get([id])]))
  t.equal(mixed.length, 3 * IDS.length)
  t.same(await one.get([7]), [{ document: aDocument(7, 7), acknowledged: 200 }])
})

t.test('a failure fails those of its turn, and leaves no transaction', async (t) => {
  const path = join(await temporaryFolder(t), 'readmodel.db')
  const readModel = openSqliteReadModel({ path })
  await readModel.acknowledge(1, 5)
  const other = new DatabaseSync(path)
  other.exec('ALTER TABLE marks RENAME TO gone')
  const failed = await Promise.allSettled([1, 2, 3].map((id) => readModel.get([id])))
  for (const outcome of failed) t.ok((outcome as PromiseRejectedResult).reason instanceof ReadModelUnavailable)
  other.exec('ALTER TABLE gone RENAME TO marks')
  other.close()
  await readModel.acknowledge(1, 6)
  t.same(await Promise.all([1, 2].map((id) => readModel.get([id]))), [
    [{ document: null, acknowledged: 6 }],
    [{ document: null, acknowledged: -1 }],
  ])
  const late = readModel.get([1])
  await readModel.close()
  await t.rejects(late, ReadModelUnavailable)
})

t.test(
  'without its write-ahead log it is neither read nor written: other processes would not see the marks',
  async (t) => {
    const path = join(await temporaryFolder(t), 'readmodel.db')
    const readModel = openSqliteReadModel({ path })
    t.teardown(() => readModel.close())
    await readModel.acknowledge(1, 5)
    await rm(`${path}-wal`)
    await until('reads are refused', () =>
      readModel.get([1]).then(
        () => false,
        (error) => error instanceof ReadModelUnavailable,
      ),
    )
    await t.rejects(readModel.acknowledge(1, 6), {
      constructor: ReadModelUnavailable,
      message: /readmodel\.db-wal was removed/,
    })
  },
)

t.test('a number that is too large for JavaScript counts as missing, and holds nobody up', async (t) => {
  const path = join(await temporaryFolder(t), 'readmodel.db')
  const readModel = openSqliteReadModel({ path })
  t.teardown(() => readModel.close())
  const other = new DatabaseSync(path)
  t.teardown(() => other.close())
  const isThere = (id: number) => ({ document: aDocument(id, 5), acknowledged: 5 })
  const write = (id: number, expected: number) => readModel.put([{ document: aDocument(id, 5), expected }])
  const readAll = () => Promise.all([1, 2, 3].map(async (id) => (await readModel.get([id]))[0]))
  await readModel.setCheckpoint(aCheckpoint(1n), null)
  for (const id of [1, 2, 3]) {
    await write(id, -1)
    await readModel.acknowledge(id, 5)
  }
  for (const number of ['9223372036854775807', '-9223372036854775807']) {
    other.exec(
      `UPDATE marks SET revision = ${number} WHERE id = 1; UPDATE documents SET revision = ${number} WHERE id = 2`,
    )
    const [first, second, third] = await readAll()
    if (number.startsWith('9')) t.same(first, { document: null, acknowledged: -1 })
    t.same(second, { document: null, acknowledged: 5 })
    t.same(third, isThere(3), 'who is read in the same turn is not concerned')
    t.same(await readModel.documents([2]), [null])
    await readModel.acknowledge(1, 5)
    t.same(await write(2, -1), [5], 'the next write replaces it')
    t.same(await readAll(), [1, 2, 3].map(isThere))
  }
  other.exec(`INSERT INTO documents VALUES (1, 9223372036854775807, 1, '{}'); INSERT INTO marks VALUES (9223372036854775807, 1);
    INSERT INTO generations VALUES (9223372036854775807, 1); UPDATE checkpoints SET complete = 9223372036854775807;
    INSERT INTO places VALUES (1, 'newest', '1', '1', 'a', 'b', 9223372036854775807)`)
  const listed = []
  for await (const ids of readModel.customers()) listed.push(...ids)
  t.same(listed, [1, 2, 3])
  t.match(await readModel.generations(), [{ number: 1, live: true }])
  t.equal((await readModel.getCheckpoint())?.complete, false)
  t.ok(await readModel.newest())
  await readModel.reset()
  t.same(
    other.prepare('SELECT count(*) AS rows FROM (SELECT id FROM documents UNION ALL SELECT id FROM marks)').get(),
    {
      rows: 0,
    },
  )
})
