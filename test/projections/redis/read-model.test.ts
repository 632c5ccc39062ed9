/** The Redis read model: the contract on a server and on a cluster, and what only a server can get wrong. */
import '../../support/needs-redis.ts'
import t, { type Test } from 'tap'
import { type ReadModel, ReadModelUnavailable } from '../../../projections/read-model.ts'
import { openRedisReadModel } from '../../../projections/redis/read-model.ts'
import { slotOf, tagOfEachSlot } from '../../../runtime/redis/slots.ts'
import { aCheckpoint, aDocument, brokenDocuments, type Damage, readModelContract } from '../../contract/read-model.ts'
import { startClock } from '../../support/clock.ts'
import { type RedisServer, startRedis, startRedisCluster } from '../../support/redis.ts'
import { untilDone } from '../../support/until.ts'

function open(t: Test, url: string, options?: Parameters<typeof openRedisReadModel>[1]): ReadModel {
  const readModel = openRedisReadModel(url, { settleMs: 0, ...options })
  t.teardown(() => readModel.close())
  return readModel
}

/** What the contract says does not depend on how busy the machine is. */
const PATIENT_MS = 60_000

const HIDDEN = { document: null, acknowledged: -1 }

/** The call fails as it should, and soon. */
async function assertUnavailable(t: Test, call: () => Promise<unknown>, within: number, name: string) {
  const elapsed = startClock(t)
  await t.rejects(call(), ReadModelUnavailable, name)
  t.ok(elapsed() < within, `${name}: within ${within} ms`)
}

const untilAvailable = <T>(call: () => Promise<T>) => untilDone('it answers', call)

/** Keys that another program has written. */
function damaged(command: (...args: string[]) => Promise<unknown>, generation: number): Damage {
  const own = generation === 1 ? 'customer' : `customer:${generation}`
  const list = async (key: string) => {
    await command('DEL', key)
    await command('RPUSH', key, 'garbage')
  }
  const each = async (
    key: string,
    texts: Readonly<Record<string, string>>,
    work: (name: string) => Promise<void>,
  ): Promise<void> => {
    for (const [name, text] of Object.entries(texts)) {
      await command('SET', key, text)
      await work(name)
    }
    await list(key)
    await work('a list')
  }
  const named = (...texts: string[]) => Object.fromEntries(texts.map((text) => [text, text]))
  const hash = async (key: string, field: string, texts: readonly string[], work: (name: string) => Promise<void>) => {
    for (const text of texts) {
      await command('DEL', key)
      await command('HSET', key, field, text)
      await work(text)
    }
    await list(key)
    await work('a list')
    await command('SET', key, 'garbage')
    await work('a text')
  }
  return {
    documents(customerId, document, work) {
      const texts = Object.entries(brokenDocuments(document)).flatMap(([name, text]) => [
        [name, text],
        [`${name}, after its revision`, `${document.revision} ${text}`],
      ])
      const whole = JSON.stringify(document)
      const others = { 'without its revision': whole, 'of another revision': `9 ${whole}`, blank: ' ' }
      return each(`${own}:{${customerId}}`, { ...Object.fromEntries(texts), ...others }, work)
    },
    checkpoints: (work) =>
      each(
        `${own}:{checkpoint}`,
        named(
          'garbage',
          '',
          'null',
          '5',
          '[]',
          '{}',
          '{"commit":"x","prepare":"1","origin":"a","complete":true,"epoch":"e"}',
        ),
        work,
      ),
    parked: (customerId, work) =>
      hash(
        `${own}:{parked}`,
        String(customerId),
        ['garbage', 'null', '[]', '{}', `{"customerId":${customerId}}`],
        work,
      ),
    marks: (customerId, work) =>
      each(`customer:{${customerId}}:revision`, named('garbage', '', 'nan', '-3', '1e3'), work),
    generations: (work) =>
      hash('customer:{generation}', 'live', ['garbage', '', '0', '-1', 'NaN', '1.5', '9'.repeat(40)], work),
  }
}

