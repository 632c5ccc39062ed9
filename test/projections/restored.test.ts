/** Projections on a log that is another one, younger, older or shorter than the one that the documents were made of. */
import '../support/needs-redis.ts'
import { copyFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { holdsEvent, placeOf } from '../../eventstore/event-place.ts'
import { openKurrentEventStore } from '../../eventstore/kurrentdb/event-store.ts'
import { type EventStore, InvalidArgument, type PersistentSubscriptions } from '../../eventstore/port.ts'
import { openSqliteEventStore } from '../../eventstore/sqlite/event-store.ts'
import { absentCustomer } from '../../projections/customer.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { provenanceOf } from '../../projections/provenance.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { openRedisReadModel } from '../../projections/redis/read-model.ts'
import { openSqliteReadModel } from '../../projections/sqlite/read-model.ts'
import { startGroupProjection } from '../../projections/worker/group.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { backUp, restore } from '../restore/support.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { encoded, type History } from '../support/histories.ts'
import { startRedis } from '../support/redis.ts'
import { until, untilDone } from '../support/until.ts'
import { appendHistories, collect, openStores, paths, someHistories, temporaryFolder } from './support.ts'

const part = (histories: readonly History[], from: number, to?: number) =>
  histories.map(({ id, events }) => ({ id, events: events.slice(from, to) }))

/** Other customers under the same ids, with fewer events. */
const others = (count: number) => part(someHistories(count, 99), 0, 2)

async function untilProjected(eventStore: EventStore, readModel: ReadModel, ids: readonly number[]): Promise<void> {
  const folds = JSON.stringify(await Promise.all(ids.map((id) => foldCustomer(eventStore, id))))
  await until('the documents are those of the log', async () => {
    const checkpoint = await readModel.getCheckpoint().catch(() => null)
    if (!checkpoint?.complete) return false
    const documents = await readModel.documents(ids)
    return JSON.stringify(documents.map((document, index) => document ?? absentCustomer(ids[index] ?? 0))) === folds
  })
}

const ids = [1, 2, 3, 4, 5, 6]

async function provenance(eventStore: EventStore, readModel: ReadModel) {
  const checkpoint = await readModel.getCheckpoint()
  return provenanceOf(eventStore, { checkpoint, newest: await readModel.newest() })
}

t.test('SQLite: events.db is restored beside readmodel.db', async (t) => {
  const folder = await temporaryFolder(t)
  const path = paths(folder).events
  const open = () => openSqliteEventStore({ path })
  const readModel = openSqliteReadModel({ path: paths(folder).readModel })
  t.teardown(() => readModel.close())
  const project = async (eventStore: EventStore) => {
    const projection = startProjection({ eventStore, readModel })
    await projection.caughtUp()
    await projection.stop()
  }
  let eventStore = open()
  await appendHistories(eventStore, part(someHistories(3), 0, 2))
  await eventStore.close()
  await copyFile(path, `${path}.backup`)
  eventStore = open()
  // The newest three customers, and more of the first, are not in the backup.
  await appendHistories(eventStore, part(someHistories(6), 0, 4).slice(3))
  await project(eventStore)
  await eventStore.close()

  await copyFile(`${path}.backup`, path)
  eventStore = open()
  t.teardown(() => eventStore.close())
  t.equal(await provenance(eventStore, readModel), 'other log', 'shorter')
  // It has grown past the old one's end meanwhile.
  await appendHistories(eventStore, others(6).slice(3))
  for (let n = 0; n < 5; n++) await appendHistories(eventStore, [{ ...(others(1)[0] as History), id: 100 + n }])
  t.equal(await provenance(eventStore, readModel), 'other log', 'longer')
  await project(eventStore)
  await untilProjected(eventStore, readModel, ids)
})

t.test('documents that are newer than the checkpoint are noticed too', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  await appendHistories(eventStore, someHistories(2))
  const projection = startProjection({ eventStore, readModel })
  await projection.caughtUp()
  await projection.stop()
  t.equal(await provenance(eventStore, readModel), 'same')
  // As a worker that was killed between its documents and its checkpoint leaves it, on a log that lost the event since.
  const [last] = await collect(eventStore.readAll({ direction: 'backwards', maxCount: 1 }))
  if (!last) throw new Error('the log is empty')
  const lost = { ...placeOf(last), id: crypto.randomUUID(), position: { commit: 10n ** 6n, prepare: 10n ** 6n } }
  await readModel.put([{ document: absentCustomer(3), expected: -1 }], lost)
  t.equal(await provenance(eventStore, readModel), 'other log')
  await readModel.put([], placeOf(last))
  t.same(await readModel.newest(), lost, 'an older one does not count')
})

