/** What the files of a Redis server hold once they have been rewritten after an erasure. */
import '../../support/needs-redis.ts'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type ReadModel, ReadModelUnavailable } from '../../../projections/read-model.ts'
import { REFUSED } from '../../../projections/redis/errors.ts'
import { rewriteFiles } from '../../../projections/redis/persistence-files.ts'
import { openRedisReadModel } from '../../../projections/redis/read-model.ts'
import { aDocument } from '../../contract/read-model.ts'
import { type RedisServer, startRedis } from '../../support/redis.ts'
import { until, untilDone } from '../../support/until.ts'

function open(t: Test, url: string): ReadModel {
  const readModel = openRedisReadModel(url, { settleMs: 0 })
  t.teardown(() => readModel.close())
  return readModel
}

t.test(
  'scrubbed, its files tell nothing of what was; none is made; a user without the rights does no harm',
  async (t) => {
    const [both, none] = await Promise.all([
      startRedis(t, { persistent: true, args: ['--appendonly', 'yes', '--rdbcompression', 'no'] }),
      startRedis(t),
    ])
    const found = async ({ folder }: RedisServer, text: string) => {
      const entries = await readdir(folder, { withFileTypes: true, recursive: true })
      const files = entries.filter((entry) => entry.isFile())
      const contents = await Promise.all(
        files.map(({ parentPath, name }) => readFile(join(parentPath, name), 'latin1')),
      )
      return contents.filter((content) => content.includes(text)).length
    }
    const manifest = () => readFile(join(both.folder, 'appendonlydir', 'appendonly.aof.manifest'), 'utf8')
    const readModel = open(t, both.url)
    await readModel.put([{ document: aDocument(1, 0, { lastname: 'Quuxington' }), expected: -1 }])
    await both.command('save')
    await readModel.put([{ document: aDocument(1, 1), expected: 0 }])
    t.equal(await found(both, 'Quuxington'), 2, 'in the snapshot and in the log')
    await readModel.scrub()
    t.equal(await found(both, 'Quuxington'), 0)
    t.ok((await found(both, 'at 1')) > 0, 'what is there now is')

    // What is overwritten while the files are being written may be in them.
    await both.command('CONFIG', 'SET', 'rdb-key-save-delay', '200000')
    const scrubbed = readModel.scrub()
    await until('it writes', async () => /^(aof_rewrite|rdb_bgsave)_in_progress:1/m.test(await both.command('INFO')))
    await readModel.requestScrub()
    await both.command('CONFIG', 'SET', 'rdb-key-save-delay', '0')
    await scrubbed
    t.equal(await readModel.isScrubPending(), true)
    await readModel.scrub()
    t.equal(await readModel.isScrubPending(), false)

    // Files that can't be written now are still owed: the log, that of its files, which a full disk makes Redis refuse to
    // begin without, and the snapshot.
    const sequence = Number(/^file appendonly\.aof\.(\d+)\.base/m.exec(await manifest())?.[1])
    await both.command('CONFIG', 'SET', 'stop-writes-on-bgsave-error', 'no')
    const inTheWay = [
      `appendonlydir/appendonly.aof.${sequence + 1}.base.rdb`,
      'appendonlydir/temp-appendonly.aof.manifest',
      'dump.rdb',
    ]
    for (const path of inTheWay.map((name) => join(both.folder, name))) {
      await rm(path, { force: true })
      await mkdir(join(path, 'in the way'), { recursive: true })
      await readModel.requestScrub()
      await t.rejects(readModel.scrub(), ReadModelUnavailable, path)
      t.equal(await readModel.isScrubPending(), true)
      await rm(path, { recursive: true })
      await readModel.scrub()
      t.equal(await readModel.isScrubPending(), false)
    }

    await open(t, none.url).scrub()
    t.same(await readdir(none.folder), [])
    // Somebody has had a snapshot made.
    const unsaved = open(t, none.url)
    await unsaved.put([{ document: aDocument(1, 0, { lastname: 'Quuxington' }), expected: -1 }])
    await none.command('config', 'set', 'rdbcompression', 'no')
    await none.command('save')
    await none.stop()
    await none.start() // from here on it counts no snapshots of before
    await untilDone('it answers', () => unsaved.put([{ document: aDocument(1, 1), expected: 0 }]))
    t.equal(await found(none, 'Quuxington'), 1)
    await unsaved.scrub()
    t.equal(await found(none, 'Quuxington'), 0)

    await both.command('ACL', 'SETUSER', 'app', 'on', '>secret', '~*', '+@all', '-config', '-bgsave', '-bgrewriteaof')
    await open(t, both.url.replace('://', '://app:secret@')).scrub()
  },
)

t.test('a server that still loads its files rewrites them once it has', async (t) => {
  const slow = ['--loading-process-events-interval-bytes', '1024', '--key-load-delay', '100000']
  const args = ['--enable-debug-command', 'yes', '--rdbcompression', 'no', ...slow]
  const server = await startRedis(t, { persistent: true, args })
  const persistence = () => server.command('INFO', 'persistence')
  await server.command('MSET', ...[...'abcdefghijklmnopqrst'].flatMap((key) => [key, key.repeat(5_000)]))
  const loaded = server.command('DEBUG', 'RELOAD')
  await until('it loads', async () => /^loading:1/m.test(await persistence()))
  await rewriteFiles((...command) => server.command(...command).catch(() => REFUSED))
  t.match(await persistence(), /^loading:0[\s\S]*^rdb_saves:1/m)
  await loaded
})
