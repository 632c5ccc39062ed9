/** URLs of Redis, and why a server can't be reached. */
import '../../support/needs-redis.ts'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { createRateLimiter } from '../../../gateway/limits/rate-limits.ts'
import { openReadModel } from '../../../projections/open-read-model.ts'
import { type ReadModel, ReadModelUnavailable } from '../../../projections/read-model.ts'
import { openRedisReadModel } from '../../../projections/redis/read-model.ts'
import { ConfigurationError } from '../../../runtime/errors.ts'
import { parseRedisUrl } from '../../../runtime/redis/url.ts'
import { within } from '../../../runtime/time-limits.ts'
import { aCheckpoint, aDocument } from '../../contract/read-model.ts'
import { certificate } from '../../support/certificate.ts'
import { startRedis, startRedisCluster } from '../../support/redis.ts'
import { until, untilDone } from '../../support/until.ts'

function open(t: Test, url: string): ReadModel {
  const readModel = openRedisReadModel(url, { settleMs: 0 })
  t.teardown(() => readModel.close())
  return readModel
}

t.test('URLs', async (t) => {
  const { kind, tls, database } = parseRedisUrl('rediss://redis.example/3')
  t.same({ kind, tls, database }, { kind: 'server', tls: true, database: 3 })
  t.match(parseRedisUrl('redis://user:p%40ss@[::1]:7000'), {
    nodes: [{ host: '::1', port: 7000 }],
    username: 'user',
    password: 'p@ss',
  })
  t.match(parseRedisUrl('redis://:secret@h'), {
    nodes: [{ host: 'h', port: 6379 }],
    username: undefined,
    password: 'secret',
  })
  t.match(parseRedisUrl('redis-sentinel://a,b:1/main/2'), {
    kind: 'sentinel',
    nodes: [
      { host: 'a', port: 26379 },
      { host: 'b', port: 1 },
    ],
    masterName: 'main',
    database: 2,
  })
  t.match(parseRedisUrl('rediss-cluster://u:p@a:1,b:2'), {
    kind: 'cluster',
    tls: true,
    nodes: [{ host: 'a' }, { host: 'b' }],
  })
  const refused = ['redis://', 'redis://a,b', 'redis://a/x', 'redis://a:0', 'redis://a:99999', 'redis-sentinel://a']
  for (const url of [...refused, 'redis-cluster://a/1', 'redis://u:%zz@a', 'redis://u:s3cret@a b', 'redis:a']) {
    try {
      await openReadModel(url)
      t.fail(url)
    } catch (error) {
      t.type(error, ConfigurationError)
      t.notMatch((error as Error).message, /s3cret/)
    }
  }
})

t.test('a server that can not be reached: the reason, and what to check', async (t) => {
  const { port } = await startRedis(t)
  const closing = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
  await once(closing, 'listening')
  t.teardown(() => void closing.close())
  const reasons: readonly (readonly [string, RegExp])[] = [
    ['redis://127.0.0.1:1', /nothing listens there; check host and port/],
    ['redis://name.invalid', /its name does not resolve; check the host/],
    [`redis://127.0.0.1:${(closing.address() as AddressInfo).port}`, /closes the connection; .* use rediss:/],
    [`rediss://127.0.0.1:${port}`, /no answer; .* use redis:\/\/ in place of rediss:/],
    [`redis://127.0.0.1:${port}/99`, /it has no database of that number/],
    [`redis-cluster://127.0.0.1:${port}`, /none of its nodes serves a cluster/],
    [`redis-sentinel://127.0.0.1:${port}/main`, /it is no Sentinel/],
  ]
  await Promise.all(
    reasons.map(async ([url, message]) => {
      const readModel = open(t, url)
      const reason = () => readModel.ping().catch((error: Error) => error)
      // On a busy machine the first attempt to connect may take longer than the call.
      const error = await until(`${url}: ${message}`, async () => {
        const error = await reason()
        return error instanceof Error && message.test(error.message) && error
      })
      t.type(error, ReadModelUnavailable, url)
    }),
  )
})