t.test('a server', async (t) => {
  const { url, command } = await startRedis(t)
  await readModelContract(t, 'Redis', {
    open: (generation) => openRedisReadModel(url, { settleMs: 0, deadlineMs: PATIENT_MS, generation }),
    damage: (generation) => damaged(command, generation),
  })
})

t.test('a cluster', async (t) => {
  const { url, nodeOf } = await startRedisCluster(t)
  const command = async (...args: string[]) => {
    const tag = /\{(.+)\}/.exec(args[1] ?? '')?.[1] ?? ''
    return (await nodeOf(tag)).command(...args)
  }
  await readModelContract(t, 'Redis Cluster', {
    open: (generation) => openRedisReadModel(url, { settleMs: 0, deadlineMs: PATIENT_MS, generation }),
    damage: (generation) => damaged(command, generation),
  })
})

t.test('a query is one command', async (t) => {
  const server = await startRedis(t)
  const readModel = open(t, server.url)
  await readModel.setCheckpoint(aCheckpoint(1n), null)
  await readModel.put([{ document: aDocument(1, 3), expected: -1 }])
  await readModel.acknowledge(1, 3)
  await readModel.get([1])
  await server.command('CONFIG', 'RESETSTAT')
  t.same(await readModel.get([1]), [{ document: aDocument(1, 3), acknowledged: 3 }])
  const stats = await server.command('INFO', 'commandstats')
  const counts = Object.fromEntries([...stats.matchAll(/cmdstat_(\S+):calls=(\d+)/g)].map(([, name, n]) => [name, n]))
  const { ping: _, 'config|resetstat': __, ...counted } = counts
  t.same(counted, { evalsha: '1', get: '3', info: '1' }, 'the last two by the script')
})

t.test('scripts that the server has forgotten are sent again', async (t) => {
  const server = await startRedis(t)
  const readModel = open(t, server.url)
  const forget = () => server.command('SCRIPT', 'FLUSH')
  await forget()
  await readModel.setCheckpoint(aCheckpoint(1n), null)
  await forget()
  const chained = [0, 1, 2].map((revision) => ({ document: aDocument(1, revision), expected: revision - 1 }))
  t.same(await readModel.put(chained), [0, 1, 2])
  await forget()
  await readModel.acknowledge(1, 2)
  await forget()
  t.same(await readModel.get([1]), [{ document: aDocument(1, 2), acknowledged: 2 }])
  await forget()
  await readModel.reset()
  t.same(await readModel.get([1]), [HIDDEN])
})

t.test('other keys of the server are left alone', async (t) => {
  const server = await startRedis(t)
  const [ours, theirs] = [open(t, `${server.url}/1`), open(t, `${server.url}/1`, { prefix: 'customer:2' })]
  const there = (...command: string[]) =>
    server.command('EVAL', "redis.call('SELECT', 1) return redis.call(unpack(ARGV))", '0', ...command)
  await there('SET', 'cart:{1}', 'x')
  for (const readModel of [ours, theirs]) {
    await readModel.setCheckpoint(aCheckpoint(1n), null)
    await readModel.put([{ document: aDocument(1, 0), expected: -1 }])
  }
  t.equal(await server.command('DBSIZE'), '0', 'the database is the one of the URL')
  await ours.reset()
  t.same(await ours.get([1]), [HIDDEN])
  t.same(await theirs.get([1]), [{ document: aDocument(1, 0), acknowledged: -1 }])
  t.equal(await there('GET', 'cart:{1}'), 'x')
  t.throws(() => openRedisReadModel(server.url, { prefix: 'a*' }), TypeError)
})

