/** The leaf cache: it can be resumed anywhere, a proof reads only new events, and never trusts the cache. */
import { readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { checkInclusion, proveInclusion } from '../../../audit/proof/inclusion.ts'
import { openLeafCache } from '../../../audit/proof/leaf-cache.ts'
import { writeCheckpoint } from '../../../audit/proof/signed-checkpoints.ts'
import { createTree, leafHash, rootFromPath } from '../../../audit/proof/tree.ts'
import { chained } from '../../../eventstore/hash-chain.ts'
import type { EventStore } from '../../../eventstore/port.ts'
import { temporaryFolder } from '../../support/graph.ts'
import { aKey, aLog, grow, KINDS } from './support.ts'

const key = aKey()
const positionOf = (index: number) => ({ commit: BigInt(100 + index * 7), prepare: BigInt(100 + index * 7) })
const leafOf = (index: number) => leafHash(`leaf ${index}`)

t.test('a tree of three levels of files, filled in pieces', async (t) => {
  const folder = await temporaryFolder(t)
  const SIZE = 66_000
  const sizes = new Set([1, 255, 256, 257, 511, 65_535, 65_536, 65_537, SIZE])
  const tree = createTree()
  const roots = new Map<number, Buffer>()
  for (let index = 0; index < SIZE; index++) {
    tree.add(leafOf(index))
    if (sizes.has(tree.size)) roots.set(tree.size, tree.root())
  }
  for (const end of [300, 301, 65_700, SIZE]) {
    const leaves = openLeafCache(folder)
    t.equal(leaves.size % 256, 0, 'the last tile is filled again')
    if (leaves.size > 0) t.same(leaves.next, positionOf(leaves.size), 'continues with the event after the last tile')
    for (let index = leaves.size; index < end; index++) leaves.add(leafOf(index), positionOf(index))
    t.equal(leaves.isPast(positionOf(end - 1)), false)
    t.equal(leaves.isPast(positionOf(end)), true)
    leaves.close()
  }
  const leaves = openLeafCache(folder)
  t.teardown(leaves.close)
  for (let index = leaves.size; index < SIZE; index++) leaves.add(leafOf(index), positionOf(index))
  for (const [size, root] of roots) {
    t.same(leaves.root(size), root, `the root of ${size}`)
    for (const index of [0, 1, 255, 256, 300, 4_096, 65_535, 65_536, size - 1].filter((each) => each < size)) {
      const leaf = leafOf(index)
      t.equal(leaves.indexOf(leaf, positionOf(index)), index)
      t.same(rootFromPath(leaf, index, size, leaves.path(index, size)), root, `leaf ${index} of ${size}`)
    }
  }
  t.equal(leaves.indexOf(leafOf(5), positionOf(3_000)), -1, 'at another position')
  const bytes = readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
  t.ok(bytes < SIZE * 32.3, `${bytes} bytes for ${SIZE} events`)
})

for (const kind of KINDS) {
  t.test(`${kind}: a second proof reads only new events`, async (t) => {
    const { eventStore, folder } = await aLog(t, kind)
    const leafCache = join(folder, 'proof-leaves')
    const store = chained(eventStore)
    for (let customer = 1; customer <= 6; customer++) await grow(store, `customer-${customer}`, 100)
    await writeCheckpoint(eventStore, key)
    let read = 0
    const counting: EventStore = {
      ...eventStore,
      async *readAll(options) {
        for await (const event of eventStore.readAll(options)) {
          read++
          yield event
        }
      },
    }
    const prove = (stream: string, revision: number) =>
      proveInclusion(counting, key, { stream, revision }, { leafCache })
    const first = await prove('customer-3', 7)
    t.equal(checkInclusion(first, key), undefined)
    t.equal(read, 600, 'one pass')
    read = 0
    t.same(await prove('customer-3', 7), first)
    t.ok(read <= 256, `${read} events`)
    await grow(store, 'customer-7', 300)
    await t.rejects(prove('customer-7', 3), /newer than the newest/)
    await writeCheckpoint(eventStore, key)
    read = 0
    t.equal(checkInclusion(await prove('customer-7', 299), key), undefined)
    t.ok(read <= 300 + 256, `${read} events: the new ones, and those of the last tile`)
    read = 0
    t.equal(checkInclusion(await prove('customer-1', 0), key), undefined, 'the first')
    t.ok(read <= 256, `${read} events`)
    read = 0
    const id = (await eventStore.readStream('customer-2', { from: 50, maxCount: 1 })[Symbol.asyncIterator]().next())
      .value?.id as string
    t.equal(checkInclusion(await proveInclusion(counting, key, { id }, { leafCache }), key), undefined)
    t.ok(read <= 900, `${read} events: at most one pass for an id`)

    // Whatever happens to the files, the log decides.
    for (const [name, damage] of Object.entries({
      truncated: () => truncateSync(join(leafCache, 'leaves'), 12_345),
      'without a level': () => truncateSync(join(leafCache, 'roots-1'), 31),
      'from another log': () => {
        for (const file of readdirSync(leafCache)) writeFileSync(join(leafCache, file), Buffer.alloc(40_000, 7))
      },
    })) {
      damage()
      t.equal(checkInclusion(await prove('customer-3', 7), key), undefined, name)
      read = 0
      await prove('customer-3', 8)
      t.ok(read <= 256, `${name}: repaired`)
    }
  })
}

t.test('a folder that is not writable does not prevent the proof', async (t) => {
  const { eventStore, folder } = await aLog(t, 'sqlite')
  await grow(chained(eventStore), 'customer-1', 3)
  await writeCheckpoint(eventStore, key)
  writeFileSync(join(folder, 'file'), '')
  const wanted = { stream: 'customer-1', revision: 1 }
  const proof = await proveInclusion(eventStore, key, wanted, { leafCache: join(folder, 'file', 'leaves') })
  t.equal(checkInclusion(proof, key), undefined)
})