t.test('documents of an earlier release are of this log, but are made anew', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  await appendHistories(eventStore, someHistories(2))
  const projection = startProjection({ eventStore, readModel })
  await projection.caughtUp()
  await projection.stop()
  const checkpoint = await readModel.getCheckpoint()
  if (!checkpoint) throw new Error('there is no checkpoint')
  const [firstId = ''] = checkpoint.origin.split('/')
  const compare = (changed: Partial<typeof checkpoint>) =>
    provenanceOf(eventStore, { checkpoint: { ...checkpoint, ...changed }, newest: null })
  t.equal(await compare({}), 'same')
  t.equal(await compare({ origin: `${firstId}/1` }), 'other release', 'documents of another version')
  t.equal(await compare({ id: '' }), 'other release', 'a checkpoint that does not name its event')
  t.equal(await compare({ id: '', position: { commit: 10n ** 6n, prepare: 10n ** 6n } }), 'other log', 'past the end')
  t.equal(await compare({ origin: `${crypto.randomUUID()}/1` }), 'other log', 'another first event')
  t.equal(await compare({ id: crypto.randomUUID() }), 'other log', 'another event at the checkpoint')

  // The worker would resume from it, again and again.
  const damaged = { ...checkpoint, position: { ...checkpoint.position, commit: 1n } }
  t.equal(await provenanceOf(eventStore, { checkpoint: damaged, newest: await readModel.newest() }), 'other log')
})

t.test('an event that was removed on purpose is no sign of another log', async (t) => {
  const { eventStore } = await openStores(t)
  const past = someHistories(4)
  await appendHistories(eventStore, past)
  const places = await Promise.all(
    past.map(async ({ id }) => placeOf((await collect(eventStore.readStream(`customer-${id}`))).at(-1) as never)),
  )
  await eventStore.deleteStream('customer-1', { expected: 'any' })
  await eventStore.tombstoneStream('customer-2', { expected: 'any' })
  await eventStore.setStreamMetadata('customer-3', { $maxCount: 1 })
  for (const place of places) t.equal(await holdsEvent(eventStore, place), true, place.stream)
  const [place] = places
  if (!place) throw new Error('no place')
  t.equal(await holdsEvent(eventStore, { ...place, stream: 'customer-9', id: crypto.randomUUID() }), false)
  t.equal(await holdsEvent(eventStore, { ...place, id: '' }), false, 'one that an earlier release has not noted')
})

t.test('a node that has not caught up is no sign of another log either', async (t) => {
  const { eventStore } = await openStores(t)
  await appendHistories(eventStore, someHistories(2))
  const newest = (await collect(eventStore.readAll({ direction: 'backwards', maxCount: 1 })))[0]
  if (!newest) throw new Error('there is no event')
  let looks = 0
  /** Shows its newest event from the third look on, as a node does that was just elected. */
  const late = (refuses: boolean): EventStore => ({
    ...eventStore,
    async *readAll(options) {
      if (++looks > 2) yield* eventStore.readAll(options)
      else if (refuses) throw new InvalidArgument('Position 1/1 is not one of this log.')
    },
  })
  const place = placeOf(newest)
  for (const refuses of [false, true]) {
    looks = 0
    t.equal(await holdsEvent(late(refuses), place), false, 'a store of one node has all of it at once')
    looks = 0
    t.equal(await holdsEvent({ ...late(refuses), catchUpMs: 5_000 }, place), true)
    t.equal(looks, 3)
  }
  const other = { ...place, id: crypto.randomUUID() }
  t.equal(
    await holdsEvent({ ...eventStore, catchUpMs: 60_000 }, other),
    false,
    'another event: there is nothing to wait for',
  )
  const beyond = { commit: newest.position.commit + 100n, prepare: newest.position.prepare + 100n }
  t.equal(await holdsEvent({ ...eventStore, catchUpMs: 300 }, { ...place, position: beyond }), false, 'not for ever')
})

