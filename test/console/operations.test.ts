/** Operations in the console: what it measures, rebuilds, parked events, live updates; by hand-made requests and in a browser. */
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { type Measure, projectionState } from '../../console/pages/operations/watch.ts'
import { keysOf } from '../../eventstore/encryption/customer-keys.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { isSkipped } from '../../projections/skips.ts'
import { startGroupProjection } from '../../projections/worker/group.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { streamOf } from '../../schema/streams.ts'
import { startBrowser } from '../support/browser.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import { signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { openTab, photograph, startConsole, type Visitor } from './support.ts'

const browser = await startBrowser(t)
const folder = await temporaryFolder(t)
const { send, eventStore, readModel } = await startSubgraph(t, { folder, projection: false })
const console_ = await startConsole(t, { folder })
const { app } = console_

const { id: first } = await signUp(send)
const { id: second } = await signUp(send)
const { log } = keysOf(eventStore)

const HOSTILE = 'Knight<b>ed</b>\u202e'
const poison = (type = 'CustomerKnighted') => ({
  id: crypto.randomUUID(),
  type,
  data: { title: 'Dame Secretname' },
  metadata: { $correlationId: 'x', $causationId: 'x', actor: 'test', at: new Date().toISOString(), schemaVersion: 1 },
})
/** The page without its tags, in one line. */
const textOf = (body: string) => body.replace(/<[^>]+>/g, ' ').replace(/\s+/g, ' ')

const untilEnded = (visitor: Visitor) =>
  until('it ends', async () => {
    const { body } = await visitor.get('/operations/generations')
    return !/The running/.test(body) && textOf(body)
  })

t.test('the states of a projection', async (t) => {
  const measure = (second: number, commit: bigint, events: number, seconds = second): Measure => ({
    at: new Date(second * 1000),
    lag: { events, seconds },
    position: { commit, prepare: commit },
    end: { commit: 9n, prepare: 9n },
    isComplete: true,
    appliedPerSecond: undefined,
  })
  for (const [measures, state] of [
    [[], 'has not begun'],
    [[{ ...measure(0, 0n, 3), position: undefined }], 'has not begun'],
    [[measure(0, 9n, 0)], 'keeps up'],
    [[{ ...measure(0, 5n, 3), isComplete: false }], 'is being filled'],
    [[measure(0, 5n, 3, 20), measure(5, 5n, 3, 25)], 'keeps up'],
    [[measure(0, 5n, 3, 70)], 'behind'],
    [[measure(0, 4n, 3, 70), measure(20, 5n, 3, 80)], 'behind'],
    [[measure(0, 5n, 3, 20), measure(5, 5n, 3, 25), measure(11, 5n, 3, 31)], 'stalled'],
  ] as const) {
    t.equal(projectionState(measures, 60), state, `${state} ${measures.length}`)
  }
})

t.test('the overview measures, and says what can not be known', async (t) => {
  const olga = await console_.signIn('operator')
  const before = textOf((await olga.get('/operations')).body)
  t.match(before, /State has not begun Events behind 2 /)
  t.match(before, /No mail worker has stored anything yet/)
  t.match(before, /SQLite version 3\.\d+/)
  t.match(before, /which one is not on record/)
  await log.append(streamOf.customer(first), [poison(HOSTILE), poison(), poison()], { expected: 0 })
  await log.append(streamOf.customer(second), [poison()], { expected: 0 })
  const projection = startProjection({ eventStore, readModel })
  t.teardown(() => projection.stop())
  await projection.caughtUp()
  await delay(1_100) // measures are a second apart
  const after = textOf((await olga.get('/operations')).body)
  t.match(after, /State keeps up Events behind 0 /)
  t.match(after, /Parked events 2 Last error on record Event type/)
  t.match(after, /events\/s/)
  t.notMatch(after, /Secretname/)
  for (const role of ['auditor', 'privacy-officer'] as const) {
    t.equal((await (await console_.signIn(role)).get('/operations')).status, 403, `not for ${role}`)
  }
})

