/** What `audit erase` has done when it ends, although no worker runs: in the documents, on the disk, for other instances. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { eraseCustomer } from '../../audit/erase.ts'
import { type EncryptedLog, keysOf } from '../../eventstore/encryption/customer-keys.ts'
import { countAsChained } from '../../eventstore/hash-chain.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { newestEvent } from '../../eventstore/read.ts'
import { registerStream } from '../../projections/fence/register.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { type ReadModel, ReadModelUnavailable } from '../../projections/read-model.ts'
import { createApplier } from '../../projections/worker/apply-events.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { allEmailKeysOf } from '../../schema/email-key.ts'
import { STREAM_NAMES, streamOf } from '../../schema/streams.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { collect } from '../projections/support.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import { environment, freshEmail, openTestLog, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'

const TRACE = 'Quuxington'

/** A customer with a document in the live generation, and in the one before it. */
async function someone(t: Test) {
  const folder = await temporaryFolder(t)
  const { send, eventStore } = await startSubgraph(t, { folder, projection: false })
  const email = freshEmail()
  const { id, token } = await signUp(send, email)
  const query = 'mutation($lastname: String!) { updateCustomer(input: { lastname: $lastname }) { customer { id } } }'
  const { errors } = await send(query, { token, variables: { lastname: TRACE } })
  if (errors) throw new Error(JSON.stringify(errors))
  const { READMODEL_URL } = environment(folder)
  const open = async (options = {}): Promise<ReadModel> => {
    const readModel = await openReadModel(READMODEL_URL as string, options)
    t.teardown(() => readModel.close())
    return readModel
  }
  const [live, other] = [await open(), await open({ generation: 2 })]
  const events = await collect(eventStore.readStream(streamOf.customer(id)))
  for (const readModel of [live, other]) {
    await createApplier({ eventStore, readModel, onFailure: ({ error }) => t.fail(`${error}`) }).apply(events)
    t.match(await readModel.documents([id]), [{ lastname: TRACE }])
  }
  const { emailHashKey } = loadKeys(loadConfiguration(environment(folder)))
  const eraser = { actor: 'operator:test', correlationId: 'c', at: new Date() }
  const erase = (readModel: ReadModel, log = eventStore, customerId = id) =>
    eraseCustomer({ eventStore: log, readModel, customerId, emailHashKey, eraser, reason: 'ticket' })
  return { folder, send, token, eventStore, id, email, emailHashKey, live, other, erase }
}

async function filesWithTrace(folder: string): Promise<string[]> {
  const found: string[] = []
  for (const name of await readdir(folder)) {
    if (!name.startsWith('readmodel.db')) continue
    if ((await readFile(join(folder, name), 'latin1')).includes(TRACE)) found.push(name)
  }
  return found
}

t.test('no generation and no byte of the files has the customer', async (t) => {
  const { folder, eventStore, id, live, other, erase } = await someone(t)
  t.not((await filesWithTrace(folder)).length, 0)
  t.match(await erase(live), { customer: 'deleted' })
  t.match(await live.documents([id]), [{ status: 'deleted' }])
  t.same(await other.documents([id]), [null])
  t.same(await filesWithTrace(folder), [])
  const newest = await newestEvent(eventStore, streamOf.customer(id))
  t.match(await live.get([id]), [{ acknowledged: newest?.revision }], 'marked, so no instance uses an older document')
})

t.test('a deletion of long ago, whose worker was killed before it cleaned the files', async (t) => {
  const { folder, eventStore, id, live, erase } = await someone(t)
  t.match(await erase({ ...live, requestScrub: async () => {}, scrub: async () => {} }), { customer: 'deleted' })
  const [document] = await live.documents([id])
  t.match(document, { status: 'deleted' })
  t.not((await filesWithTrace(folder)).length, 0)
  const now = Date.now
  t.intercept(Date, 'now', { value: () => now() + 86_400_000 })
  t.match(await erase(live), { customer: 'already deleted' })
  t.same(await filesWithTrace(folder), [])
  t.same(await live.documents([id]), [document])
  t.equal((await collect(eventStore.readStream(streamOf.customer(id)))).at(-1)?.revision, document?.revision)
})

t.test('a read model that refuses the mark at first: it is written, and no fence is left behind', async (t) => {
  const { eventStore, id, live, erase } = await someone(t)
  let isRefusing = true
  const acknowledge = (...mark: Parameters<ReadModel['acknowledge']>) =>
    isRefusing ? Promise.reject(new ReadModelUnavailable('OOM')) : live.acknowledge(...mark)
  const fences = async () => (await registerStream(eventStore).load()).fences
  const scrub = async () => {
    if (isRefusing) t.not((await fences()).length, 0, 'the other instances are fenced off meanwhile')
    await live.scrub()
    isRefusing = false
  }
  let looks = 0
  const readStream = (...read: Parameters<EventStore['readStream']>) => {
    if (read[0] === STREAM_NAMES.readModelFence) looks++
    return eventStore.readStream(...read)
  }
  await erase({ ...live, acknowledge, scrub }, countAsChained({ ...eventStore, readStream } as EncryptedLog))
  const newest = await newestEvent(eventStore, streamOf.customer(id))
  t.match(await live.get([id]), [{ acknowledged: newest?.revision }])
  t.same(await fences(), [])
  const before = looks
  t.not(before, 0)
  await delay(1_000)
  t.equal(looks, before, 'nothing is left running')
})

