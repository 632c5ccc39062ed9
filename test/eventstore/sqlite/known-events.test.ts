/** The ids by which the embedded store recognises a repeated append. */
import { randomUUID } from 'node:crypto'
import t from 'tap'
import { createKnownEvents } from '../../../eventstore/sqlite/known-events.ts'

const LEAST = 20_000

t.test('the newest events are known, each in its own stream, and older ones give way', async (t) => {
  const known = createKnownEvents()
  const ids = Array.from({ length: 5 * LEAST }, () => randomUUID())
  for (const [index, id] of ids.entries()) {
    if (index % 7 === 0) known.begin()
    known.add(index % 3, id, index, index + 1)
    if (index % 7 === 6 || index === ids.length - 1) known.commit()
  }
  const newest = ids.slice(-LEAST)
  const wrong = newest.filter((id, offset) => {
    const index = ids.length - LEAST + offset
    return known.get(index % 3, id)?.revision !== index || known.get((index + 1) % 3, id) !== undefined
  })
  t.same(wrong, [], 'each of the newest 20,000 is known, and not in another stream')
  t.same(known.get((ids.length - 1) % 3, ids.at(-1) as string)?.position?.commit, BigInt(ids.length))
  t.same(
    ids.slice(0, LEAST).filter((id, index) => known.get(index % 3, id)),
    [],
    'the oldest have made room',
  )
})

t.test('what a failed transaction has added is forgotten, and nothing else is taken for it', async (t) => {
  const known = createKnownEvents()
  const [kept, failed, next] = Array.from({ length: 3 }, () => Array.from({ length: LEAST }, () => randomUUID())) as [
    string[],
    string[],
    string[],
  ]
  const add = (ids: readonly string[], first: number) => {
    known.begin()
    for (const [index, id] of ids.entries()) known.add(1, id, first + index, first + index + 1)
  }
  add(kept, 0)
  known.commit()
  add(failed, LEAST)
  t.equal(known.get(1, failed[0] as string)?.revision, LEAST, 'within its transaction it is known')
  add(next, LEAST)
  known.commit()
  t.same(
    failed.filter((id) => known.get(1, id)),
    [],
  )
  t.same(
    next.filter((id, index) => known.get(1, id)?.revision !== LEAST + index),
    [],
  )
  // A repetition gets the newest result, also where an id came twice.
  known.begin()
  known.add(1, next[0] as string, 7, 8)
  known.commit()
  t.equal(known.get(1, next[0] as string)?.revision, 7)
  for (const [index, id] of kept.entries()) {
    const found = known.get(1, id)
    if (found && found.revision !== index) t.fail(`an old id has the result of another event: ${found.revision}`)
  }
})