t.test('parked events: said before they are replayed, dropped with a reason', async (t) => {
  const olga = await console_.signIn('operator')
  const list = (await olga.get('/operations/parked')).body
  t.match(textOf(list), /Waiting: 4 events of 2 customers/)
  t.match(list, 'Knight&lt;b&gt;ed&lt;/b&gt;\\u202e')
  t.match((await olga.get('/operations/parked/replay')).body, /<h1>Replay 4 events of 2 customers<\/h1>/)
  t.match((await olga.get(`/operations/parked/replay?customer=${first}`)).body, /Replay 3 events of 1 customer</)
  t.match(await olga.get('/operations/parked/404'), { status: 404, body: /no parked event/ })
  t.match(await olga.post('/operations/parked/replay'), { status: 303, location: '/operations/parked' })
  const replayed = (await olga.get('/operations/parked')).body
  t.match(textOf(replayed), /Replayed: 4 events of 2 customers\. 0 documents are up to date; 2 still wait/)

  const form = { customer: String(second), revision: '1' }
  t.match(await olga.post('/operations/parked/drop', form), { status: 400, body: /Say why/ })
  t.match(await olga.post('/operations/parked/drop', { ...form, revision: '9', reason: 'x' }), { status: 409 })
  t.notOk(await isSkipped(eventStore, second, 1))
  t.match(await olga.post('/operations/parked/drop', { ...form, reason: 'of a release that was withdrawn' }), {
    status: 303,
  })
  t.ok(await isSkipped(eventStore, second, 1))
  t.match(textOf((await olga.get('/operations/parked')).body), /Dropped\. All 1 documents are up to date/)
})

t.test('generations: filled, compared by customer and field, switched, gone back to, dropped', async (t) => {
  const olga = await console_.signIn('operator')
  t.match(textOf((await olga.get('/operations/generations?sizes=yes')).body), /live complete .* documents, about/)
  t.match(await olga.post('/operations/generations/rebuild'), { status: 303 })
  t.match(await untilEnded(olga), /Generation 2 is live\. The one before is kept/)
  for (const action of ['roll-back', 'drop']) {
    t.match(await olga.post(`/operations/generations/${action}`), { status: 400, body: /Tick that you are sure/ })
  }
  await olga.post('/operations/generations/roll-back', { sure: 'yes' })
  t.match(textOf((await olga.get('/operations/generations')).body), /Generation 1 is live again/)
  t.equal((await readModel.generations()).find(({ live }) => live)?.number, 1)
  await olga.post('/operations/generations/drop', { sure: 'yes' })
  t.match(textOf((await olga.get('/operations/generations')).body), /Dropped: generation 2/)

  await t.test('a difference is shown by customer and field, and accepted or not', async (t) => {
    await readModel.follow()
    const [document] = await readModel.documents([second])
    if (!document) throw new Error('There is no document.')
    // As a document that a fault has changed.
    await readModel.reset()
    await readModel.put([{ document: { ...document, firstname: 'Forged' }, expected: -1 }])
    await readModel.setCheckpoint({ ...(await someCheckpoint()), complete: true }, await readModel.getCheckpoint())
    await olga.post('/operations/generations/rebuild')
    const differing = await untilEnded(olga)
    t.match(differing, new RegExp(`documents differ: generation 2 is filled, but not live.*${second} firstname`))
    t.notMatch(differing, /Forged/, 'no values')
    await olga.post('/operations/generations/rebuild', { accept: 'yes' })
    t.match(await untilEnded(olga), /Generation 2 is live/)
    await olga.post('/operations/generations/comparison')
    t.match(await untilEnded(olga), new RegExp(`documents? differ from the log|${first} an event is parked`))
  })
})

async function someCheckpoint() {
  const events = []
  for await (const event of eventStore.readStream(streamOf.customer(second))) events.push(event)
  const last = events.at(-1)
  if (!last) throw new Error('There is no event.')
  const { position, id, stream, revision } = last
  return { position, id, stream, revision, origin: events[0]?.id ?? '' }
}

