/** `npm run parked` as an operator runs it. */

import { Registry } from 'prom-client'
import t, { type Test } from 'tap'
import { keysOf } from '../../eventstore/encryption/customer-keys.ts'
import type { Json } from '../../eventstore/port.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { isSkipped } from '../../projections/skips.ts'
import { createApplier } from '../../projections/worker/apply-events.ts'
import { createProjectionMetrics } from '../../projections/worker/metrics.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { runCommand } from '../support/commands.ts'
import { environment, openTestLog, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { until } from '../support/until.ts'
import { collect } from './support.ts'

const poison = () => ({
  id: crypto.randomUUID(),
  type: 'CustomerKnighted',
  data: { title: 'Dame Secretname' },
  metadata: { $correlationId: 'x', $causationId: 'x', actor: 'test', at: new Date().toISOString(), schemaVersion: 1 },
})

/** A customer whose third event nobody knows. */
async function startStuck(t: Test) {
  const folder = await temporaryFolder(t)
  const { READMODEL_URL = '' } = environment(folder)
  const subgraph = await startSubgraph(t, { folder, projection: false })
  const { id, token } = await signUp(subgraph.send)
  // As another release would have written it: this one refuses events that it does not know.
  await keysOf(subgraph.eventStore).log.append(`customer-${id}`, [poison()], { expected: 0 })
  const eventStore = await openTestLog(t, folder)
  const readModel = await openReadModel(READMODEL_URL)
  const projection = startProjection({ eventStore, readModel })
  t.teardown(async () => {
    await projection.stop()
    await readModel.close()
    await eventStore.close()
  })
  await projection.caughtUp()
  const parked = (...args: string[]) => runCommand(folder, ['parked', ...args])
  const parkedIn = (url: string) => runCommand(folder, ['parked'], { READMODEL_URL: url })
  return { id, token, subgraph, eventStore, readModel, projection, parked, parkedIn }
}

async function gauge(eventStore: Parameters<typeof createProjectionMetrics>[1]['eventStore'], readModel: ReadModel) {
  const registry = new Registry()
  createProjectionMetrics(registry, { eventStore, readModel })
  return /^projection_parked_events (\S+)$/m.exec(await registry.metrics())?.[1]
}

t.test('listed, shown, dropped: the customer goes on without the event', async (t) => {
  const { id, token, subgraph, eventStore, readModel, projection, parked } = await startStuck(t)
  t.match(await parked(), {
    code: 0,
    output: new RegExp(`^customer ${id}\\trevision 1\\tCustomerKnighted\\t.*not in the catalogue`, 'm'),
  })
  const shown = await parked('show', String(id))
  t.match(shown, { code: 0, output: new RegExp(`customer-${id} revision 1, CustomerKnighted`) })
  t.match(shown.output, /Error {6}Event type "CustomerKnighted" is not in the catalogue\./)
  t.notMatch(shown.output, /secretname/i)
  t.equal(await gauge(eventStore, readModel), '1')
  t.ok((await subgraph.send('{ customer { firstname } }', { token })).errors, 'its queries fail until then')

  t.match(await parked('replay', '--all'), {
    code: 1,
    output: /^Replaying 1 event of 1 customer\.\ncustomer \d+: still parked at revision 1/m,
  })
  t.equal(await isSkipped(eventStore, id, 1), false)
  t.match(await parked('drop', String(id)), { code: 2, output: /required option '--reason <text>'/ })
  t.match(await parked('drop', String(id), '--reason', 'written by a release that was withdrawn'), {
    code: 0,
    output: /replayed/,
  })
  t.equal(await isSkipped(eventStore, id, 1), true)
  t.same(await readModel.parked(), [])
  t.equal(await gauge(eventStore, readModel), '0')
  t.match(await parked(), { code: 0, output: /No event is parked/ })

  t.equal((await readModel.documents([id]))[0]?.revision, 1)
  t.equal((await subgraph.send('{ customer { firstname } }', { token })).data.customer.firstname, 'Ann')
  const renamed = await subgraph.send(
    'mutation { updateCustomer(input: { firstname: "Bea" }) { customer { firstname } } }',
    { token },
  )
  t.equal(renamed.data?.updateCustomer.customer.firstname, 'Bea', 'commands go on too')
  await projection.caughtUp()
  t.same((await readModel.documents([id]))[0], await foldCustomer(eventStore, id))
})

t.test('a release that can apply it replays it, and it is parked no more', async (t) => {
  const { id, eventStore, readModel, parked } = await startStuck(t)
  // As such a release would leave the document.
  const [document] = await readModel.documents([id])
  if (!document) return t.fail('there is a document')
  await readModel.put([{ document: { ...document, revision: 1 }, expected: 0 }])
  t.match(await parked('replay', String(id)), { code: 0, output: /replayed/ })
  t.same(await readModel.parked(), [])
  t.equal(await gauge(eventStore, readModel), '0')
  t.match(await parked('replay', '--all'), { code: 0, output: /^No event is parked\.$/m })
})

t.test('who is erased is erased from the live documents, too, whatever could not be applied', async (t) => {
  const { id, eventStore, readModel, projection, subgraph } = await startStuck(t)
  t.match(await readModel.documents([id]), [{ revision: 0, firstname: 'Ann' }])
  const event = (type: string, data: Json, revision: number) =>
    keysOf(subgraph.eventStore).log.append(`customer-${id}`, [{ ...poison(), type, data }], { expected: revision - 1 })
  await event('CustomerTokensRevoked', {}, 2)
  await event('CustomerDeleted', { emailKeys: [] }, 3)
  await projection.caughtUp()
  const deleted = await foldCustomer(eventStore, id)
  t.match(deleted, { status: 'deleted', revision: 3, firstname: '' })
  const isErased = async () =>
    (await readModel.parked()).length === 0 && (await readModel.documents([id]))[0]?.revision === 3
  await until('nobody is parked', isErased)
  t.strictSame(await readModel.documents([id]), [deleted])

  // In one piece, as a rebuild reads it.
  await readModel.reset()
  await createApplier({ eventStore, readModel, onFailure: () => t.fail('nobody gets stuck') }).apply(
    await collect(eventStore.readStream(`customer-${id}`)),
  )
  t.strictSame(await readModel.documents([id]), [deleted])
})

t.test('arguments that make no sense are told', async (t) => {
  const { parked, parkedIn } = await startStuck(t)
  t.match(await parkedIn('sqlite:other.db'), { code: 0, stderr: /is READMODEL_URL that of the service\?\n$/ })
  t.match(await parked(), { code: 0, stdout: /^1 parked; /m, stderr: '' })
  for (const args of [['hide'], ['show'], ['replay'], ['replay', '7', '--all'], ['list', '7'], ['show', '7', '8']]) {
    t.match(await parked(...args), { code: 2, output: /^error: .* See customers parked.* --help\n$/ }, args.join(' '))
  }
  t.match(await parked('show', 'seven'), { code: 2, output: /^error: .*'seven' is invalid/ })
  t.match(await parked('show', '777'), { code: 1, output: /^Customer 777 has no parked event/ })
})