t.test('a server that goes and comes', async (t) => {
  const server = await startRedis(t, { persistent: true })
  const readModel = open(t, server.url)
  await readModel.setCheckpoint(aCheckpoint(1n), null)
  await readModel.put([{ document: aDocument(1, 0), expected: -1 }])
  const calls: Record<string, (readModel: ReadModel) => Promise<unknown>> = {
    get: (readModel) => readModel.get([1]),
    documents: (readModel) => readModel.documents([1]),
    acknowledge: (readModel) => readModel.acknowledge(1, 1),
    put: (readModel) => readModel.put([{ document: aDocument(1, 1), expected: 0 }]),
    getCheckpoint: (readModel) => readModel.getCheckpoint(),
    setCheckpoint: (readModel) => readModel.setCheckpoint(aCheckpoint(2n), aCheckpoint(1n)),
    reset: (readModel) => readModel.reset(),
    ping: (readModel) => readModel.ping(),
  }

  await t.test('stopped', async (t) => {
    await server.stop()
    for (const [name, call] of Object.entries(calls)) await assertUnavailable(t, () => call(readModel), 200, name)
    const late = open(t, server.url)
    await assertUnavailable(t, () => late.get([1]), 1500, 'opened while it is away')
    await assertUnavailable(t, () => late.get([1]), 200, 'and at once from then on')
    const filling = open(t, server.url, { generation: 2 })
    await assertUnavailable(t, () => filling.get([1]), 1500, 'and for a generation')
    await server.start()
    for (const each of [readModel, late]) t.same(await untilAvailable(() => each.documents([1])), [aDocument(1, 0)])
    await untilAvailable(() => filling.put([{ document: aDocument(2, 0), expected: -1 }]))
    t.match(await readModel.generations(), [{ number: 1 }, { number: 2 }], 'which is known all the same')
    await readModel.forget([2])
    t.same(await filling.documents([2]), [null], 'so nothing of who is deleted stays in it')
  })

  await t.test('silent', async (t) => {
    server.freeze()
    const held = Promise.allSettled(Array.from({ length: 100 }, () => readModel.get([1])))
    await assertUnavailable(t, () => readModel.get([1]), 1500, 'first')
    t.ok((await held).every(({ status }) => status === 'rejected'))
    await assertUnavailable(t, () => readModel.get([1]), 50, 'known to be silent')
    const hanging = open(t, server.url)
    await assertUnavailable(t, () => hanging.acknowledge(9, 1), 1500, 'opened while it is silent')
    server.thaw()
    await untilAvailable(() => hanging.ping())
    t.same(await untilAvailable(() => hanging.get([9])), [HIDDEN], 'what has failed is not sent later')
    t.same(await untilAvailable(() => readModel.documents([1])), [aDocument(1, 0)])
  })

  await t.test('closing while it is away', async (t) => {
    await server.kill()
    const handle = openRedisReadModel(server.url)
    const call = t.rejects(handle.get([1]), ReadModelUnavailable)
    await handle.close()
    await call
    await server.start()
  })
})

t.test('documents of an older snapshot are hidden until the worker has caught up again', async (t) => {
  const server = await startRedis(t, { persistent: true })
  const readModel = open(t, server.url)
  const [one, two, three] = [aCheckpoint(1n), aCheckpoint(2n), aCheckpoint(3n)]
  await readModel.setCheckpoint(one, null)
  await readModel.put([{ document: aDocument(1, 0), expected: -1 }])
  await readModel.acknowledge(1, 0)
  await server.command('SAVE')
  await readModel.acknowledge(1, 1)
  await readModel.put([{ document: aDocument(1, 1), expected: 0 }])
  await readModel.setCheckpoint(two, one)
  await server.kill()
  await server.start()
  t.same(await untilAvailable(() => readModel.get([1])), [{ document: null, acknowledged: 0 }])
  const left = { ...one, complete: false }
  t.same(await readModel.setCheckpoint(three, two), one, 'a worker that did not notice is told')
  t.same(await readModel.getCheckpoint(), left)
  t.same(await readModel.get([1]), [{ document: null, acknowledged: 0 }])
  await readModel.put([{ document: aDocument(1, 1), expected: 0 }])
  t.same(await readModel.setCheckpoint(two, left), two)
  t.same(await readModel.get([1]), [{ document: aDocument(1, 1), acknowledged: 0 }])

  // The same once more, and nobody noticed before the worker's next batch.
  await server.stop()
  await server.start()
  t.same(await untilAvailable(() => readModel.get([1])), [{ document: null, acknowledged: 0 }])
  t.same(await readModel.setCheckpoint(three, two), { ...two, complete: false })
})

