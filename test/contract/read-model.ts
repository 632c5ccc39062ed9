/**
 * What every read-model adapter does. The read model under test belongs to the suite alone while it runs:
 * it is emptied before each case.
 */
import type { Test } from 'tap'
import type { ReadModel } from '../../projections/read-model.ts'
import { damageCases } from './read-model/damage.ts'
import { documentCases } from './read-model/documents.ts'
import { generationCases } from './read-model/generations.ts'
import { lifeCases } from './read-model/life.ts'
import { queryCases } from './read-model/queries.ts'
import { aCheckpoint, type Contract, type Damage } from './read-model/support.ts'

export * from './read-model/support.ts'

/**
 * @param open gives one more handle on the same read model (for a generation), as another process would have it; the suite
 * closes it
 */
export async function readModelContract(
  t: Test,
  name: string,
  {
    open,
    damage,
  }: {
    readonly open: (generation?: number) => ReadModel | Promise<ReadModel>
    /** Puts something in the place of what is stored of the generation, as another program would. */
    readonly damage: (generation: number) => Damage
  },
): Promise<void> {
  await t.test(`read-model contract: ${name}`, async (t) => {
    const one = await open()
    const two = await open()
    t.teardown(() => Promise.all([one.close(), two.close()]))

    /** Empty, or empty and complete: then queries see the documents. */
    const empty = () => one.reset()
    const complete = async () => {
      await one.reset()
      await one.setCheckpoint(aCheckpoint(1n), null)
    }
    const contract: Contract = { one, two, open, damage, empty, complete }

    await queryCases(t, contract)
    await generationCases(t, contract)
    await documentCases(t, contract)
    await damageCases(t, contract)
    await lifeCases(t, contract)
    await empty()
  })
}
