/**
 * What the nodes of a cluster say, and what is drawn from it. On the test server's three nodes, and on three of the program
 * that TEST_EVENTSTORE_SERVER names: they have to say the same.
 */
import { copyFile, writeFile } from 'node:fs/promises'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createNode, type Node } from '../../../eventstore/kurrentdb/connection/node.ts'
import { parseKurrentDbUrl } from '../../../eventstore/kurrentdb/connection/url.ts'
import { failureOf } from '../../../eventstore/kurrentdb/errors.ts'
import { openKurrentEventStore } from '../../../eventstore/kurrentdb/event-store.ts'
import { StreamsClient } from '../../../eventstore/kurrentdb/generated-messages.ts'
import { STREAMS_READ, streamRequest } from '../../../eventstore/kurrentdb/requests.ts'
import { decodeReadResponse } from '../../../eventstore/kurrentdb/wire.ts'
import { EventStoreUnavailable } from '../../../eventstore/port.ts'
import { within } from '../../../runtime/time-limits.ts'
import { someEvents } from '../../contract/event-store.ts'
import { certificate } from '../../support/certificate.ts'
import { type ClusterNode, startEventStoreCluster } from '../../support/eventstore-server/cluster.ts'
import { builtIn, startEventStoreServer } from '../../support/eventstore-server/server.ts'
import { until, untilDone } from '../../support/until.ts'

const LIMIT_MS = 15_000
/** Longer than a leader waits for its followers to confirm a write. */
const UNANSWERED_MS = 2_500

async function connected(t: Test, port: number, requiresLeader: boolean): Promise<Node> {
  const node = createNode(parseKurrentDbUrl('kurrentdb://seed?tls=false'), { host: '127.0.0.1', port }, requiresLeader)
  t.teardown(() => node.close())
  await node.features(LIMIT_MS)
  return node
}

const deadline = () => performance.now() + LIMIT_MS

function append(node: Node, stream: string) {
  return node.appends.append(stream, someEvents(1), 'no_stream', deadline())
}

async function read(node: Node, stream: string): Promise<unknown> {
  const call = await node.stream({
    service: StreamsClient,
    path: STREAMS_READ,
    request: streamRequest(stream, 'start', { forwards: true, maxCount: 1 }),
    decode: decodeReadResponse,
    buffer: 10,
  })
  const silence = delay(LIMIT_MS, undefined, { ref: false }).then(() => Promise.reject(new Error('no answer')))
  return Promise.race([call.take(), silence]).finally(() => call.cancel())
}

const info = (node: Node) => node.client.getPersistentSubscriptionToAllInfo('none', { deadline: LIMIT_MS })
const remove = (node: Node) => node.client.deletePersistentSubscriptionToAll('none', { deadline: LIMIT_MS })

const failed = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => failureOf(error),
  )

t.test('a follower names the leader to who requires it, and serves the others', async (t) => {
  const cluster = await startEventStoreCluster(t)
  await cluster.whole() // one that joins takes nothing yet
  const leader = await cluster.leader()
  const [{ port }] = cluster.nodes.filter((node) => node !== leader) as [ClusterNode]
  const named = { kind: 'leader', leader: { host: '127.0.0.1', port: leader.port } }
  const strict = await connected(t, port, true)
  const stream = `node-${crypto.randomUUID()}`
  t.match(await failed(append(strict, stream)), named, 'an append')
  t.match(await failed(read(strict, stream)), named, 'a read')
  const lenient = await connected(t, port, false)
  t.match(await failed(remove(lenient)), named, 'groups: whoever wants something done')
  t.same(await failed(info(lenient)), { kind: 'notReady' }, 'and not who asks')
  t.equal((await append(lenient, stream)).revision, 0, 'it passes an append on')
  t.ok(await read(lenient, stream))
  // What it says of the others may be some seconds old.
  await until('its members are the cluster', async () => {
    const members = await strict.members(LIMIT_MS)
    const leaders = members.filter(({ state }) => state === 'LEADER').map(({ endpoint }) => endpoint)
    return members.length === 3 && leaders.length === 1 && leaders[0]?.port === leader.port
  })
})

t.test('a node without a leader takes nothing, and says who it knows', async (t) => {
  const cluster = await startEventStoreCluster(t)
  await cluster.whole()
  // Not a follower: a real one may name the leader that it had for ever.
  const alone = await cluster.leader()
  const node = await connected(t, alone.port, true)
  for (const other of cluster.nodes) if (other !== alone) await other.stop()
  const stream = `node-${crypto.randomUUID()}`
  // On its way there it may still name the leader, or leave a write without an answer.
  for (const work of [append, read, info]) {
    const failure = await until(`${work.name}: not ready`, async () => {
      const failure = (await failed(within(UNANSWERED_MS, work(node, stream)))) as { kind?: string } | undefined
      return failure?.kind === 'notReady' && failure
    })
    t.same(failure, { kind: 'notReady' }, work.name)
  }
  const itself = (await node.members(LIMIT_MS)).find(({ endpoint }) => endpoint.port === alone.port)
  t.notMatch(itself?.state, /^(LEADER|FOLLOWER)$/)
})

