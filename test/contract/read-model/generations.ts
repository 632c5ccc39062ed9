/** Cases of the read-model contract: generations and parked events. */
import type { Test } from 'tap'
import type { EventPlace } from '../../../eventstore/event-place.ts'
import { absentCustomer } from '../../../projections/customer.ts'
import { aCheckpoint, aDocument, aParkedEvent, type Contract, NOTHING } from './support.ts'

export async function generationCases(t: Test, { one, two, open, complete }: Contract): Promise<void> {
  await t.test('generations: one is live, another is filled beside it, marks are shared', async (t) => {
    await complete()
    const live = await one.generation()
    const next = live + 1
    const filling = await open(next)
    t.teardown(() => filling.close())
    t.equal(await filling.generation(), next)
    t.equal(await filling.wanted(), next)
    t.equal(await filling.follow(), next, 'a handle that was opened for one stays on it')
    const [early, late] = [3n, 4n].map((commit): EventPlace => {
      const { position, id, stream, revision } = aCheckpoint(commit)
      return { position, id, stream, revision }
    })
    await one.put([{ document: aDocument(1, 0), expected: -1 }], late)
    t.same(await filling.documents([1]), [null], 'documents are its own')
    await filling.put([{ document: aDocument(1, 5), expected: -1 }], early)
    t.same(await one.documents([1]), [aDocument(1, 0)])
    await one.acknowledge(1, 7)
    t.same(await filling.get([1]), [{ document: null, acknowledged: 7 }], 'marks are shared, documents wait')
    t.equal(await filling.getCheckpoint(), null)
    await filling.setCheckpoint(aCheckpoint(3n), null)
    t.same(await filling.get([1]), [{ document: aDocument(1, 5), acknowledged: 7 }])
    t.match(await one.generations(), [
      { number: live, live: true, checkpoint: { complete: true } },
      { number: next, live: false, checkpoint: { position: { commit: 3n } } },
    ])
    t.equal(await two.wanted(), live)
    t.equal(await two.switchGeneration(next, live), false, 'not the live one')
    t.equal(await two.switchGeneration(live, next), true)
    t.equal(await one.wanted(), next)
    t.same(await one.documents([1]), [aDocument(1, 0)], 'nobody goes over before it says so')
    t.equal(await one.follow(), next)
    t.equal(await one.generation(), next)
    t.same(await one.newest(), early, 'that the other one was further is no loss')
    t.same(await one.get([1]), [{ document: aDocument(1, 5), acknowledged: 7 }])
    await t.rejects(one.dropGeneration(next), RangeError, 'the live one stays')
    await two.dropGeneration(live)
    t.same(await two.documents([1]), [null])
    t.same(
      (await one.generations()).map(({ number, live }) => ({ number, live })),
      [{ number: next, live: true }],
    )
    t.same(await one.get([1]), [{ document: aDocument(1, 5), acknowledged: 7 }], 'marks and the live one are there')
    await one.reset()
    t.same(await one.get([1]), [NOTHING])
    await two.switchGeneration(next, live)
    await two.dropGeneration(next)
    await Promise.all([one.follow(), two.follow()])
  })

  await t.test('which documents differ between generations', async (t) => {
    await complete()
    const live = await one.generation()
    const next = await open(live + 1)
    t.teardown(() => next.close())
    const ids = Array.from({ length: 250 }, (_, index) => index + 1)
    const writes = ids.map((id) => ({ document: aDocument(id, 2), expected: -1 }))
    await one.put(writes.filter(({ document }) => document.id !== 249))
    const altered = { document: aDocument(7, 2, { lastname: 'Ondříček' }), expected: -1 }
    await next.put([altered, ...writes.filter(({ document }) => document.id !== 7 && document.id !== 150)])
    const asked = [...ids, 1_000]
    t.same(await one.differing(asked, live + 1), [7, 150, 249], 'another text, none there, none here')
    t.same(await next.differing(asked, live), [7, 150, 249])
    t.same(await one.differing(asked, live), [], 'nothing differs from itself')
    t.same(await one.differing([], live + 1), [])
    t.same(await next.lacking(asked), [150, 1_000])
    t.same(await one.lacking(asked), [249, 1_000])
    t.same(await one.lacking([]), [])
    await one.dropGeneration(live + 1)
  })

  await t.test('customers who were deleted are forgotten by the other generations', async (t) => {
    await complete()
    const live = await one.generation()
    const next = await open(live + 1)
    t.teardown(() => next.close())
    const deleted = { ...absentCustomer(2), revision: 5, status: 'deleted' } as const
    await one.put([1, 2, 3].map((id) => ({ document: aDocument(id, 4), expected: -1 })))
    await next.put([
      { document: aDocument(1, 3), expected: -1 },
      { document: aDocument(3, 3), expected: -1 },
    ])
    await next.put([{ document: deleted, expected: -1 }])
    await one.forget([1, 2, 1_000])
    t.same(await next.documents([1, 2, 3]), [null, deleted, aDocument(3, 3)], 'but for what tells nothing any more')
    t.same(await one.documents([1, 2]), [aDocument(1, 4), aDocument(2, 4)], 'its own generation stays')
    await next.forget([2])
    t.same(await one.documents([1, 2]), [aDocument(1, 4), null])
    await one.put([{ document: aDocument(2, 6), expected: -1 }])
    await one.forget([])
    await one.scrub()
    t.same(await one.documents([1, 2]), [aDocument(1, 4), aDocument(2, 6)], 'as it was')
    await one.dropGeneration(live + 1)
  })

  await t.test('a reset of a generation that is not live keeps the marks', async (t) => {
    await complete()
    await one.put([{ document: aDocument(1, 0), expected: -1 }])
    await one.acknowledge(1, 4)
    const live = await one.generation()
    const next = await open(live + 1)
    t.teardown(() => next.close())
    await next.put([{ document: aDocument(1, 3), expected: -1 }])
    await next.setCheckpoint(aCheckpoint(1n), null)
    await next.reset()
    t.same(await next.documents([1]), [null])
    t.equal(await next.getCheckpoint(), null)
    t.same(await one.get([1]), [{ document: aDocument(1, 0), acknowledged: 4 }])
    await one.dropGeneration(live + 1)
  })

  await t.test('the customers of a generation', async (t) => {
    await complete()
    const ids = Array.from({ length: 2_500 }, (_, index) => index + 1)
    await one.put(ids.map((id) => ({ document: aDocument(id, 0), expected: -1 })))
    await one.acknowledge(9_999, 1)
    await one.park(aParkedEvent(1))
    const found = new Set<number>()
    for await (const some of two.customers()) for (const id of some) found.add(id)
    t.same(
      [...found].sort((a, b) => a - b),
      ids,
    )
  })

  await t.test('parked events: one for each customer, the newest', async (t) => {
    await complete()
    t.same(await one.parked(), [])
    await one.park(aParkedEvent(10))
    await one.park(aParkedEvent(2))
    await two.park({ ...aParkedEvent(10), revision: 8 })
    t.same(await one.parked(), [aParkedEvent(2), { ...aParkedEvent(10), revision: 8 }])
    await two.unpark(2)
    await two.unpark(3)
    t.same(
      (await one.parked()).map(({ customerId }) => customerId),
      [10],
    )
    await one.reset()
    t.same(await two.parked(), [])
  })
}