t.test('once it is done, no other process shows the customer with a key that it had read before', async (t) => {
  const { folder, id, live, erase } = await someone(t)
  const elsewhere = await openTestLog(t, folder)
  const names = async () => {
    const events = await collect(elsewhere.readStream(streamOf.customer(id)))
    return events.map(({ data }) => (data as { readonly lastname?: string }).lastname)
  }
  t.ok((await names()).includes(TRACE))
  await erase(live)
  t.notOk((await names()).includes(TRACE))
})

t.test('a customer whose stream was deleted by hand in the event store; who never was is absent', async (t) => {
  const { folder, send, token, eventStore, id, email, emailHashKey, live, other, erase } = await someone(t)
  await eventStore.tombstoneStream(streamOf.customer(id), { expected: 'any' })
  const { errors } = await send('mutation { updateCustomer(input: { firstname: "Bea" }) { customer { id } } }', {
    token,
  })
  t.match(errors, [{ extensions: { category: 'graphql-authentication' } }])
  const elsewhere = freshEmail()
  const removed = await signUp(send, elsewhere)
  await eventStore.tombstoneStream(streamOf.customer(removed.id), { expected: 'any' })
  t.not((await signUp(send, elsewhere)).id, removed.id, 'also one that is not erased has no address any more')
  t.match(await erase(live), { customer: 'already deleted' })
  t.match(await live.documents([id]), [{ status: 'deleted', email: '' }])
  t.same(await other.documents([id]), [null])
  t.same(await filesWithTrace(folder), [])
  t.ok(await keysOf(eventStore).isDestroyed(String(id)))
  const [claim] = allEmailKeysOf(emailHashKey, email).map(streamOf.email)
  t.match(await newestEvent(eventStore, claim as string), { type: 'EmailReleased' })
  t.not((await signUp(send, email)).id, id, 'the address is free')
  const [again, nobody] = await Promise.all([erase(live), erase(live, eventStore, id + 17)])
  t.match([again, nobody], [{ customer: 'already deleted' }, { customer: 'absent' }])
  t.notOk(await keysOf(eventStore).isDestroyed(String(id + 17)), 'it is the next customer’s')
})

t.test('a stream that was deleted by hand, where the erasure is killed, or a worker is behind or faster', async (t) => {
  const folder = await temporaryFolder(t)
  const env = { EVENTSTORE_URL: (await startEventStoreServer(t)).url }
  const { send, eventStore } = await startSubgraph(t, { folder, env, projection: false })
  const readModel = await openReadModel(environment(folder).READMODEL_URL as string)
  t.teardown(() => readModel.close())
  const { emailHashKey } = loadKeys(loadConfiguration({ ...environment(folder), ...env }))
  const eraser = { actor: 'operator:test', correlationId: 'c', at: new Date() }
  const erase = (customerId: number, documents = readModel) =>
    eraseCustomer({ eventStore, readModel: documents, customerId, emailHashKey, eraser, reason: 'ticket' })
  const apply = (events: Parameters<ReturnType<typeof createApplier>['apply']>[0]) =>
    createApplier({ eventStore, readModel, onFailure() {} }).apply(events)
  /** @param applied how many events a worker has applied */
  async function gone(applied: number, how: 'deleteStream' | 'tombstoneStream' = 'deleteStream') {
    const { id, token } = await signUp(send)
    for (const name of ['One', 'Two']) {
      await send(`mutation { updateCustomer(input: { lastname: "${name}" }) { customer { id } } }`, { token })
    }
    const events = await collect(eventStore.readStream(streamOf.customer(id)))
    await apply(events.slice(0, applied))
    await eventStore[how](streamOf.customer(id), { expected: 'any' })
    return { id, events, last: events.length - 1 }
  }
  const killed = new ReadModelUnavailable('killed')

  await t.test('killed after the document was overwritten: it is marked', async (t) => {
    const { id, last } = await gone(3, 'tombstoneStream')
    const put: ReadModel['put'] = async (...writes) => {
      await readModel.put(...writes)
      throw killed
    }
    await t.rejects(erase(id, { ...readModel, put }), killed)
    t.match(await erase(id), { customer: 'already deleted' })
    t.match(await readModel.get([id]), [{ acknowledged: last + 1 }], 'no instance uses an older document')
  })

  for (const applied of [0, 1]) {
    await t.test(`a worker that has applied ${applied} of the events applies the rest afterwards`, async (t) => {
      const { id, events } = await gone(applied, applied === 0 ? 'tombstoneStream' : 'deleteStream')
      t.match(await erase(id), { customer: 'already deleted' })
      for (const event of events.slice(applied)) await apply([event])
      t.match(await readModel.documents([id]), [{ status: 'deleted', email: '' }])
      t.same(await readModel.parked(), [])
    })
  }

  await t.test('a worker applies the rest just before the document is overwritten', async (t) => {
    const { id, events } = await gone(1)
    let isFirst = true
    const put: ReadModel['put'] = async (...writes) => {
      if (isFirst) await apply(events.slice(1))
      isFirst = false
      return readModel.put(...writes)
    }
    t.match(await erase(id, { ...readModel, put }), { customer: 'already deleted' })
    t.match(await readModel.documents([id]), [{ status: 'deleted', email: '' }])
  })

  await t.test('an event that was parked is parked no more', async (t) => {
    const { id, events } = await gone(1)
    await apply(events.slice(2))
    t.match(await readModel.parked(), [{ customerId: id }])
    await erase(id)
    t.same(await readModel.parked(), [])
  })
})