t.test('a checkpoint that was set back is gone on from', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  await appendHistories(eventStore, someHistories(3))
  const projection = startProjection({ eventStore, readModel })
  t.teardown(() => projection.stop())
  await projection.caughtUp()
  const there = await readModel.getCheckpoint()
  const [first] = await collect(eventStore.readAll({ maxCount: 1 }))
  if (!there || !first) throw new Error('nothing was projected')
  await readModel.setCheckpoint({ ...there, ...placeOf(first) }, there)
  await until('the worker has noticed', async () => (await readModel.getCheckpoint())?.id === there.id)
  t.same(await readModel.getCheckpoint(), there)
})

t.test('a checkpoint that was set back is noticed by the next batch, too', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  await appendHistories(eventStore, someHistories(3))
  let isBlind = false
  const blind: ReadModel = {
    ...readModel,
    // The look at the read model every second fails.
    wanted: () => (isBlind ? Promise.reject(new Error('not now')) : readModel.wanted()),
  }
  const projection = startProjection({ eventStore, readModel: blind })
  t.teardown(() => projection.stop())
  await projection.caughtUp()
  isBlind = true
  const there = await readModel.getCheckpoint()
  const [first] = await collect(eventStore.readAll({ maxCount: 1 }))
  if (!there || !first) throw new Error('nothing was projected')
  const [document] = await readModel.documents([2])
  if (!document) throw new Error('it has no document')
  await readModel.put([{ document: { ...document, revision: 0 }, expected: document.revision }])
  await readModel.setCheckpoint({ ...there, ...placeOf(first) }, there)
  await appendHistories(eventStore, part(someHistories(6), 0, 1).slice(5))
  await until('the lost events are applied again', async () => {
    const [again, added] = await readModel.documents([2, 6])
    return again?.revision === document.revision && added?.revision === 0
  })
})

/** Copies all keys of one database into another, in whose place they come. */
const COPY = `redis.call('SELECT', ARGV[2])
  redis.call('FLUSHDB')
  redis.call('SELECT', ARGV[1])
  for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('COPY', key, key, 'DB', ARGV[2]) end`
const [LIVE, COPIED] = ['0', '9']

for (const [mode, isBusy] of [
  ['catch-up', false],
  ['group', false],
  ['group', true],
] as const) {
  const name = `${mode}${isBusy ? ', while events come' : ''}`
  t.test(`all keys of a running Redis are put back, seals and marks too: ${name}`, async (t) => {
    const [server, redis] = await Promise.all([startEventStoreServer(t), startRedis(t)])
    const eventStore = openKurrentEventStore(server.url) as EventStore & {
      readonly persistentSubscriptions: PersistentSubscriptions
    }
    const [reader, readModel, fillModel] = [1, 2, 3].map(() => openRedisReadModel(redis.url, { settleMs: 300 })) as [
      ReadModel,
      ReadModel,
      ReadModel,
    ]
    const start = () =>
      mode === 'catch-up'
        ? startProjection({ eventStore, readModel })
        : startGroupProjection({ eventStore, readModel, fillModel, group: 'customers' })
    const copy = (from: string, to: string) => redis.command('EVAL', COPY, '0', from, to)
    const past = someHistories(3)
    await appendHistories(eventStore, part(past, 0, 1))
    const projection = start()
    t.teardown(async () => {
      await projection.stop()
      await Promise.all([reader, readModel, fillModel, eventStore].map((each) => each.close()))
    })
    await untilProjected(eventStore, reader, [1, 2, 3])
    await copy(LIVE, COPIED)
    for (const { id, events } of part(past, 0, 3)) {
      for (const [n, event] of encoded({ id, events }).slice(1).entries()) {
        await eventStore.append(`customer-${id}`, [event], { expected: n })
      }
      await reader.acknowledge(id, events.length - 1)
    }
    await untilProjected(eventStore, reader, [1, 2, 3])

    await copy(COPIED, LIVE)
    const isStale = async () => {
      const entries = await reader.get([1, 2, 3])
      return entries.some(({ document, acknowledged }) => document && document.revision < Math.max(2, acknowledged))
    }
    if (isBusy) await appendHistories(eventStore, part(someHistories(4), 0, 1).slice(3))
    await until('they are hidden', async () => {
      return (await reader.get([1, 2, 3])).every(({ document }) => document === null)
    })
    const looking = setInterval(async () => {
      if (await isStale()) t.fail('an old document is shown')
    }, 10)
    await untilProjected(eventStore, reader, [1, 2, 3])
    clearInterval(looking)
    await until('queries use the documents', async () => {
      const entries = await reader.get([1, 2, 3])
      return entries.every(({ document }) => document?.revision === 2)
    })
  })
}

