/** Cases of the read-model contract: what queries see. */
import type { Test } from 'tap'
import type { EventPlace } from '../../../eventstore/event-place.ts'
import { aCheckpoint, aDocument, type Contract, NOTHING } from './support.ts'

export async function queryCases(t: Test, { one, two, empty, complete }: Contract): Promise<void> {
  await t.test('an unknown customer has no document and no mark', async (t) => {
    await complete()
    t.same(await one.get([1, 2]), [NOTHING, NOTHING])
    t.same(await one.documents([1, 2]), [null, null])
  })

  await t.test('answers come in the order of the ids, each as often as asked', async (t) => {
    await complete()
    const [a, b] = [aDocument(1, 0), aDocument(2, 0)]
    await one.put([a, b].map((document) => ({ document, expected: -1 })))
    const ids = [2, 3, 1, 2]
    t.same(await one.documents(ids), [b, null, a, b])
    t.same(
      (await one.get(ids)).map(({ document }) => document),
      [b, null, a, b],
    )
    t.same(await one.get([]), [])
    t.same(await one.documents([]), [])
  })

  await t.test('documents stay hidden from queries until the read model is complete', async (t) => {
    await empty()
    const document = aDocument(1, 3)
    await one.put([{ document, expected: -1 }])
    await one.acknowledge(1, 3)
    t.same(await one.get([1]), [{ document: null, acknowledged: 3 }], 'before a checkpoint')
    const partial = aCheckpoint(1n, { complete: false })
    await one.setCheckpoint(partial, null)
    t.same(await two.get([1]), [{ document: null, acknowledged: 3 }], 'with an incomplete one')
    t.same(await two.documents([1]), [document], 'a projection sees them')
    await one.setCheckpoint(aCheckpoint(2n), partial)
    t.same(await two.get([1]), [{ document, acknowledged: 3 }], 'complete')
  })

  await t.test('the newest event of any document: the later one counts, and it goes with the documents', async (t) => {
    await empty()
    t.equal(await one.newest(), null)
    const [early, late] = [aCheckpoint(9n), aCheckpoint(10n ** 17n)].map(
      ({ position, id, stream, revision }): EventPlace => ({ position, id, stream, revision }),
    ) as [EventPlace, EventPlace]
    await one.put([{ document: aDocument(1, 0), expected: -1 }], early)
    t.strictSame(await two.newest(), early)
    await two.put([{ document: aDocument(1, 1), expected: 0 }], late)
    await one.put([{ document: aDocument(2, 0), expected: -1 }], early)
    await one.put([{ document: aDocument(3, 0), expected: -1 }])
    t.strictSame(await one.newest(), late)
    await one.reset()
    t.equal(await two.newest(), null)
  })

  await t.test(
    'documents that are distrusted are hidden from queries until the read model is complete anew',
    async (t) => {
      await complete()
      const document = aDocument(1, 3)
      await one.put([{ document, expected: -1 }])
      t.same(await two.get([1]), [{ document, acknowledged: -1 }])
      await two.distrust()
      for (const handle of [one, two]) t.same(await handle.get([1]), [NOTHING])
      t.same(await one.documents([1]), [document], 'a projection sees them')
      t.not((await one.getCheckpoint())?.complete, true, 'and that they are not complete')
      await one.reset()
      await one.setCheckpoint(aCheckpoint(1n), null)
      await one.put([{ document, expected: -1 }])
      t.same(await two.get([1]), [{ document, acknowledged: -1 }])
    },
  )
}
