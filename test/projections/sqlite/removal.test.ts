/** Removing generations of the SQLite read model: others write in between, and an interrupted removal is resumed. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ReadModel } from '../../../projections/read-model.ts'
import { openSqliteReadModel } from '../../../projections/sqlite/read-model.ts'
import { RANGE } from '../../../projections/sqlite/removal.ts'
import { aCheckpoint, aDocument } from '../../contract/read-model.ts'
import { temporaryFolder } from '../support.ts'

const RANGES = 5

async function filled(t: Test): Promise<{ path: string; one: ReadModel; other: ReadModel; next: ReadModel }> {
  const path = join(await temporaryFolder(t), 'readmodel.db')
  const [one, other, next] = [undefined, undefined, 2].map((generation) => openSqliteReadModel({ path, generation }))
  if (!one || !other || !next) throw new Error('unreachable')
  t.teardown(async () => {
    await Promise.all([one, other, next].map((readModel) => readModel.close()))
  })
  const ids = Array.from({ length: RANGES * RANGE }, (_, index) => index + 1)
  for (const readModel of [one, next]) {
    await readModel.put(ids.map((id) => ({ document: aDocument(id, 0), expected: -1 })))
    await readModel.setCheckpoint(aCheckpoint(3n), null)
  }
  return { path, one, other, next }
}

/** How many marks another handle writes until the work is done. One: it had to wait for all of it. */
async function marksDuring(other: ReadModel, work: Promise<void>): Promise<number> {
  let done = false
  const over = work.finally(() => {
    done = true
  })
  let marks = 0
  while (!done) {
    await other.acknowledge(1_000_000, marks++)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await over
  return marks
}

async function count(readModel: ReadModel): Promise<number> {
  let found = 0
  for await (const ids of readModel.customers()) found += ids.length
  return found
}

t.test('while a generation is dropped, others write', async (t) => {
  const { one, other, next } = await filled(t)
  const marks = await marksDuring(other, one.dropGeneration(2))
  t.ok(marks > 1, `${marks} marks were written between the ranges`)
  t.equal(await count(next), 0)
  t.equal(await count(one), RANGES * RANGE, 'the live one stays')
  t.same(
    (await one.generations()).map(({ number }) => number),
    [1],
  )
})

t.test('while the live generation is reset, others write, and it never looks complete', async (t) => {
  const { one, other } = await filled(t)
  await one.acknowledge(1, 0)
  t.not((await other.get([1]))[0]?.document, null)
  const resetting = one.reset()
  await new Promise((resolve) => setTimeout(resolve, 1))
  const last = RANGES * RANGE
  t.not((await other.documents([last]))[0], null, 'not removed yet')
  t.equal((await other.get([last]))[0]?.document, null, 'but hidden')
  const marks = await marksDuring(other, resetting)
  t.ok(marks > 1, `${marks} marks were written between the ranges`)
  t.equal(await count(one), 0)
  t.same(await one.get([1]), [{ document: null, acknowledged: -1 }], 'marks are gone too')
})

t.test('an interrupted drop leaves no generation to roll back to, and can be resumed', async (t) => {
  const { path, one, next } = await filled(t)
  const interrupted = openSqliteReadModel({ path })
  const dropping = interrupted.dropGeneration(2)
  await new Promise((resolve) => setTimeout(resolve, 1))
  await interrupted.close()
  await t.rejects(dropping, { name: 'ReadModelUnavailable' })
  const left = await count(next)
  t.ok(left > 0 && left < RANGES * RANGE, `${left} are left`)
  t.match(await one.generations(), [{ number: 1 }, { number: 2, checkpoint: null }])
  await one.dropGeneration(2)
  t.equal(await count(next), 0)
  t.equal((await one.generations()).length, 1)
})

t.test('a generation that goes live while it is dropped keeps the rest of its documents', async (t) => {
  const { one, other, next } = await filled(t)
  const dropping = one.dropGeneration(2)
  await new Promise((resolve) => setTimeout(resolve, 1))
  t.equal(await other.switchGeneration(1, 2), true)
  await t.rejects(dropping, RangeError)
  t.ok((await count(next)) > 0)
  t.equal((await next.get([RANGES * RANGE]))[0]?.document, null, 'not complete: queries fold the streams')
})
