/** `npm run projections` as a process: its modes, health, metrics and end. */
import '../support/needs-redis.ts'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openEventStore } from '../../eventstore/open-event-store.ts'
import { runCommand } from '../support/commands.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import { environment, temporaryFolder } from '../support/graph.ts'
import { freePort } from '../support/ports.ts'
import { startProcess, untilReady } from '../support/processes.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { appendHistories, someHistories } from './support.ts'

async function startWorker(t: Test, env: Record<string, string>, args: readonly string[] = []) {
  const folder = await temporaryFolder(t)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const started = startProcess(t, 'projections', folder, { ...env, PROJECTIONS_PORT: String(port) }, args)
  const metric = async (name: string) => {
    const text = await (await fetch(`${url}/metrics`)).text()
    return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)?.[1])
  }
  const ready = async () => {
    const response = await fetch(`${url}/readyz`)
    return { status: response.status, ...((await response.json()) as object) }
  }
  return { started, url, metric, ready }
}

for (const mode of ['catch-up', 'group']) {
  t.test(`--mode ${mode}: health and metrics`, async (t) => {
    const [server, redis] = await Promise.all([startEventStoreServer(t), startRedis(t)])
    const eventStore = await openEventStore(server.url)
    t.teardown(() => eventStore.close())
    const histories = someHistories(10)
    await appendHistories(eventStore, histories)
    const env = { EVENTSTORE_URL: server.url, READMODEL_URL: redis.url, PROJECTION_MAX_LAG_SECONDS: '2' }
    const { started, url, metric, ready } = await startWorker(t, env, ['--mode', mode])
    await untilReady(started, `${url}/readyz`)
    const events = histories.reduce((sum, history) => sum + history.events.length, 0)
    await until('it has caught up', async () => (await metric('projection_events_total')) >= events)
    await until('and says so', async () => (await metric('projection_lag_events')) === 0)
    t.match(await ready(), {
      status: 200,
      ready: true,
      eventStore: true,
      readModel: true,
      lagSeconds: 0,
      maxLagSeconds: 2,
    })
    t.ok((await metric('projection_batch_events_count')) > 0)
    t.equal(await metric('projection_event_to_document_seconds_count'), 0, 'what fills a read model is no delay')
    t.equal(await metric('projection_lag_events'), 0)
    t.equal(await metric('projection_lag_seconds'), 0)
    t.equal(await metric('projection_parked_events'), 0)
    t.equal(await metric('projection_reconnects_total'), 0)

    // A group's worker is ready before the filling has ended, and what comes until then is part of it.
    if (mode === 'group') await until('it is filled', () => started.output().includes('read model filled'))
    await appendHistories(eventStore, someHistories(11).slice(10))
    await until('what comes later is', async () => (await metric('projection_event_to_document_seconds_count')) > 0)

    server.cutConnections()
    await until('the reconnect is counted', async () => (await metric('projection_reconnects_total')) > 0)
    const says = /subscription to the event store dropped; it resumes where it was/
    await until('and told', async () => says.test(started.output()))
    await untilReady(started, `${url}/readyz`)

    await redis.stop()
    await until('not ready without the read model', async () => (await ready()).status === 503)
    t.match(await ready(), { ready: false, eventStore: true, readModel: false })
    await redis.start()
    await untilReady(started, `${url}/readyz`)

    await server.stop()
    await until('not ready without the event store', async () => (await ready()).status === 503)
    t.match(await ready(), { ready: false, eventStore: false, readModel: true })
    await server.start()
    await untilReady(started, `${url}/readyz`)

    t.equal(await started.end('SIGTERM'), 0)
  })
}

t.test('further behind than the bound it is not ready', async (t) => {
  const folder = await temporaryFolder(t)
  const stores = environment(folder)
  const env = { ...stores, PROJECTION_MAX_LAG_SECONDS: '1' }
  const eventStore = await openEventStore(stores.EVENTSTORE_URL ?? '')
  t.teardown(() => eventStore.close())
  const { started, url, metric, ready } = await startWorker(t, env)
  await untilReady(started, `${url}/readyz`)
  // A customer whose event nobody can apply holds up nobody; a worker that is stopped does.
  started.child.kill('SIGSTOP')
  await appendHistories(eventStore, someHistories(3))
  await delay(1_500)
  // Woken, its first look may come before its first batch: what it says then is that it is behind, and soon that it is not.
  started.child.kill('SIGCONT')
  await until('ready again', async () => (await ready()).status === 200)
  t.equal(await metric('projection_lag_events'), 0)
})

t.test('arguments and stores that do not fit are told in one line', async (t) => {
  const folder = await temporaryFolder(t)
  const say = (args: string[], env: Record<string, string> = {}) => runCommand(folder, ['projections', ...args], env)
  t.match(await say(['--mode', 'alone']), {
    code: 2,
    output: /^error: option '--mode <mode>' argument 'alone' is invalid\. Allowed choices are catch-up, group\..*\n$/,
  })
  t.match(await say(['--colour']), {
    code: 2,
    output: /^error: unknown option '--colour'.*\n$/,
  })
  t.match(await say(['--mode', 'group']), { code: 1, output: /^error: --mode group needs EventStoreDB or KurrentDB/ })
  t.match(await say([], { EVENTSTORE_URL: 'esdb://me:hunter2@host?tls=maybe' }), {
    code: 1,
    output: 'error: EVENTSTORE_URL: its value can\'t be used: option tls is "maybe"; accepted: true or false.\n',
  })
  t.match(await say([], { PROJECTION_MAX_LAG_SECONDS: '0' }), {
    code: 1,
    output: /^error: PROJECTION_MAX_LAG_SECONDS: "0"/,
  })
})
