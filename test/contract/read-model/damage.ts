/** Cases of the read-model contract: values that another program has broken. */
import type { Test } from 'tap'
import { aCheckpoint, aDocument, aParkedEvent, type Contract, NOTHING } from './support.ts'

export async function damageCases(t: Test, { one, two, open, damage, complete }: Contract): Promise<void> {
  await t.test('a damaged document counts as not there, and gives way', async (t) => {
    await complete()
    const generation = await one.generation()
    const [whole, other] = [aDocument(1, 4), aDocument(2, 0)]
    await one.put([whole, other].map((document) => ({ document, expected: -1 })))
    await damage(generation).documents(1, whole, async (name) => {
      t.same(await two.get([1, 2]), [NOTHING, { document: other, acknowledged: -1 }], name)
      t.same(await two.documents([1, 2]), [null, other], name)
      t.same(await one.lacking([1, 3]), [3], `${name}: something is there`)
      // Beside one that is whole, in one call.
      const writes = [aDocument(2, 0), whole].map((document) => ({ document, expected: -1 }))
      t.same(await one.put(writes), [0, 4], name)
      t.same(await two.documents([1, 2]), [whole, other], `${name}: written anew`)
    })
    await damage(generation).documents(1, whole, async (name) => {
      // As a worker that has the whole document in memory would: it is written, or the worker is told to read anew.
      const [stored] = await one.put([{ document: aDocument(1, 5), expected: 4 }])
      t.ok(stored === 5 || stored === -1, `${name}: ${stored}`)
      if (stored === -1) t.same(await one.put([{ document: aDocument(1, 5), expected: -1 }]), [5], name)
      t.same(await two.documents([1]), [aDocument(1, 5)], name)
      await one.put([{ document: whole, expected: 5 }])
    })
    await damage(generation).documents(1, whole, async (name) => {
      const rivals = await Promise.all(
        Array.from({ length: 8 }, async (_, index) => {
          for (let turn = 0; turn < index; turn++) await new Promise((resolve) => setImmediate(resolve))
          return (index % 2 ? one : two).put([{ document: aDocument(1, 10 + index), expected: -1 }])
        }),
      )
      const [stored] = await one.documents([1])
      t.same(new Set(rivals.flat()), new Set([stored?.revision]), `${name}: one wins, and all are told`)
    })
  })

  await t.test('a damaged document of a deleted customer is forgotten; it differs from a whole one', async (t) => {
    await complete()
    const live = await one.generation()
    const next = await open(live + 1)
    t.teardown(() => next.close())
    await next.put([{ document: aDocument(1, 4), expected: -1 }])
    await one.put([{ document: aDocument(1, 4), expected: -1 }])
    await damage(live + 1).documents(1, aDocument(1, 4), async (name) => {
      t.same(await one.differing([1], live + 1), [1], name)
      await one.forget([1])
      t.same(await next.lacking([1]), [1], name)
    })
    await one.dropGeneration(live + 1)
  })

  await t.test('a damaged checkpoint counts as none, and is set anew', async (t) => {
    await complete()
    const generation = await one.generation()
    await damage(generation).checkpoints(async (name) => {
      t.equal(await two.getCheckpoint(), null, name)
      t.same((await two.generations()).find(({ live }) => live)?.checkpoint, null, name)
      t.same(await two.setCheckpoint(aCheckpoint(8n), aCheckpoint(1n)), null, name)
      t.same(await two.setCheckpoint(aCheckpoint(7n), null), aCheckpoint(7n), name)
      t.same(await one.getCheckpoint(), aCheckpoint(7n), name)
    })
  })

  await t.test('a damaged parked event counts as none', async (t) => {
    await complete()
    const generation = await one.generation()
    await one.park(aParkedEvent(2))
    await damage(generation).parked(10, async (name) => {
      const found = (await one.parked()).filter(({ customerId }) => customerId === 10)
      t.same(found, [], name)
      await one.park(aParkedEvent(10))
      t.match((await two.parked()).at(-1), aParkedEvent(10), name)
      await one.unpark(10)
    })
  })

  await t.test('a damaged mark hides the document, and is set anew', async (t) => {
    await complete()
    const generation = await one.generation()
    await one.put([{ document: aDocument(1, 4), expected: -1 }])
    await damage(generation).marks(1, async (name) => {
      t.same(await two.get([1]), [NOTHING], name)
      await one.acknowledge(1, 4)
      t.same(await two.get([1]), [{ document: aDocument(1, 4), acknowledged: 4 }], name)
    })
  })

  await t.test('a damaged list of generations: the first is live', async (t) => {
    await complete()
    const generation = await one.generation()
    await damage(generation).generations(async (name) => {
      const handle = await open()
      t.equal(await handle.generation(), 1, name)
      t.equal(await handle.follow(), 1, name)
      t.match(await handle.generations(), [{ number: 1, live: true }], name)
      t.equal(await handle.switchGeneration(1, 2), true, name)
      t.equal(await handle.wanted(), 2, name)
      t.equal(await handle.switchGeneration(2, 1), true, name)
      await handle.dropGeneration(2)
      await handle.close()
    })
    await Promise.all([one.follow(), two.follow()])
  })
}