t.test('a server is another incarnation after each start and each promotion, and none as a replica', async (t) => {
  const server = await startRedis(t, { persistent: true })
  const readModel = open(t, server.url)
  const met: string[] = []
  const meet = async () => {
    const { reached } = await untilAvailable(() => readModel.incarnations())
    met.push(...reached)
    t.same(await untilAvailable(() => readModel.probe()), reached)
  }
  await meet()
  await server.command('FLUSHALL')
  t.same((await readModel.incarnations()).reached, met, 'a loss that the seals tell of')
  await server.stop()
  await server.start()
  await meet()
  await server.command('REPLICAOF', '127.0.0.1', '1')
  t.same(await readModel.incarnations(), { reached: [''], isWhole: true })
  await t.rejects(readModel.probe(), { name: 'ReadModelUnavailable', message: /READONLY/ })
  await server.command('REPLICAOF', 'NO', 'ONE')
  await meet()
  t.equal(new Set(met).size, 3)
  await server.command('CONFIG', 'SET', 'maxmemory', '1')
  await t.rejects(readModel.probe(), { name: 'ReadModelUnavailable', message: /OOM/ })
  t.same((await readModel.incarnations()).reached, met.slice(-1), 'it reads all the same')
})

t.test('a node of a cluster', async (t) => {
  const cluster = await startRedisCluster(t)
  const readModel = open(t, cluster.url)
  const home = await cluster.nodeOf('checkpoint')
  const lost = cluster.nodes.find((node) => node !== home) as RedisServer
  const others: number[] = []
  const own: number[] = []
  for (let id = 1; id <= 30; id++) ((await cluster.nodeOf(id)) === lost ? own : others).push(id)
  const ids = [...own, ...others]
  const mine = own[0] as number
  const shown = (ids: readonly number[], document = true) =>
    ids.map((id) => ({ document: document ? aDocument(id, 2) : null, acknowledged: document ? 2 : -1 }))

  // It seals each of 16,384 slots, which may take longer than a call may.
  await untilAvailable(() => readModel.setCheckpoint(aCheckpoint(1n), null))
  await readModel.put(ids.map((id) => ({ document: aDocument(id, 2), expected: -1 })))
  await Promise.all(ids.map((id) => readModel.acknowledge(id, 2)))
  t.same(await readModel.get(ids), shown(ids))

  await t.test('stopped: calls for the slots of the others go on', async (t) => {
    await lost.kill()
    await assertUnavailable(t, () => readModel.get([mine]), 1500, 'its own slots')
    await assertUnavailable(t, () => readModel.get([mine]), 200, 'and at once from then on')
    t.same(await readModel.get(others), shown(others))
    await readModel.acknowledge(others[0] as number, 2)
    const { reached, isWhole } = await readModel.incarnations()
    t.equal(new Set(reached).size, 2)
    t.equal(isWhole, false)
    await assertUnavailable(t, () => readModel.probe(), 1500, 'one of the servers takes no writes')
    const late = open(t, cluster.url)
    t.same(await late.get(others), shown(others), 'also for an instance that starts now')
    await assertUnavailable(t, () => late.get([mine]), 1500, 'and has never reached the node')
  })

  await t.test('back with nothing: its slots are hidden until all events were applied again', async (t) => {
    await lost.start()
    t.same(await untilAvailable(() => readModel.get(own)), shown(own, false))
    // A worker that did not notice brings a document back, but not the newest.
    await readModel.put([{ document: aDocument(mine, 1), expected: -1 }])
    t.same(await readModel.get([mine]), [HIDDEN])
    t.equal(await untilAvailable(() => readModel.getCheckpoint()), null)
    t.same(await readModel.get(others), shown(others), 'the others are whole')
    const partial = aCheckpoint(1n, { complete: false })
    await readModel.setCheckpoint(partial, null)
    t.same(await readModel.get([mine]), [HIDDEN])
    await readModel.put(own.map((id) => ({ document: aDocument(id, 2), expected: id === mine ? 1 : -1 })))
    await readModel.setCheckpoint(aCheckpoint(2n), partial)
    t.same(
      (await readModel.get(ids)).map(({ document }) => document),
      ids.map((id) => aDocument(id, 2)),
    )
  })

  await t.test('flushed while the read model is being filled: it does not become complete', async (t) => {
    await lost.command('FLUSHALL')
    t.equal(await readModel.getCheckpoint(), null)
    const partial = aCheckpoint(1n, { complete: false })
    await readModel.setCheckpoint(partial, null)
    await lost.command('FLUSHALL')
    await readModel.put([{ document: aDocument(mine, 1), expected: -1 }])
    t.equal(await readModel.setCheckpoint(aCheckpoint(2n), partial), null, 'it has to begin again')
    t.same(await readModel.get([mine]), [HIDDEN])
    await readModel.setCheckpoint(aCheckpoint(2n), null)
    t.same(await readModel.get([mine]), [{ document: aDocument(mine, 1), acknowledged: -1 }])
  })
})

