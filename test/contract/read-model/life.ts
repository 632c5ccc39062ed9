/** Cases of the read-model contract: scrubs, resets and the end of a handle. */
import type { Test } from 'tap'
import { ReadModelUnavailable } from '../../../projections/read-model.ts'
import { aCheckpoint, aDocument, type Contract, NOTHING } from './support.ts'

export async function lifeCases(t: Test, { one, two, open, complete }: Contract): Promise<void> {
  await t.test('a scrub that is owed stays so until one that began later', async (t) => {
    await complete()
    t.equal(await one.isScrubPending(), false)
    await one.requestScrub()
    await two.requestScrub()
    t.equal(await two.isScrubPending(), true)
    await one.reset()
    t.equal(await two.isScrubPending(), true, 'what was emptied is still on the disk')
    await two.scrub()
    t.equal(await one.isScrubPending(), false)
    await one.requestScrub()
    const scrubbed = one.scrub()
    await two.requestScrub().then(() => scrubbed)
    await two.scrub()
    t.equal(await one.isScrubPending(), false)
  })

  await t.test('reset forgets documents, marks and checkpoint', async (t) => {
    await complete()
    await one.put([{ document: aDocument(1, 4), expected: -1 }])
    await one.acknowledge(1, 4)
    await one.acknowledge(2, 1)
    await two.reset()
    t.same(await one.get([1, 2]), [NOTHING, NOTHING])
    t.same(await one.documents([1]), [null])
    t.equal(await one.getCheckpoint(), null)
    t.same(await one.put([{ document: aDocument(1, 0), expected: -1 }]), [0], 'and begins anew')
    await two.reset()
    await two.reset()
  })

  await t.test('it answers a ping', () => one.ping())

  await t.test('it says what it is', async (t) => {
    const facts = await one.describe()
    t.ok(facts.some(({ name }) => name === 'Kind'))
    t.ok(
      facts.some(({ name, value }) => / version$/i.test(name) && /^\d+\.\d+/.test(value)),
      JSON.stringify(facts),
    )
    t.same(
      facts.filter(({ problem }) => problem !== undefined),
      [],
      'and that nothing is wrong with it',
    )
  })

  await t.test('closing', async (t) => {
    const handle = await open()
    const last = handle.acknowledge(77, 1)
    await Promise.all([handle.close(), handle.close()])
    await handle.close()
    await last
    t.equal((await one.get([77]))[0]?.acknowledged, 1, 'what was under way is finished')
    const document = aDocument(1, 0)
    const uses: Record<string, () => Promise<unknown>> = {
      get: () => handle.get([1]),
      documents: () => handle.documents([1]),
      acknowledge: () => handle.acknowledge(1, 1),
      put: () => handle.put([{ document, expected: -1 }]),
      getCheckpoint: () => handle.getCheckpoint(),
      setCheckpoint: () => handle.setCheckpoint(aCheckpoint(1n), null),
      reset: () => handle.reset(),
      follow: () => handle.follow(),
      generations: () => handle.generations(),
      differing: () => handle.differing([1], 1),
      lacking: () => handle.lacking([1]),
      forget: () => handle.forget([1]),
      requestScrub: () => handle.requestScrub(),
      isScrubPending: () => handle.isScrubPending(),
      scrub: () => handle.scrub(),
      incarnations: () => handle.incarnations(),
      probe: () => handle.probe(),
      ping: () => handle.ping(),
    }
    for (const [call, use] of Object.entries(uses)) {
      await t.rejects(async () => void (await use()), ReadModelUnavailable, `${call} after it`)
    }
    await one.ping()
  })
}