t.test('a node that answers calls is busy, not lost', builtIn('it answers no check'), async (t) => {
  const server = await startEventStoreServer(t)
  const store = openKurrentEventStore(server.url)
  t.teardown(() => store.close())
  let disconnects = 0
  await store.append('a', someEvents(1), { expected: 'any' })
  store.onDisconnect?.(() => disconnects++)
  const checks = () => server.calls.getSupportedMethods ?? 0
  const before = checks()
  server.withhold('getSupportedMethods')
  // With the third, the first has had no answer in time.
  for (let index = 1; checks() < before + 3; index++) {
    await store.append(`a-${index}`, someEvents(1), { expected: 'any' })
    await delay(20)
  }
  t.equal(disconnects, 0)
})

t.test('a call waits for one check of a busy node, not for all', builtIn('it answers no check'), async (t) => {
  const server = await startEventStoreServer(t)
  const store = openKurrentEventStore(server.url)
  t.teardown(() => store.close())
  await store.append('a', someEvents(1), { expected: 'any' })
  server.withhold('getSupportedMethods')
  const checks = () => server.calls.getSupportedMethods ?? 0
  const before = checks()
  server.hang(true)
  const slow = store.append('b', someEvents(1), { expected: 'any' })
  await until('it is checked', () => checks() > before)
  await delay(1_000) // the node is suspected by now, whichever check this was
  const waiting = store.append('c', someEvents(1), { expected: 'any' })
  const reading = store.ping()
  await delay(50)
  t.equal(server.calls.read ?? 0, 0, 'nothing more is sent to a node that may hang')
  server.hang(false)
  await t.resolves(slow)
  // The first check ends without an answer, but not without answers to calls; the next would take the rest of the time.
  await t.resolves(waiting)
  await t.resolves(reading)
})

t.test(
  'an append is not repeated where the leader that had it has stepped down',
  builtIn('it steps down'),
  async (t) => {
    const [one, two] = [await startEventStoreServer(t), await startEventStoreServer(t)]
    const store = openKurrentEventStore(one.url)
    t.teardown(() => store.close())
    const append = (data: number, expected: 'any' | 'no_stream') => store.append('a', someEvents(1, data), { expected })
    await append(0, 'any')
    one.withholdNextAppendResponses(1)
    const first = append(1, 'any')
    await until('it is written', () => one.log.records.length === 2)
    one.asFollower({ host: '127.0.0.1', port: two.port })
    // The same call tells of this one that another node leads.
    const second = append(2, 'no_stream')
    await t.rejects(first, EventStoreUnavailable, 'the cluster may have it')
    await second
    one.asFollower(null)
    two.asFollower({ host: '127.0.0.1', port: one.port })
    await append(3, 'any')
    const written = ({ log }: typeof one) => log.records.map(({ data }) => JSON.parse(String(data)))
    t.same(written(one), [0, 1, 3], 'one that is refused alone is repeated')
    t.same(written(two), [2])
  },
)

t.test('a connection is good for one transport: calls on it end with it', async (t) => {
  const cluster = await startEventStoreCluster(t)
  const leader = await cluster.leader()
  const node = await connected(t, leader.port, true)
  let lost = 0
  node.onDisconnect(() => lost++)
  t.ok(node.isConnected())
  await leader.stop()
  await cluster.leader()
  t.notOk(node.isConnected())
  t.equal(lost, 1)
  t.same(await failed(append(node, 'a')), { kind: 'broken' })
  await node.close()
  await node.close()
  t.same(await failed(append(node, 'a')), { kind: 'busy' }, 'nothing goes out once it is closed, so a retry is safe')
})

t.test('appends that come together do not take a turn of the event loop each', async (t) => {
  const { port } = await startEventStoreServer(t)
  const node = await connected(t, port, true)
  const appendAll = (name: string) =>
    Promise.all(Array.from({ length: 200 }, (_, index) => append(node, `${name}-${index}`)))
  await appendAll('first')
  const turns = () => performance.nodeTiming.uvMetricsInfo.loopCount
  const before = turns()
  await appendAll('second')
  t.ok(turns() - before < 80, `${turns() - before} turns for 200 appends`)
})

t.test('certificates are exchanged while the service runs', async (t) => {
  const [first, next] = await Promise.all([certificate(t), certificate(t)])
  const server = await startEventStoreServer(t, { tls: first.tls })
  const told: string[] = []
  const url = `kurrentdb://admin:changeit@localhost:${server.port}?tlsCAFile=${first.caFile}`
  const store = openKurrentEventStore(url, { onOutage: (reason) => told.push(reason) })
  t.teardown(() => store.close())
  await store.persistentSubscriptions?.create('group', { filter: { streamPrefixes: ['a'] }, from: 'start' })
  const joined = store.persistentSubscriptions?.subscribe('group', { bufferSize: 1 })
  const follow = async (subscription: AsyncIterable<unknown> | undefined) => {
    for await (const _ of subscription ?? []);
  }
  // The other server has no such group.
  Promise.all([store.subscribeToAll({ from: 'end' }), joined].map(follow)).catch(() => {})
  await until('both follow', () => server.openCalls() === 2)
  await server.stop()
  await startEventStoreServer(t, { tls: next.tls, port: server.port })
  const isRefused = () =>
    until('it is refused', async () => {
      const error = (await store.ping().catch((error: unknown) => error)) as Error
      return error?.message.includes('is not signed by a known authority')
    })
  await isRefused()
  await until('each subscription tells what it waits for', () => told.length === 2)
  for (const reason of told) t.match(reason, /is not signed by a known authority/)
  await writeFile(first.caFile, 'half of a fi')
  await isRefused()
  await copyFile(next.caFile, first.caFile)
  await untilDone('the authority of the other is known', () => store.ping())
})