t.test('what an earlier release has stored does not tell which event it was: it is filled anew', async (t) => {
  const server = await startRedis(t)
  const { eventStore } = await openStores(t)
  await appendHistories(eventStore, others(6))
  const readModel = openRedisReadModel(server.url)
  t.teardown(() => readModel.close())
  await readModel.put([{ document: { ...absentCustomer(1), revision: 50 }, expected: -1 }])
  const old = { commit: '1', prepare: '1', origin: 'x/2', complete: true, epoch: crypto.randomUUID() }
  await server.command('SET', 'customer:{checkpoint}', JSON.stringify(old))
  t.match(await readModel.getCheckpoint(), { id: '' })
  const projection = startProjection({ eventStore, readModel })
  t.teardown(() => projection.stop())
  await projection.caughtUp()
  await untilProjected(eventStore, readModel, ids)
})

t.test(
  'a group on a server that is restored, by itself or replaced by another log',
  builtIn('it puts a backup into the server'),
  async (t: Test) => {
    const [server, redis] = await Promise.all([startEventStoreServer(t), startRedis(t)])
    const open = () => {
      const eventStore = openKurrentEventStore(server.url) as EventStore & {
        readonly persistentSubscriptions: PersistentSubscriptions
      }
      t.teardown(() => eventStore.close())
      return eventStore
    }
    const eventStore = open()
    const models = Array.from({ length: 5 }, () => openRedisReadModel(redis.url))
    t.teardown(() => Promise.all(models.map((model) => model.close())))
    const [readModel = models[0] as ReadModel, ...own] = models
    const workers = [0, 2].map((n) =>
      startGroupProjection({
        eventStore: open(),
        readModel: own[n] as ReadModel,
        fillModel: own[n + 1] as ReadModel,
        group: 'customers',
      }),
    )
    t.teardown(() => Promise.all(workers.map((worker) => worker.stop())))
    const past = someHistories(6)
    await appendHistories(eventStore, part(past, 0, 2))
    await untilProjected(eventStore, readModel, ids)
    const backup = backUp(server)
    for (const { id, events } of past) {
      for (const [n, event] of encoded({ id, events }).slice(2).entries()) {
        await eventStore.append(`customer-${id}`, [event], { expected: n + 1 })
      }
    }
    await untilProjected(eventStore, readModel, ids)
    // So the restored log has nothing that is new to the group.
    await until('the group has nothing to deliver again', async () => {
      const { checkpoint } = await eventStore.persistentSubscriptions.info('customers')
      return checkpoint !== undefined && checkpoint.commit > BigInt(backup.at(-1)?.position ?? 0)
    })

    await restore(server, backup)
    await untilProjected(eventStore, readModel, ids)
    await restore(server, [])
    await untilDone('the server is back', () => eventStore.ping())
    await appendHistories(eventStore, others(4))
    await untilProjected(eventStore, readModel, [1, 2, 3, 4])
    t.same(await readModel.documents([5, 6]), [null, null])
  },
)