t.test('slots that are moved to another node are hidden until all events were applied again', async (t) => {
  const cluster = await startRedisCluster(t)
  const readModel = open(t, cluster.url, { deadlineMs: PATIENT_MS })
  const [from, to] = cluster.nodes as [RedisServer, RedisServer]
  let id = 1
  while ((await cluster.nodeOf(id)) !== from) id++
  await readModel.setCheckpoint(aCheckpoint(1n), null)
  await readModel.put([{ document: aDocument(id, 0), expected: -1 }])
  t.same(await readModel.get([id]), [{ document: aDocument(id, 0), acknowledged: -1 }])
  const [source, target] = [await from.command('CLUSTER', 'MYID'), await to.command('CLUSTER', 'MYID')]
  const slot = String(slotOf(String(id)))
  await to.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', source)
  await from.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', target)
  const keys = (await from.command('CLUSTER', 'GETKEYSINSLOT', slot, '100')).split('\n')
  await from.command('MIGRATE', '127.0.0.1', String(to.port), '', '0', '1000', 'KEYS', ...keys)
  for (const node of [to, from]) await node.command('CLUSTER', 'SETSLOT', slot, 'NODE', target)

  t.equal(await readModel.getCheckpoint(), null, 'noticed, though nothing told of the new place yet')
  t.same(await readModel.get([id]), [HIDDEN])
  await readModel.setCheckpoint(aCheckpoint(1n), null)
  t.same(await readModel.get([id]), [{ document: aDocument(id, 0), acknowledged: -1 }])
  t.same(await readModel.getCheckpoint(), aCheckpoint(1n))
})

t.test('slots', async (t) => {
  t.equal(slotOf('123456789'), 0x31c3, 'the check value of CRC16, XMODEM')
  const tags = tagOfEachSlot()
  t.ok(tags.every((tag, slot) => slotOf(tag) === slot))
  t.equal(tags.length, 16_384)
})

t.test('whatever stands in the place of the newest event gives way to one', async (t) => {
  const redis = await startRedis(t)
  const readModel = open(t, redis.url)
  const place = (commit: bigint) => ({
    position: { commit, prepare: commit },
    id: crypto.randomUUID(),
    stream: 'customer-1',
    revision: Number(commit),
  })
  const key = 'customer:{newest}'
  const damages = [
    ['HSET', key, 'a', 'b'],
    ['RPUSH', key, 'a'],
    ['SET', key, 'garbage'],
    ['SET', key, ''],
    ['SET', key, '9'.repeat(40)],
  ]
  for (const [index, damage] of damages.entries()) {
    await redis.command('DEL', key)
    await redis.command(...damage)
    t.equal(await readModel.newest(), null, `${damage.slice(0, 1)}: it counts as not there`)
    const next = place(BigInt(index + 1))
    await readModel.put([], next)
    t.same(await readModel.newest(), next)
    await readModel.put([], place(0n))
    t.same(await readModel.newest(), next, 'an earlier one does not count')
  }
})

t.test('a policy that drops keys is told', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory-policy', 'allkeys-lru'] })
  const facts = await open(t, redis.url).describe()
  t.match(
    facts.filter(({ problem }) => problem !== undefined),
    [{ name: 'maxmemory-policy', value: 'allkeys-lru', problem: /Set maxmemory-policy to noeviction/ }],
  )
})
