/** What is left in Redis where an operation ends halfway or is refused. */
import '../../support/needs-redis.ts'
import t, { type Test } from 'tap'
import { type Checkpoint, type ReadModel, ReadModelUnavailable } from '../../../projections/read-model.ts'
import { openRedisReadModel } from '../../../projections/redis/read-model.ts'
import { aCheckpoint, aDocument, NOTHING } from '../../contract/read-model/support.ts'
import { startRedis } from '../../support/redis.ts'
import { untilDone } from '../../support/until.ts'

function open(t: Test, url: string): ReadModel {
  const readModel = openRedisReadModel(url, { settleMs: 0 })
  t.teardown(() => readModel.close())
  return readModel
}

t.test('the place of the newest event is stored before the documents that reflect it', async (t) => {
  const server = await startRedis(t)
  const readModel = open(t, server.url)
  const put = (document: number, commit: bigint) => {
    const { position, id, stream, revision } = aCheckpoint(commit)
    return readModel.put([{ document: aDocument(document, 0), expected: -1 }], { position, id, stream, revision })
  }
  await put(1, 1n) // from here on the server knows the scripts
  await server.command('CONFIG', 'SET', 'slowlog-log-slower-than', '0')
  await put(2, 2n)
  const newestFirst = await server.command('SLOWLOG', 'GET', '50')
  const keys = [...newestFirst.matchAll(/^customer:\{(newest|2)\}$/gm)].map(([, key]) => key)
  t.same(new Set(keys.reverse()), new Set(['newest', '2']))
  t.ok(keys.indexOf('2') > keys.lastIndexOf('newest'), `who is killed in between has told of them: ${keys}`)
})

t.test('what the user may not read does not count as missing', async (t) => {
  const server = await startRedis(t)
  const readModel = open(t, server.url)
  await readModel.switchGeneration(1, 2)
  await readModel.follow()
  await readModel.setCheckpoint(aCheckpoint(1n), null)
  for (const command of ['get', 'hgetall']) {
    await server.command('ACL', 'SETUSER', command, 'on', '>secret', '~*', '+@all', `-${command}`)
  }
  const [noText, noHash] = ['get', 'hgetall'].map((user) =>
    open(t, server.url.replace('://', `://${user}:secret@`)),
  ) as [ReadModel, ReadModel]
  const told = { name: 'ReadModelUnavailable', message: /NOPERM/ }
  await t.rejects(noText.get([1]), told)
  await t.rejects(noText.acknowledge(1, 1), told)
  await t.rejects(noHash.follow(), told, 'or the first generation would count as live')
  await t.rejects(noHash.isScrubPending(), told)
})

t.test('a reset that fails halfway: nothing counts as complete, and whose documents are left is known', async (t) => {
  const server = await startRedis(t)
  const readModel = open(t, server.url)
  // It may not remove documents.
  await server.command('ACL', 'SETUSER', 'app', 'on', '>secret', '+@all', '~customer:{[^0-9]*', '~customer:seal:*')
  const limited = open(t, server.url.replace('://', '://app:secret@'))
  // In which order keys are removed depends on their names.
  for (let id = 1; id <= 12; id++) {
    const { position, stream, revision, id: eventId } = aCheckpoint(BigInt(id))
    const place = { position, stream, revision, id: eventId }
    await readModel.put([{ document: aDocument(id, 0), expected: -1 }], place)
    await readModel.setCheckpoint(aCheckpoint(BigInt(id)), null)
    t.same(await readModel.get([id]), [{ document: aDocument(id, 0), acknowledged: -1 }])
    await t.rejects(limited.reset(), ReadModelUnavailable)
    t.same(await readModel.documents([id]), [aDocument(id, 0)])
    t.same(await readModel.get([id]), [NOTHING])
    t.equal(await readModel.getCheckpoint(), null)
    t.same(await readModel.newest(), place)
    await readModel.reset()
  }
  await t.test('nor does a generation that is removed in part', async (t) => {
    const next = openRedisReadModel(server.url, { settleMs: 0, generation: 2 })
    t.teardown(() => next.close())
    await server.command('ACL', 'SETUSER', 'app', '~customer:2:{[^0-9]*', '~customer:2:seal:*')
    for (let id = 1; id <= 12; id++) {
      await next.follow() // as a worker does who finds it empty: it is listed again
      await next.put([{ document: aDocument(id, 0), expected: -1 }])
      await next.setCheckpoint(aCheckpoint(1n), null)
      await t.rejects(limited.dropGeneration(2), ReadModelUnavailable)
      t.match(await readModel.generations(), [{ number: 1 }, { number: 2, checkpoint: null }])
      await readModel.dropGeneration(2)
      t.match(await next.documents([id]), [null])
    }
  })
})

t.test('a server that restarts while the read model is being filled: it is gone on from there', async (t) => {
  const server = await startRedis(t, { persistent: true })
  const readModel = open(t, server.url)
  const [one, two] = [1n, 2n].map((commit) => aCheckpoint(commit, { complete: false })) as [Checkpoint, Checkpoint]
  await readModel.setCheckpoint(one, null)
  await readModel.put([{ document: aDocument(1, 0), expected: -1 }])
  await server.stop()
  await server.start()
  await untilDone('it answers', () => readModel.ping())
  t.same(await readModel.setCheckpoint(two, one), one, 'a worker that did not notice is told')
  t.same(await readModel.setCheckpoint(two, one), two)
  t.same(await readModel.get([1]), [NOTHING])
  t.same(await readModel.setCheckpoint(aCheckpoint(3n), two), aCheckpoint(3n))
  t.same(await readModel.get([1]), [{ document: aDocument(1, 0), acknowledged: -1 }])
})
