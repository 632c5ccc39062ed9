/**
 * Two instances and a Redis that reads and does not write, or is not the same one for both: what is acknowledged on one is
 * what the other shows. See docs/read-your-writes.md.
 */
import '../support/needs-redis.ts'
import { mkdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { startProxy } from '../history/proxy.ts'
import {
  environment,
  openTestLog,
  type Send,
  type SubgraphFixture,
  signUp,
  startSubgraph,
  temporaryFolder,
} from '../support/graph.ts'
import { type RedisServer, startRedis, untilLinked } from '../support/redis.ts'
import { until } from '../support/until.ts'

const NOT_AUTHORIZED = [{ message: 'User token has been revoked' }]

const rename = (send: Send, token: string, firstname: string) =>
  send('mutation($name: String!) { updateCustomer(input: { firstname: $name }) { customer { firstname } } }', {
    token,
    variables: { name: firstname },
  })
const nameAt = async (send: Send, token: string) =>
  (await send('{ customer { firstname } }', { token })).data?.customer?.firstname

type Options = Parameters<typeof startSubgraph>[1]

/** Two instances over one log, with a projection of their own; each may have another way to the read model. */
async function startTwo(t: Test, urls: readonly [string, string], options: readonly [Options?, Options?] = []) {
  const folder = await temporaryFolder(t)
  const [one, two] = (await Promise.all(
    urls.map((READMODEL_URL, index) =>
      startSubgraph(t, { folder, projection: false, env: { READMODEL_URL }, ...options[index] }),
    ),
  )) as [SubgraphFixture, SubgraphFixture]
  return { folder, one, two }
}

async function project(t: Test, folder: string, url: string) {
  const eventStore = await openTestLog(t, folder)
  const readModel = await openReadModel(url)
  const projection = startProjection({ eventStore, readModel })
  t.teardown(async () => {
    await projection.stop()
    await readModel.close()
  })
  return projection
}

const metric = async ({ app }: SubgraphFixture, name: string) =>
  new RegExp(`^${name} (\\d+)$`, 'm').exec((await app.inject('/metrics')).body)?.[1]
const readsFrom = async ({ app }: SubgraphFixture, source: string) =>
  Number(
    new RegExp(`^customer_reads_total{source="${source}"} (\\d+)$`, 'm').exec(
      (await app.inject('/metrics')).body,
    )?.[1] ?? 0,
  )

/** Waits until queries of the customer are answered from the document. */
async function untilBelieved(instance: SubgraphFixture, token: string): Promise<void> {
  let before = await readsFrom(instance, 'read-model')
  const isBelieved = async () => {
    await instance.send('{ customer { id } }', { token })
    const now = await readsFrom(instance, 'read-model')
    const isMore = now > before
    before = now
    return isMore
  }
  await until('the documents are believed', isBelieved)
}

/** The events of the register so far. */
async function registerRevision(eventStore: EventStore): Promise<number> {
  for await (const { revision } of eventStore.readStream('readModelFence', { direction: 'backwards', maxCount: 1 })) {
    return revision
  }
  return -1
}

const setting = (name: string, harm: string, well: string) => ({
  harm: (redis: RedisServer) => redis.command('CONFIG', 'SET', name, harm),
  mend: (redis: RedisServer) => redis.command('CONFIG', 'SET', name, well),
})
const REFUSALS: Readonly<Record<string, Record<'harm' | 'mend', (redis: RedisServer) => Promise<unknown>>>> = {
  'OOM: maxmemory is reached under noeviction': setting('maxmemory', '1', '0'),
  'NOREPLICAS: fewer replicas than min-replicas-to-write': setting('min-replicas-to-write', '3', '0'),
  'READONLY: it was made a replica': {
    harm: (redis) => redis.command('REPLICAOF', '127.0.0.1', '1'),
    mend: (redis) => redis.command('REPLICAOF', 'NO', 'ONE'),
  },
  'MISCONF: it can not write its snapshots': {
    async harm(redis) {
      const snapshot = join(redis.folder, 'dump.rdb')
      await rm(snapshot, { force: true })
      await mkdir(snapshot)
      await redis.command('BGSAVE')
      await until('it could not', async () =>
        (await redis.command('INFO', 'persistence')).includes('rdb_last_bgsave_status:err'),
      )
    },
    async mend(redis) {
      await rmdir(join(redis.folder, 'dump.rdb'))
      await redis.command('SAVE')
    },
  },
  'NOPERM: its access list no longer allows writes': {
    harm: async (redis) => void (await redis.command('ACL', 'SETUSER', 'default', '-set')),
    mend: async (redis) => void (await redis.command('ACL', 'SETUSER', 'default', '+set')),
  },
}

t.jobs = 4 // much of it is waiting

for (const [name, { harm, mend }] of Object.entries(REFUSALS)) {
  t.test(`Redis refuses writes and answers reads: ${name}`, async (t) => {
    const redis = await startRedis(t, { persistent: true })
    const lines: { msg: string; reason?: string }[] = []
    const logger = { level: 'warn', stream: { write: (line: string) => void lines.push(JSON.parse(line)) } }
    const { folder, one, two } = await startTwo(t, [redis.url, redis.url], [{ logger }])
    const projection = await project(t, folder, redis.url)
    const [kept, revoked, deleted] = [await signUp(one.send), await signUp(one.send), await signUp(one.send)]
    await projection.caughtUp()
    for (const { token } of [kept, revoked, deleted]) await untilBelieved(two, token)

    await harm(redis)
    await rename(one.send, kept.token, 'Bea')
    t.equal(await nameAt(two.send, kept.token), 'Bea', 'a write on one is seen on the other')
    const fencing = lines.find(
      ({ msg }) => msg === 'a revision mark cannot be written; the other instances are fenced off',
    )
    t.match(fencing?.reason, /^The read model can't be reached: \S/, 'the log says why')
    if (name.startsWith('NOPERM')) t.match(fencing?.reason, /does not allow .*\(NOPERM\)/)
    await one.send('mutation { revokeCustomerToken { result } }', { token: revoked.token })
    t.match((await two.send('{ customer { email } }', { token: revoked.token })).errors, NOT_AUTHORIZED)
    await one.send('mutation { deleteCustomer }', { token: deleted.token })
    t.match((await two.send('{ customer { email } }', { token: deleted.token })).errors, NOT_AUTHORIZED)
    const fenced = await registerRevision(one.eventStore)
    for (const firstname of ['Cleo', 'Dora', 'Edith']) {
      await rename(one.send, kept.token, firstname)
      t.equal(await nameAt(two.send, kept.token), firstname)
    }
    t.equal(await registerRevision(one.eventStore), fenced, 'the fence is raised once')
    const { statusCode, body } = await two.app.inject('/readyz')
    t.equal(statusCode, 200, 'queries and mutations are answered')
    t.match(JSON.parse(body), { ready: true, readModel: true, readModelWrites: false, degraded: true })
    t.equal(await metric(two, 'read_model_writable'), '0')
    t.equal(await metric(two, 'read_model_fenced'), '1')

    await mend(redis)
    await untilBelieved(two, kept.token)
    t.equal(await nameAt(two.send, kept.token), 'Edith')
    for (const { token } of [revoked, deleted]) {
      t.match((await two.send('{ customer { email } }', { token })).errors, NOT_AUTHORIZED)
    }
    const isWell = async () => {
      const answer: { readonly degraded?: boolean } = (await two.app.inject('/readyz')).json()
      return answer.degraded === false && answer
    }
    const ready = await until('it is well again', isWell)
    t.match(ready, { ready: true, readModelWrites: true })
  })
}

t.test('one instance alone is cut off from Redis', async (t) => {
  const redis = await startRedis(t)
  const proxy = await startProxy(t, redis.port)
  const { folder, one, two } = await startTwo(t, [`redis://127.0.0.1:${proxy.port}`, redis.url])
  const projection = await project(t, folder, redis.url)
  const { token } = await signUp(one.send)
  await projection.caughtUp()
  await projection.stop()
  await untilBelieved(two, token)
  proxy.cut()
  await rename(one.send, token, 'Bea')
  t.equal(await nameAt(two.send, token), 'Bea', 'it told the other one by the log')
  await rename(two.send, token, 'Cleo')
  t.equal(await nameAt(one.send, token), 'Cleo', 'and sees what the other one does')
  await one.send('mutation { revokeCustomerToken { result } }', { token })
  t.match((await two.send('{ customer { email } }', { token })).errors, NOT_AUTHORIZED)
  const readiness = async ({ app }: SubgraphFixture) => (await app.inject('/readyz')).statusCode
  await until('the one that is cut off is to be left alone', async () => (await readiness(one)) === 503)
  t.equal(await readiness(two), 200)
  proxy.mend()
  await until('it is back', async () => (await readiness(one)) === 200)
})

/** An instance that goes over to a new master, with the projection, and one that stays with the old one, which takes writes. */
async function startSplit(t: Test) {
  const [old, next] = [await startRedis(t), await startRedis(t)]
  await next.command('REPLICAOF', '127.0.0.1', String(old.port))
  await untilLinked(next)
  const proxy = await startProxy(t, old.port)
  const { folder, one, two } = await startTwo(t, [`redis://127.0.0.1:${proxy.port}`, old.url])
  const projection = await project(t, folder, `redis://127.0.0.1:${proxy.port}`)
  const { token } = await signUp(one.send)
  await projection.caughtUp()
  for (const instance of [one, two]) await untilBelieved(instance, token)
  await next.command('REPLICAOF', 'NO', 'ONE')
  proxy.point(next.port)
  return { one, two, token }
}

t.test('two masters: what is marked at the new one counts at once for who is at the old one', async (t) => {
  const { one, two, token } = await startSplit(t)
  await rename(one.send, token, 'Bea')
  t.equal(await nameAt(two.send, token), 'Bea')
  await rename(two.send, token, 'Cleo')
  t.equal(await nameAt(one.send, token), 'Cleo')
})

t.test('two masters: what is marked at the old one alone counts for who is at the new one', async (t) => {
  const { one, two, token } = await startSplit(t)
  await untilBelieved(one, token)
  await two.send('mutation { revokeCustomerToken { result } }', { token })
  t.match((await one.send('{ customer { email } }', { token })).errors, NOT_AUTHORIZED)
})

t.test('two databases of one server are two read models: what one instance acknowledges the other shows', async (t) => {
  const redis = await startRedis(t)
  const folder = await temporaryFolder(t)
  const urls = [redis.url, `${redis.url}/1`] as const
  const start = (READMODEL_URL: string) => startSubgraph(t, { folder, projection: false, env: { READMODEL_URL } })
  const projections = await Promise.all(urls.map((url) => project(t, folder, url)))
  const one = await start(urls[0])
  const { token } = await signUp(one.send)
  await Promise.all(projections.map((projection) => projection.caughtUp()))
  await untilBelieved(one, token)
  const second = await openReadModel(urls[1])
  t.teardown(() => second.close())
  await until('the second one is complete', async () => (await second.getCheckpoint())?.complete)
  await Promise.all(projections.map((projection) => projection.stop()))
  const two = await start(urls[1])
  const began = performance.now()
  // Before its first query, which would mark what it has shown.
  await until('it has had the time to trust its documents', async () => {
    return (await metric(two, 'read_model_fenced')) === '0' || performance.now() - began > 3_000
  })
  await rename(one.send, token, 'Bea')
  t.equal(await nameAt(two.send, token), 'Bea')
  await rename(two.send, token, 'Cleo')
  t.equal(await nameAt(one.send, token), 'Cleo')
})

t.test('a writer dies with its fence in force: another instance lifts it', async (t) => {
  const redis = await startRedis(t)
  const proxy = await startProxy(t, redis.port)
  let isGone = false
  /** Of the first instance: a process that has died. */
  const wrapEventStore = (store: EventStore): EventStore => ({
    ...store,
    append: async (...args) => {
      if (isGone) throw new EventStoreUnavailable('gone')
      return store.append(...args)
    },
  })
  const urls = [`redis://127.0.0.1:${proxy.port}`, redis.url] as const
  const { folder, one, two } = await startTwo(t, urls, [{ wrapEventStore }])
  await project(t, folder, redis.url)
  const { token } = await signUp(one.send)
  proxy.cut()
  await rename(one.send, token, 'Bea')
  isGone = true
  t.equal(await nameAt(two.send, token), 'Bea')
  t.equal(await metric(two, 'read_model_fenced'), '1')
  await untilBelieved(two, token)
  t.equal(await nameAt(two.send, token), 'Bea')
})

t.test('what one instance has shown of a write in flight the others show as well', async (t) => {
  const redis = await startRedis(t)
  const held = Promise.withResolvers<void>()
  let isHeld = false
  const reached = Promise.withResolvers<void>()
  const wrapReadModel = (model: ReadModel): ReadModel => ({
    ...model,
    async acknowledge(id, revision) {
      if (isHeld) {
        reached.resolve()
        await held.promise
      }
      return model.acknowledge(id, revision)
    },
  })
  const { folder, one, two } = await startTwo(t, [redis.url, redis.url], [{ wrapReadModel }])
  const three = await startSubgraph(t, { folder, projection: false, env: { READMODEL_URL: redis.url } })
  const projection = await project(t, folder, redis.url)
  const { token, id } = await signUp(one.send)
  await projection.caughtUp()
  await projection.stop()
  await untilBelieved(three, token)
  isHeld = true
  const writing = rename(one.send, token, 'Bea')
  await reached.promise
  t.equal(await nameAt(three.send, token), 'Ann', 'it is in flight')
  // The mark of another write has the second instance fold the stream.
  await two.readModel.acknowledge(id, ((await two.readModel.get([id]))[0]?.document?.revision ?? 0) + 1)
  t.equal(await nameAt(two.send, token), 'Bea')
  t.equal(await nameAt(three.send, token), 'Bea')
  held.resolve()
  await writing
})

t.test('a repetition of a command whose writer died before it was marked is marked', async (t) => {
  const redis = await startRedis(t)
  let isGone = false
  const wrapReadModel = (model: ReadModel): ReadModel => ({
    ...model,
    acknowledge: (id, revision) => (isGone ? new Promise(() => {}) : model.acknowledge(id, revision)),
  })
  const wrapEventStore = (store: EventStore): EventStore => ({
    ...store,
    append: async (stream, events, options) => {
      if (isGone && stream === 'readModelFence') throw new EventStoreUnavailable('gone')
      return store.append(stream, events, options)
    },
  })
  const { folder, one, two } = await startTwo(t, [redis.url, redis.url], [{ wrapReadModel, wrapEventStore }])
  const three = await startSubgraph(t, { folder, projection: false, env: { READMODEL_URL: redis.url } })
  const projection = await project(t, folder, redis.url)
  const { token } = await signUp(one.send)
  await projection.caughtUp()
  await projection.stop()
  await untilBelieved(three, token)
  isGone = true
  const query = 'mutation { updateCustomer(input: { firstname: "Bea" }) { customer { firstname } } }'
  const command = { token, headers: { 'idempotency-key': 'once' } }
  t.match((await one.send(query, command)).errors, [{ extensions: { code: 'SERVICE_UNAVAILABLE' } }])
  t.match((await two.send(query, command)).data, { updateCustomer: { customer: { firstname: 'Bea' } } })
  t.equal(await nameAt(three.send, token), 'Bea')
})

t.test('the event store is away: documents are believed while Redis takes writes, and no longer', async (t) => {
  const redis = await startRedis(t)
  let isAway = false
  const refuse = () => {
    if (isAway) throw new EventStoreUnavailable('away')
  }
  const wrapEventStore = (store: EventStore): EventStore => ({
    ...store,
    append: async (...args) => {
      refuse()
      return store.append(...args)
    },
    readStream: (...args) => {
      refuse()
      return store.readStream(...args)
    },
  })
  const instance = await startSubgraph(t, { env: { READMODEL_URL: redis.url }, wrapEventStore })
  const { token } = await signUp(instance.send)
  await untilBelieved(instance, token)
  isAway = true
  for (let i = 0; i < 25; i++) {
    t.equal(await nameAt(instance.send, token), 'Ann', 'beyond the lease')
    await delay(100)
  }
  await redis.command('CONFIG', 'SET', 'maxmemory', '1')
  const code: string = await until(
    'an error',
    async () => (await instance.send('{ customer { id } }', { token })).errors?.[0].extensions.code,
  )
  t.equal(code, 'SERVICE_UNAVAILABLE', 'nobody can tell what others have written')
  isAway = false
  await redis.command('CONFIG', 'SET', 'maxmemory', '0')
  await untilBelieved(instance, token)
})

t.test('a read model file that another process has locked', async (t) => {
  const folder = await temporaryFolder(t)
  const { READMODEL_URL = '' } = environment(folder)
  const [one, two] = [await startSubgraph(t, { folder, projection: false }), await startSubgraph(t, { folder })]
  const { token } = await signUp(one.send)
  await untilBelieved(two, token)
  const other = new DatabaseSync(READMODEL_URL.slice('sqlite:'.length))
  t.teardown(() => other.close())
  other.exec('BEGIN IMMEDIATE')
  await rename(one.send, token, 'Bea')
  t.equal(await nameAt(two.send, token), 'Bea')
  await one.send('mutation { revokeCustomerToken { result } }', { token })
  t.match((await two.send('{ customer { email } }', { token })).errors, NOT_AUTHORIZED)
  other.exec('ROLLBACK')
})

t.test('while all is well a query is one read of the read model, and a mutation one append and one mark', async (t) => {
  const redis = await startRedis(t)
  const calls: string[] = []
  const counted = (name: string, call: (...args: never[]) => unknown) =>
    Object.assign((...args: never[]) => {
      if (args[0] !== 'readModelFence') calls.push(name)
      return call(...args)
    })
  const wrapReadModel = (model: ReadModel) =>
    ({ ...model, get: counted('get', model.get), acknowledge: counted('mark', model.acknowledge) }) as ReadModel
  const wrapEventStore = (store: EventStore) =>
    ({
      ...store,
      append: counted('append', store.append),
      readStream: counted('read', store.readStream),
    }) as EventStore
  const instance = await startSubgraph(t, {
    projection: false,
    env: { READMODEL_URL: redis.url },
    wrapReadModel,
    wrapEventStore,
  })
  const { token } = await signUp(instance.send)
  const projected = await openReadModel(redis.url)
  const projection = startProjection({ eventStore: instance.eventStore, readModel: projected })
  t.teardown(() => projected.close())
  await projection.caughtUp()
  await projection.stop()
  await untilBelieved(instance, token)
  // A machine that stands still for a second ends the lease: then there is more to do.
  for (let i = 0; i < 20; i++) {
    calls.length = 0
    await nameAt(instance.send, token)
    if (calls.length === 1) break
  }
  t.same(calls, ['get'])
  for (let i = 0; i < 20; i++) {
    calls.length = 0
    await rename(instance.send, token, `Name ${i}`)
    if (calls.length === 2) break
  }
  t.same(calls, ['append', 'mark'])
})

t.test('a read model that the others do not trust: an instance says so from its first answer on', async (t) => {
  const [trusted, other] = [await startRedis(t), await startRedis(t)]
  const folder = await temporaryFolder(t)
  const start = (READMODEL_URL: string) => startSubgraph(t, { folder, projection: false, env: { READMODEL_URL } })
  await project(t, folder, trusted.url)
  const one = await start(trusted.url)
  const { token } = await signUp(one.send)
  await untilBelieved(one, token)

  const two = await start(other.url)
  for (let i = 0; i < 30; i++) {
    const { degraded } = JSON.parse((await two.app.inject('/readyz')).body)
    if (!degraded && !t.ok(degraded, `look ${i}`)) break
    if ((await metric(two, 'read_model_fenced')) === '0' && !t.fail(`metric ${i}`)) break
  }
  t.equal(await nameAt(two.send, token), 'Ann')
  t.equal(await readsFrom(two, 'read-model'), 0)
})

t.test('a read model that another service fills, from a log of its own, is nobody’s here', async (t) => {
  const redis = await startRedis(t)
  const [own, other] = [await temporaryFolder(t), await temporaryFolder(t)]
  const start = (folder: string) => startSubgraph(t, { folder, projection: false, env: { READMODEL_URL: redis.url } })
  const projection = await project(t, other, redis.url)
  const theirs = await start(other)
  const bob = await signUp(theirs.send)
  await rename(theirs.send, bob.token, 'Bob')
  await projection.caughtUp()
  await untilBelieved(theirs, bob.token)

  const ours = await start(own)
  const ann = await signUp(ours.send)
  t.equal(ann.id, bob.id)
  t.equal(await nameAt(ours.send, ann.token), 'Ann')
  await untilBelieved(theirs, bob.token)
  for (const began = performance.now(); performance.now() - began < 5_000; await delay(100)) {
    if ((await nameAt(ours.send, ann.token)) !== 'Ann' && !t.fail('she is shown as somebody else')) break
  }
  t.equal(await nameAt(theirs.send, bob.token), 'Bob')
  t.equal(await readsFrom(ours, 'read-model'), 0)
})

t.test('a read model that a subgraph does not reach is logged at once, and so is its return', async (t) => {
  const folder = await temporaryFolder(t)
  const redis = await startRedis(t)
  await redis.stop()
  const lines: string[] = []
  const logger = { level: 'info', stream: { write: (line: string) => void lines.push(line) } }
  const says = (message: RegExp) => lines.some((line) => message.test(JSON.parse(line).msg))
  await startSubgraph(t, { folder, env: { READMODEL_URL: redis.url }, projection: false, logger })
  await until('it is logged', () => says(/^the read model is unavailable; queries fold/))
  await redis.start()
  await until('it is logged', () => says(/^the read model is available again$/))
  t.equal(lines.filter((line) => line.includes('the read model is')).length, 2, 'once each')
})