t.test('a Cluster with TLS and a user of an access list', async (t) => {
  const { caFile, keyFile } = await certificate(t)
  const cluster = await startRedisCluster(t, { certificate: { certFile: caFile, keyFile, caFile } })
  const [, documented] = /^ACL SETUSER customers (.*)$/m.exec(await readFile('docs/operations.md', 'utf8')) ?? []
  const rules = documented?.replace('PASSWORD', 'secret').split(' ') ?? []
  const allow = (...more: string[]) =>
    Promise.all(cluster.nodes.map((node) => node.command('ACL', 'SETUSER', 'customers', ...more)))
  await allow(...rules)
  const url = (password: string) => cluster.url.replace('://', `://customers:${password}@`)
  const limiterOf = async (told: string[]) => {
    const bucket = { capacity: 100, perMinute: 1 }
    const buckets = { default: bucket, strict: bucket }
    const onFallback = (reason: string) => void told.push(reason)
    const limiter = await createRateLimiter({ buckets, redisUrl: url('secret'), onFallback })
    t.teardown(() => limiter.close())
    return limiter
  }

  const stranger = open(t, url('secret'))
  const untrusted = /its certificate is not signed by a known authority/
  await until('it tells what is wrong', () =>
    stranger.ping().then(
      () => false,
      ({ message }) => untrusted.test(message),
    ),
  )
  const told: string[] = []
  const limiter = await limiterOf(told)
  await limiter.take('default', 'ann')
  t.match(told.join(), /its certificate is not signed by a known authority/, 'not a guess about the port')

  const known = tls.getCACertificates('default')
  tls.setDefaultCACertificates([...known, await readFile(caFile, 'utf8')])
  t.teardown(() => tls.setDefaultCACertificates(known))
  await untilDone('it is believed from then on', () => stranger.ping())
  const readModel = open(t, url('secret'))
  await untilDone('it is connected', () => readModel.ping())
  const [first, second] = [aCheckpoint(1n), aCheckpoint(2n)]
  await readModel.setCheckpoint(first, null)
  await readModel.setCheckpoint(second, first)
  const document = aDocument(1, 0)
  const put = (revision: number) =>
    readModel.put([{ document: { ...document, revision }, expected: revision - 1 }], undefined)
  t.same(await put(0), [0])
  await readModel.acknowledge(1, 0)
  t.match(await readModel.get([1]), [{ document: { id: 1 }, acknowledged: 0 }])
  for (const name of [
    'generations',
    'incarnations',
    'probe',
    'space',
    'describe',
    'parked',
    'requestScrub',
    'scrub',
  ] as const)
    await readModel[name]()
  told.length = 0
  await (await limiterOf(told)).take('default', 'ann')
  t.same(told, [])

  const refused = { name: 'ReadModelUnavailable', message: /its access list does not allow .* \(NOPERM\)/ }
  const needed = {
    set: () => put(1),
    getrange: () => put(1),
    evalsha: () => put(1),
    get: () => readModel.get([1]),
    info: () => readModel.acknowledge(1, 0),
  }
  for (const [command, use] of Object.entries(needed)) {
    await allow(`-${command}`)
    await t.rejects(use() as Promise<unknown>, refused, command)
    await allow(`+${command}`)
  }
  t.same(await put(1), [1])
  await allow('resetkeys', '~customer:{1}', '~customer:seal:*')
  await t.rejects(readModel.get([1]), { message: /NOPERM/ }, 'a document whose mark can not be read is not believed')
  await allow('reset', ...rules)
  for (const password of ['secret', 'wr0ng']) {
    const { message } = await open(t, url(password))
      .ping()
      .then(
        () => ({ message: 'well' }),
        (error: Error) => error,
      )
    t.match(message, password === 'secret' ? 'well' : /WRONGPASS/)
  }
})

t.test('an answer that came while this process stood still counts', async (t) => {
  const redis = await startRedis(t)
  const readModel = open(t, redis.url)
  await readModel.get([1]) // so that the script is there: with the first call, it takes two answers
  redis.freeze()
  const [read, limited] = [readModel.get([1]), within(500, readModel.ping())]
  await delay(50)
  redis.thaw()
  for (const until = performance.now() + 1_200; performance.now() < until; );
  t.match(await read, [{ document: null }])
  await limited
})

t.test('a wrong password is told, without the password', async (t) => {
  const { port } = await startRedis(t, { args: ['--requirepass', 'right'] })
  const readModel = open(t, `redis://:wr0ng@127.0.0.1:${port}`)
  const error = await readModel.get([1]).catch((error) => error)
  t.type(error, ReadModelUnavailable)
  t.match(error.message, /WRONGPASS/)
  t.notMatch(error.message, /wr0ng/)
  const right = open(t, `redis://default:right@127.0.0.1:${port}`)
  await right.ping()
})