t.test('on servers: the group, versions and settings; what does not answer is told', async (t) => {
  const [server, redis] = await Promise.all([
    startEventStoreServer(t),
    startRedis(t, { args: ['--maxmemory-policy', 'allkeys-lru'] }),
  ])
  const env = {
    EVENTSTORE_URL: server.url,
    READMODEL_URL: redis.url,
    EMAIL_HASH_KEY: 'k'.repeat(32),
    MASTER_KEY: 'ab'.repeat(32),
  }
  const { app, options, signIn } = await startConsole(t, { env })
  await app.ready()
  const { persistentSubscriptions } = options.eventStore
  if (persistentSubscriptions === undefined) throw new Error('A server has persistent subscriptions.')
  const [own, fill] = await Promise.all([openReadModel(redis.url), openReadModel(redis.url)])
  const worker = startGroupProjection({
    eventStore: { ...options.eventStore, persistentSubscriptions },
    readModel: own,
    fillModel: fill,
    group: 'customers',
  })
  t.teardown(async () => {
    await worker.stop()
    await Promise.all([own.close(), fill.close()])
  })
  const olga = await signIn('operator')
  const seen = await until('the process is seen', async () => {
    const text = textOf((await olga.get('/operations')).body)
    return /1 process of the group customers/.test(text) && text
  })
  t.match(seen, /1 process of the group customers, 0 events in flight/)
  t.match(seen, process.env.TEST_EVENTSTORE_SERVER ? /Server version 24\.\d+\.\d/ : /Server version 24\.10\.0/)
  t.match(seen, /maxmemory-policy allkeys-lru to change Redis may drop documents/)
  t.match(seen, /Kind the event store itself/)
  await redis.stop()
  const without = await olga.get('/operations')
  t.equal(without.status, 200)
  t.match(textOf(without.body), /not known: the read model does not answer/)
})

t.test('in a browser: live values while somebody looks, and every page for everybody', async (t) => {
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const olga = await openTab(t, browser, url, 'operator')
  await olga.page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Operations' }).click()
  await photograph(t, olga, 'operations')
  const end = olga.page.locator('[data-live="end"]')
  const before = await end.textContent()
  const { id } = await signUp(send)
  await log.append(streamOf.customer(id), [poison()], { expected: 0 })
  await olga.page.waitForFunction(
    (text) => globalThis.document.querySelector('[data-live="end"]')?.textContent !== text,
    before,
  )
  await olga.page
    .getByRole('link', { name: /Parked events/ })
    .first()
    .click()
  await photograph(t, olga, 'operations-parked')
  await olga.page.getByRole('link', { name: 'Replay all' }).press('Enter')
  await photograph(t, olga, 'operations-replay')
  await olga.page.getByRole('link', { name: 'Not now' }).click()
  await olga.page.getByRole('link', { name: String(first), exact: true }).click()
  await photograph(t, olga, 'operations-parked-event')
  await olga.page.getByRole('navigation', { name: 'Operations' }).getByRole('link', { name: 'Generations' }).click()
  await olga.page.getByRole('button', { name: 'Compare' }).press('Enter')
  await olga.page.getByText('The comparison has begun.').waitFor()
  await olga.page.getByRole('heading', { name: 'The last comparison' }).waitFor()
  await photograph(t, olga, 'operations-generations')
  await olga.page.setViewportSize({ width: 320, height: 700 })
  for (const path of ['/operations', '/operations/generations', '/operations/parked', `/operations/parked/${first}`]) {
    await olga.page.goto(`${url}${path}`)
    const wider = await olga.page.evaluate(
      () => globalThis.document.documentElement.scrollWidth - globalThis.innerWidth,
    )
    t.ok(wider <= 0, `${path} fits into 320 px`)
  }
  t.same(olga.faults, [])
})
