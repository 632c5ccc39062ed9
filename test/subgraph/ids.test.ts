/** Ids of customers and addresses: whose an address id is costs few reads, whatever was imported. */
import { join } from 'node:path'
import t from 'tap'
import type { EventStore } from '../../eventstore/port.ts'
import { openSqliteEventStore } from '../../eventstore/sqlite/event-store.ts'
import { type Command, createCommand } from '../../subgraph/commands/command.ts'
import { createIds } from '../../subgraph/streams/ids.ts'
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
