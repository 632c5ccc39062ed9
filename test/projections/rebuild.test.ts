/** `npm run rebuild` as an operator runs it, beside a service that goes on. */
import '../support/needs-redis.ts'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { CustomerDocument } from '../../projections/customer.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { type ReadModel, ReadModelUnavailable } from '../../projections/read-model.ts'
import { compareGenerations, compareWithLog, type Difference, type Progress } from '../../projections/rebuild.ts'
import { withRetries } from '../../projections/retry.ts'
import { FILTER, startProjection } from '../../projections/worker/worker.ts'
import { createPatience } from '../../runtime/patience.ts'
import { fillLog } from '../bench/log.ts'
import { aDocument } from '../contract/read-model.ts'
import { runCommand } from '../support/commands.ts'
import { awayAfterReads, builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { environment, openTestLog, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { startScript } from '../support/processes.ts'
import { startRedis, startRedisCluster } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { appendHistories, someHistories } from './support.ts'

/** Stores in a folder: events in SQLite, documents there too or in a Redis. */
async function startStores(t: Test, kind: 'sqlite' | 'redis') {
  const folder = await temporaryFolder(t)
  const { EVENTSTORE_URL = '', READMODEL_URL = '' } = environment(folder)
  const urls = { EVENTSTORE_URL, READMODEL_URL: kind === 'redis' ? (await startRedis(t)).url : READMODEL_URL }
  const eventStore = await openTestLog(t, folder)
  const open = async (generation?: number): Promise<ReadModel> => {
    const readModel = await openReadModel(urls.READMODEL_URL, generation === undefined ? {} : { generation })
    t.teardown(() => readModel.close())
    return readModel
  }
  return {
    folder,
    urls,
    eventStore,
    open,
    rebuild: (...args: string[]) => runCommand(folder, ['rebuild', ...args], urls),
  }
}

/** A worker that follows as long as the test runs. */
async function startWorker(
  t: Test,
  eventStore: Parameters<typeof startProjection>[0]['eventStore'],
  readModel: ReadModel,
) {
  const projection = startProjection({ eventStore, readModel })
  t.teardown(() => projection.stop())
  await projection.caughtUp()
  await until('complete', async () => (await readModel.getCheckpoint())?.complete === true)
  return projection
}

type Options = Parameters<typeof compareGenerations>[2]

// Many wait: for a worker to look again, for documents that do not come. Those with much work or an eye on time are alone.
t.jobs = 3
const ALONE = { buffered: false }

for (const kind of ['sqlite', 'redis'] as const) {
  t.test(`${kind}: rebuilt, compared, switched, rolled back, dropped`, async (t) => {
    const { eventStore, open, rebuild } = await startStores(t, kind)
    const histories = someHistories(20, 3)
    const ids = histories.map(({ id }) => id)
    await appendHistories(eventStore, histories)
    const readModel = await open()
    await startWorker(t, eventStore, await open())
    const documents = await readModel.documents(ids)

    const first = await rebuild()
    t.equal(first.code, 0, first.output)
    t.match(first.output, /Generation 2 needs about \d+ KiB beside the live one \(20 documents\)/)
    t.match(first.output, /filling generation 2: .*\d+ events, \d+ events\/s/)
    t.match(first.output, /comparing with the live generation: 20 documents/, 'each once')
    t.match(first.output, /Generation 2 is live/)
    t.equal(await readModel.wanted(), 2)
    await readModel.follow()
    t.same(await readModel.documents(ids), documents)
    t.equal((await readModel.get([1]))[0]?.document?.id, 1, 'and queries see them')

    const back = await rebuild('--roll-back')
    t.equal(back.code, 0, back.output)
    t.equal(await readModel.follow(), 1)
    t.match(
      (await rebuild('--status')).output,
      /generation 1: live, complete, at position \d+, 20 documents, about \d+ KiB\ngeneration 2: complete, .* 20 documents/,
    )
    t.match((await rebuild('--drop')).output, /Generation 2 is dropped/)
    t.match((await rebuild('--drop')).output, /only the live generation/)
    t.match(await rebuild('--roll-back'), { code: 1, output: /none before it/ })
    t.match(await rebuild('--verify'), {
      code: 0,
      output: /verifying: 20 customers, \d+ customers\/s\n[\s\S]*The documents are those of the log/,
    })
  })

  t.test(`${kind}: --verify lists each difference`, async (t) => {
    const { eventStore, open, rebuild } = await startStores(t, kind)
    const histories = someHistories(12, 4)
    await appendHistories(eventStore, histories)
    const readModel = await open()
    const projection = await startWorker(t, eventStore, readModel)
    await projection.stop()
    const [two, three] = (await readModel.documents([2, 3])) as [CustomerDocument, CustomerDocument]
    // One altered (at the same revision), one behind, one missing in a generation of their own, one of nobody's.
    const broken = await open(2)
    for await (const some of readModel.customers()) {
      const all = (await readModel.documents(some)) as CustomerDocument[]
      const kept = all.filter(({ id }) => id > 4)
      await broken.put(kept.map((document) => ({ document, expected: -1 })))
    }
    await broken.put([
      { document: { ...two, firstname: 'Secretname', lastname: 'Secretname' }, expected: -1 },
      { document: { ...three, revision: three.revision - 1 }, expected: -1 },
      { document: { ...two, id: 777 }, expected: -1 },
    ])
    t.equal(await readModel.switchGeneration(1, 2), true)
    await eventStore.deleteStream('customer-11', { expected: 'any' })
    await eventStore.tombstoneStream('customer-12', { expected: 'any' })
    const { code, output } = await rebuild('--verify')
    t.equal(code, 1)
    t.match(output, /^customer 1: no document; the log has it at revision \d+$/m)
    t.match(output, /^customer 2: .*firstname, .*lastname.* differ at revision \d+$/m)
    t.match(output, /^customer 3: revision differ at revision \d+ instead of \d+$/m)
    t.match(output, /^customer 4: no document/m)
    t.match(output, /^customer 777: a document at revision \d+, but no stream customer-777$/m)
    t.match(output, /^customer 11: a document at revision \d+, but no stream customer-11$/m)
    t.match(output, /^customer 12: a document at revision \d+, but no stream customer-12$/m)
    t.match(output, /^7 documents differ from the log\.$/m)
    t.notMatch(output, /secretname/i)
  })

  t.test(`${kind}: differences keep it from switching, unless they are accepted`, async (t) => {
    const { eventStore, open, rebuild } = await startStores(t, kind)
    await appendHistories(eventStore, someHistories(6, 5))
    const readModel = await open()
    const projection = await startWorker(t, eventStore, readModel)
    await projection.stop()
    const [document] = (await readModel.documents([1])) as [CustomerDocument]
    const { revision } = document
    await readModel.put([
      { document: { ...document, revision: revision + 1, firstname: 'Secretname' }, expected: revision },
    ])
    await readModel.put([{ document: { ...document, firstname: 'Secretname' }, expected: revision + 1 }])
    const refused = await rebuild()
    t.equal(refused.code, 1)
    t.match(refused.output, /^customer 1: firstname differ at revision/m)
    t.match(refused.output, /1 documents differ: generation 2 is filled, but not live/)
    t.notMatch(refused.output, /secretname/i)
    t.equal(await readModel.wanted(), 1)
    const accepted = await rebuild('--accept-differences')
    t.equal(accepted.code, 0, accepted.output)
    t.match(accepted.output, /Generation 2 was begun earlier and is resumed/)
    t.equal(await readModel.follow(), 2)
    t.equal((await readModel.documents([1]))[0]?.firstname, document.firstname)
  })
}

t.test('under live traffic no query fails or is stale, and the switch is noticed within a second', ALONE, async (t) => {
  const { folder, urls, eventStore, open, rebuild } = await startStores(t, 'redis')
  await fillLog(eventStore, 4_000)
  const served = await open()
  const subgraph = await startSubgraph(t, {
    folder,
    projection: false,
    wrapReadModel: (embedded) => {
      void embedded.close()
      return served
    },
  })
  await startWorker(t, eventStore, await open())
  // The ids of the filled log are taken: new customers come after them.
  for (let block = 0; block < 30; block++) {
    const metadata = {
      $correlationId: 'x',
      $causationId: 'x',
      actor: 'test',
      at: new Date().toISOString(),
      schemaVersion: 1,
    }
    const event = { id: crypto.randomUUID(), type: 'CustomerIdsReserved', data: {}, metadata }
    await eventStore.append('customerIds', [event], { expected: 'any' })
  }
  const { token } = await signUp(subgraph.send)
  let over = false
  const failures: unknown[] = []
  let reads = 0
  const traffic = (async () => {
    for (let number = 0; !over; number++) {
      const name = `Name ${number}`
      const mutation = `mutation { updateCustomer(input: { firstname: "${name}" }) { customer { firstname } } }`
      const written = await subgraph.send(mutation, { token })
      const read = await subgraph.send('{ customer { firstname } }', { token })
      if (written.errors || read.errors || read.data.customer.firstname !== name) failures.push({ written, read })
      reads++
      await delay(10)
    }
  })()
  const { code, output } = await rebuild()
  t.equal(code, 0, output)
  await delay(1_000)
  t.equal(await subgraph.readModel.generation(), 2, 'noticed')
  const before = reads
  await delay(200)
  over = true
  await traffic
  t.same(failures, [])
  t.ok(before > 20 && reads > before)
  t.ok(urls.READMODEL_URL.startsWith('redis:'))
  t.match(await rebuild('--verify'), { code: 0 })
})

t.test('interrupted, by whatever it is, it goes on where it was', ALONE, async (t) => {
  const { folder, urls, eventStore, open, rebuild } = await startStores(t, 'redis')
  await fillLog(eventStore, 25_000)
  const next = await open(2)
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    const place = (await next.getCheckpoint())?.position.commit ?? 0n
    const started = startScript(t, 'test/projections/rebuild-process.ts', folder, urls, [signal])
    t.equal(await started.ended, signal === 'SIGKILL' ? 'SIGKILL' : 130, started.output())
    t.ok(((await next.getCheckpoint())?.position.commit ?? 0n) > place, 'it had begun')
    if (signal === 'SIGTERM') t.match(started.output(), /The same command resumes from here/)
  }
  const reached = (await next.getCheckpoint())?.position.commit ?? 0n
  t.ok(reached > 0n)
  const { code, output } = await rebuild()
  t.equal(code, 0, output)
  t.match(output, /Generation 2 was begun earlier/)
  const [, events = ''] =
    /(\d+) events, /.exec(output.split('\n').findLast((line) => line.startsWith('filling')) ?? '') ?? []
  let all = 0
  for await (const _ of eventStore.readAll({ filter: FILTER })) all++
  t.ok(Number(events) < all, `${events} of ${all} events were left`)
  t.match(await rebuild('--verify'), { code: 0 })
})

t.test('a comparison waits for a Redis that stops in the middle, and then compares what is left', async (t) => {
  const redis = await startRedis(t, { persistent: true })
  const { eventStore } = await startStores(t, 'sqlite')
  await fillLog(eventStore, 10_000) // of 2,000 customers: several pages of a scan
  const open = async (generation: number) => {
    const readModel = await openReadModel(redis.url, { generation })
    t.teardown(() => readModel.close())
    return readModel
  }
  const [found, expected] = [await open(1), await open(2)]
  for (const readModel of [found, expected]) {
    const worker = await startWorker(t, eventStore, readModel)
    await worker.stop()
  }
  const [document] = (await found.documents([1])) as [CustomerDocument]
  const { revision } = document
  await found.put([{ document: { ...document, revision: revision + 1 }, expected: revision }])
  await found.put([{ document: { ...document, firstname: 'Other' }, expected: revision + 1 }])
  const { documents } = await found.space()
  const connected = () =>
    until('connected', () =>
      found.ping().then(
        () => true,
        () => false,
      ),
    )
  for (const begin of [
    (found: ReadModel, options: Options) => compareGenerations(expected, found, options),
    (found: ReadModel, options: Options) => compareWithLog(eventStore, found, options),
  ]) {
    let restarted: Promise<void> | undefined
    // When it is asked for the first documents, after the first page of a scan.
    const stopping: ReadModel = {
      ...found,
      async documents(ids) {
        if (restarted === undefined) {
          await redis.stop()
          restarted = delay(200).then(redis.start)
        }
        return found.documents(ids)
      },
    }
    const outages: string[] = []
    const differences: Difference[] = []
    let compared = 0
    const report = ({ done }: Progress) => {
      compared = done
    }
    for await (const each of begin(stopping, { report, onOutage: (reason) => outages.push(reason) })) {
      differences.push(each)
    }
    await restarted
    // One of the two connections may be there again before the other.
    t.ok(outages.length >= 1)
    t.match(outages[0], /^The read model can't be reached/)
    t.match(differences, [{ customerId: 1, fields: ['firstname'] }])
    t.equal(compared, documents, 'each once')
    await connected()
  }
  await redis.stop()
  const stopping = new AbortController()
  await t.rejects(compareWithLog(eventStore, found, { report() {} }).next(), ReadModelUnavailable, 'before the first')
  await redis.start()
  await connected()
  const stopped: Difference[] = []
  const gone: ReadModel = {
    ...found,
    async documents(ids) {
      await redis.kill()
      return found.documents(ids)
    },
  }
  const options = { report() {}, signal: stopping.signal, onOutage: () => stopping.abort() }
  for await (const each of compareWithLog(eventStore, gone, options)) stopped.push(each)
  t.same(stopped, [], 'stopped during an outage it ends, without an error')
})

t.test('a comparison does not wait for ever for one server of a Cluster, although the others answer', async (t) => {
  const cluster = await startRedisCluster(t)
  const readModel = await openReadModel(cluster.url)
  t.teardown(() => readModel.close())
  await readModel.put(Array.from({ length: 30 }, (_, index) => ({ document: aDocument(index + 1, 0), expected: -1 })))
  let last = 0
  for await (const ids of readModel.customers()) last = ids[0] as number
  await (await cluster.nodeOf(last)).kill()
  const outages: string[] = []
  const signal = AbortSignal.timeout(20_000)
  const options = { longestOutage: 2_000, signal, onOutage: (reason: string) => outages.push(reason) }
  const patient = withRetries(readModel, createPatience(ReadModelUnavailable, options))
  await t.rejects(async () => {
    for await (const _ of patient.customers()); // until it gives up
  }, ReadModelUnavailable)
  t.equal(signal.aborted, false, 'by itself')
  t.equal(outages.length, 1, 'one outage is told of once')
})

t.test('a generation of another log is not gone back to', async (t) => {
  const { eventStore, open, rebuild } = await startStores(t, 'sqlite')
  await appendHistories(eventStore, someHistories(3, 6))
  const readModel = await open()
  const projection = await startWorker(t, eventStore, readModel)
  await projection.stop()
  const checkpoint = await readModel.getCheckpoint()
  if (checkpoint === null) throw new Error('There is no checkpoint.')
  await readModel.setCheckpoint({ ...checkpoint, origin: crypto.randomUUID() }, checkpoint)
  const built = await rebuild()
  t.equal(built.code, 0, built.output)
  t.match(await rebuild('--roll-back'), { code: 1, output: /^Generation 1 is of another log/m })
  t.equal(await readModel.wanted(), 2)
})

t.test('live documents that do not move on are waited for once, and then are differences', ALONE, async (t) => {
  const { eventStore, open } = await startStores(t, 'sqlite')
  await fillLog(eventStore, 6_000) // of 1,200 customers
  const [found, expected] = [await open(), await open(2)]
  const worker = await startWorker(t, eventStore, expected)
  await worker.stop()
  for await (const ids of expected.customers()) {
    const documents = (await expected.documents(ids)) as CustomerDocument[]
    await found.put(documents.map((each) => ({ document: { ...each, revision: each.revision - 1 }, expected: -1 })))
  }
  let looks = 0
  const counted: ReadModel = {
    ...found,
    documents: (ids) => {
      looks++
      return found.documents(ids)
    },
  }
  const differences: Difference[] = []
  for await (const each of compareGenerations(expected, counted, { report() {} })) differences.push(each)
  t.same(new Set(differences.map(({ customerId }) => customerId)).size, 1_200)
  t.equal(differences.length, 1_200, 'each once')
  t.ok(looks >= 50 && looks < 100, `${looks} looks: one each 0.1 s for 5 s, where three pages that wait make 150`)
})

t.test('a lag is not a difference', async (t) => {
  const { eventStore, open } = await startStores(t, 'sqlite')
  await appendHistories(eventStore, someHistories(30, 8))
  const [found, expected] = [await open(), await open(2)]
  const worker = await startWorker(t, eventStore, expected)
  await worker.stop()
  const late = delay(1_000).then(() => startWorker(t, eventStore, found))
  const differences: Difference[] = []
  for await (const each of compareGenerations(expected, found, { report() {} })) differences.push(each)
  t.same(differences, [])
  await (await late).stop()
})

t.test('without the event store nothing is begun', async (t) => {
  const [server, { folder, urls, open }] = await Promise.all([startEventStoreServer(t), startStores(t, 'sqlite')])
  await server.stop()
  const env = { ...urls, EVENTSTORE_URL: server.url }
  for (const args of [[], ['--verify']]) {
    t.match(await runCommand(folder, ['rebuild', ...args], env), {
      code: 1,
      output: /^error: The event store does not answer: .*\n$/,
    })
  }
  t.match(await (await open()).generations(), { length: 1 })
})

t.test('a comparison that has begun waits for the event store', builtIn('calls'), async (t) => {
  const [server, { folder, urls, open }] = await Promise.all([startEventStoreServer(t), startStores(t, 'sqlite')])
  const env = { ...urls, EVENTSTORE_URL: server.url }
  const eventStore = await openTestLog(t, folder, env)
  await appendHistories(eventStore, someHistories(200, 1))
  await (await startWorker(t, eventStore, await open())).stop()
  const isBack = awayAfterReads(server, 100)
  const { code, output } = await runCommand(folder, ['rebuild', '--verify'], env)
  await isBack
  t.equal(code, 0, output)
  t.match(output, /^The event store does not answer: .* The comparison waits for it\.$/m)
  t.match(output, /^The documents are those of the log\.$/m)
})

t.test('arguments that make no sense are told', async (t) => {
  const { rebuild } = await startStores(t, 'sqlite')
  t.match(await rebuild('--verify', '--drop'), {
    code: 2,
    output: /^error: option '--verify' cannot be used with option '--drop'/,
  })
  t.match(await rebuild('--colour'), { code: 2, output: /^error: unknown option '--colour'/ })
  t.match(await rebuild('now'), { code: 2, output: /^error: too many arguments for 'rebuild'/ })
})
