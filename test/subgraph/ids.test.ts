/** Ids of customers and addresses: whose an address id is costs few reads, whatever was imported. */
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import { openSqliteEventStore } from '../../eventstore/sqlite/event-store.ts'
import { type Command, createCommand } from '../../subgraph/commands/command.ts'
import { createIds, type Ids } from '../../subgraph/streams/ids.ts'
import { temporaryFolder } from '../support/graph.ts'

const command = (): Command =>
  createCommand({ operation: 'test', arguments: {}, actor: 'test', correlationId: 'test', at: new Date() })

t.test('the owner of an address id, after many imports, is found with few reads', async (t) => {
  const store = openSqliteEventStore({ path: join(await temporaryFolder(t), 'events.db') })
  t.teardown(() => store.close())
  let reads = 0
  const counted: EventStore = {
    ...store,
    readStream(stream, options) {
      reads++
      return store.readStream(stream, options)
    },
  }
  const writer = createIds(store)
  const blocks: { readonly first: number; readonly customerId: number }[] = []
  const imports = 34
  for (let round = 0; round <= imports; round++) {
    for (let index = 0; index < 6; index++) {
      const customerId = round * 100 + index + 1
      blocks.push({ first: await writer.reserveAddressIds(customerId, command()), customerId })
    }
    const last = blocks.at(-1)?.first ?? 0
    await writer.raiseFloor('address', last + 10_000, command())
  }

  const ids = createIds(counted)
  const most = Math.ceil(Math.log2(imports + 1)) + 2
  for (const { first, customerId } of blocks) {
    for (const id of [first, first + 9]) {
      const before = reads
      t.equal(await ids.addressOwner(id), customerId)
      // The first one learns the floors.
      if (id > (blocks[0]?.first ?? 0))
        t.ok(reads - before <= most + (before === 0 ? most : 3), `${reads - before} reads`)
    }
  }
  const before = reads
  t.equal(await ids.addressOwner(9_000), undefined, 'between two blocks')
  t.equal(await ids.addressOwner(10 ** 9), undefined)
  t.ok(reads - before <= 2 * (most + 3))

  const late = await writer.reserveAddressIds(7, command())
  t.equal(await ids.addressOwner(late), 7, 'under a floor that came later')
})

t.test('a reservation that met a new floor, and was given up, leads nobody astray', async (t) => {
  const store = openSqliteEventStore({ path: join(await temporaryFolder(t), 'events.db') })
  t.teardown(() => store.close())
  const writer = createIds(store)
  const first = await writer.reserveAddressIds(1, command())
  await writer.raiseFloor('address', 1_000, command())
  const second = await writer.reserveAddressIds(2, command())
  // As of an instance that had read the floor before: it reserves again.
  const stale = createIds({
    ...store,
    readStream: (stream, options) =>
      store.readStream(stream === 'addressIdFloor' && !isLate ? 'addressIdFloor-of-before' : stream, options),
    async append(...of) {
      const result = await store.append(...of)
      isLate = true
      return result
    },
  })
  let isLate = false
  const third = await stale.reserveAddressIds(3, command())
  await writer.raiseFloor('address', 3_000, command())
  const fourth = await writer.reserveAddressIds(4, command())
  const ids = createIds(store)
  for (const [index, id] of [first, second, third, fourth].entries()) {
    t.equal(await ids.addressOwner(id), index + 1)
    t.equal(await ids.addressOwner(id + 9), index + 1)
  }
})

t.test('reservations that come together are made together, also beside another instance and a new floor', async (t) => {
  const store = openSqliteEventStore({ path: join(await temporaryFolder(t), 'events.db') })
  t.teardown(() => store.close())
  let appends = 0
  let isRefused = true
  const counted: EventStore = {
    ...store,
    append(...of) {
      appends++
      if (!isRefused) return store.append(...of)
      isRefused = false
      return Promise.reject(new EventStoreUnavailable('It is away.'))
    },
  }
  const [ids, other] = [createIds(counted), createIds(store)]
  const reserve = (from: number, instance: Ids) =>
    Array.from({ length: 300 }, async (_, index) => {
      const customerId = from + index
      return { first: await instance.reserveAddressIds(customerId, command()), customerId }
    })
  const refused = reserve(9_001, ids)
  const outcomes = Promise.allSettled(refused)
  await setImmediate()
  const late = reserve(1, ids)
  const settled = await outcomes
  t.equal(settled.filter(({ status }) => status === 'rejected').length, 256, 'those of the append that failed')
  const raised = other.raiseFloor('address', 50_000, command())
  const written = settled.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  const blocks = [...written, ...(await Promise.all([...late, ...reserve(1_001, other)]))]
  await raised
  t.equal(blocks.length, 644)
  t.ok(appends < 12, `${appends} appends`)
  t.equal(new Set(blocks.map(({ first }) => first)).size, blocks.length, 'each block is reserved once')
  const reader = createIds(store)
  for (const { first, customerId } of blocks.filter((_, index) => index % 20 === 0)) {
    t.equal(await reader.addressOwner(first + 9), customerId)
  }
})

t.test('floors of a log that was restored from a backup are read anew', async (t) => {
  const open = async () => {
    const store = openSqliteEventStore({ path: join(await temporaryFolder(t), 'events.db') })
    t.teardown(() => store.close())
    return store
  }
  const [before, restored] = [await open(), await open()]
  const [writer, later] = [createIds(before), createIds(restored)]
  for (const highest of [1_000, 2_000, 3_000]) await writer.raiseFloor('address', highest, command())
  await later.raiseFloor('address', 1_000, command())
  let current: EventStore = before
  let lose = () => {}
  const ids = createIds({
    ...before,
    readStream: (...of) => current.readStream(...of),
    append: (...of) => current.append(...of),
    onDisconnect(listener) {
      const other = lose
      lose = () => {
        other()
        listener()
      }
      return () => {}
    },
  })
  t.equal(await ids.addressOwner(await writer.reserveAddressIds(1, command())), 1)

  current = restored
  lose()
  await later.raiseFloor('address', 50_000, command())
  t.equal(await ids.addressOwner(await later.reserveAddressIds(2, command())), 2)
})
