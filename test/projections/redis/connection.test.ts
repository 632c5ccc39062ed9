/** URLs of Redis, and why a server can't be reached. */
import '../../support/needs-redis.ts'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openReadModel } from '../../../projections/open-read-model.ts'
import { type ReadModel, ReadModelUnavailable } from '../../../projections/read-model.ts'
import { openRedisReadModel } from '../../../projections/redis/read-model.ts'
import { ConfigurationError } from '../../../runtime/errors.ts'
import { parseRedisUrl } from '../../../runtime/redis/url.ts'
import { startRedis } from '../../support/redis.ts'

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
      let error = (await reason()) as Error
      // On a busy machine the first attempt to connect may take longer than the call.
      for (let i = 0; i < 50 && !message.test(error.message); i++) {
        await delay(100)
        error = (await reason()) as Error
      }
      t.type(error, ReadModelUnavailable, url)
      t.match(error.message, message, url)
    }),
  )
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
