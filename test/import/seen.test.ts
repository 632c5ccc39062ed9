/** The customers that an import run remembers: like a Map, but only the newest. */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { createCounts, createSeen } from '../../subgraph/import/seen.ts'

const keyOf = (number: number) => createHash('sha256').update(String(number)).digest('hex')

t.test('like a Map', async () => {
  const value = fc.oneof(
    fc.constant('there' as const),
    fc.record({ id: fc.oneof(fc.nat(), fc.maxSafeNat()), revision: fc.integer({ min: 0, max: 1_000 }) }),
  )
  const step = fc.tuple(fc.nat(200), fc.option(value))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const [seen, map] = [createSeen(), new Map<string, unknown>()]
      for (const [number, given] of steps) {
        const key = keyOf(number)
        if (given === null) {
          seen.delete(key)
          map.delete(key)
        } else {
          seen.set(key, given)
          map.set(key, given)
        }
      }
      return Array.from({ length: 201 }, (_, number) => keyOf(number)).every(
        (key) => JSON.stringify(seen.get(key)) === JSON.stringify(map.get(key)) && seen.has(key) === map.has(key),
      )
    }),
  )
})

t.test('a customer whose revision is too large is read', async (t) => {
  const seen = createSeen()
  seen.set(keyOf(1), { id: 1, revision: 5_000 })
  t.equal(seen.get(keyOf(1)), 'there')
})

t.test('the oldest are forgotten', async (t) => {
  const most = 20_000
  const seen = createSeen(most)
  for (let id = 1; id <= most; id++) seen.set(keyOf(id), { id, revision: 3 })
  t.notOk(seen.hasForgotten)
  for (let id = most + 1; id <= 45_000; id++) seen.set(keyOf(id), { id, revision: 3 })
  t.ok(seen.hasForgotten)
  t.same(seen.get(keyOf(45_000)), { id: 45_000, revision: 3 })
  let kept = 0
  for (let id = 45_000; id > 0 && seen.has(keyOf(id)); id--) kept++
  t.ok(kept >= most && kept <= 2 * most, `the newest ${kept} are kept`)
  t.notOk(seen.has(keyOf(1)))
})

t.test('counts, each key by itself', async (t) => {
  const counts = createCounts(100)
  const [one, other] = ['a', 'b'].map((digit) => digit.repeat(64)) as [string, string]
  t.same([one, other, one, one, other].map(counts.next), [1, 1, 2, 3, 2])
  for (let index = 0; index < 99; index++) t.equal(counts.next(keyOf(index)), 1)
  t.equal(counts.next(one), 4, 'the newest 100 are remembered')
})
