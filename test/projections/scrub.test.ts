/** What a deleted customer's documents said leaves the disk, also where the process that was to see to it was killed. */
import '../support/needs-redis.ts'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { encode } from '../../eventstore/codec.ts'
import { chained } from '../../eventstore/hash-chain.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { createApplier } from '../../projections/worker/apply-events.ts'
import { createScrubbing } from '../../projections/worker/scrubbing.ts'
import { SILENT } from '../../runtime/log.ts'
import type { CustomerEvent } from '../../schema/events.ts'
import { startRedis } from '../support/redis.ts'
import { registered } from '../support/registered.ts'
import { until } from '../support/until.ts'
import { collect, openStores } from './support.ts'

const TRACE = 'Quuxington'

const PLACES: Record<string, (t: Test, folder: string) => Promise<{ url: string; folder: string }>> = {
  SQLite: async (_, folder) => ({
    url: `sqlite:${join(folder, 'documents', 'readmodel.db')}`,
    folder: join(folder, 'documents'),
  }),
  'Redis with an append-only file': (t) =>
    startRedis(t, { persistent: true, args: ['--appendonly', 'yes', '--rdbcompression', 'no', '--save', ''] }),
}

async function isOnDisk(folder: string): Promise<boolean> {
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue
    const text = await readFile(join(entry.parentPath, entry.name), 'latin1').catch(() => '') // just replaced
    if (text.includes(TRACE)) return true
  }
  return false
}

for (const [name, placeOf] of Object.entries(PLACES)) {
  t.test(name, async (t) => {
    const { folder, eventStore } = await openStores(t)
    const place = await placeOf(t, folder)
    const open = async (): Promise<ReadModel> => {
      const readModel = await openReadModel(place.url)
      t.teardown(() => readModel.close())
      return readModel
    }
    const append = async (...events: CustomerEvent[]) => {
      const at = new Date().toISOString()
      const encoded = events.map((event) => {
        const id = crypto.randomUUID()
        return encode(event, id, { $correlationId: id, $causationId: id, actor: 'test', at })
      })
      await chained(eventStore).append('customer-7', encoded, { expected: 'any' })
      return (await collect(eventStore.readStream('customer-7'))).slice(-events.length)
    }
    const { data } = registered(7, 'zoe@example.com') as Extract<CustomerEvent, { type: 'CustomerRegistered' }>
    const register = { type: 'CustomerRegistered', data: { ...data, lastname: TRACE } } as const
    const rename = { type: 'CustomerDetailsChanged', data: { firstname: 'Zora' } } as const
    const applierOf = (readModel: ReadModel) =>
      createApplier({ eventStore, readModel, onFailure: ({ error }) => t.fail(`${error}`) })

    const next = await open()
    const killed = await open()
    // It writes, and is gone before it scrubs.
    const applier = applierOf({ ...killed, scrub: () => new Promise(() => {}) })
    await applier.apply(await append(register, rename))
    t.equal(await next.isScrubPending(), false)
    await until('it is on the disk', () => isOnDisk(place.folder))
    await applier.apply(await append({ type: 'CustomerDeleted', data: {} }))
    t.match(await next.documents([7]), [{ status: 'deleted' }])
    t.equal(await next.isScrubPending(), true)
    t.equal(await isOnDisk(place.folder), true, 'still')

    await applierOf(next).apply([]) // as a worker does when it has caught up
    await until('it is off the disk', async () => !(await isOnDisk(place.folder)))
    await until('and nothing is owed', async () => !(await next.isScrubPending()))
  })
}

t.test(
  'noted before the document is overwritten, whenever the customer was deleted; tried until it succeeds',
  async (t) => {
    const { eventStore, readModel } = await openStores(t)
    const calls: string[] = []
    const lines: string[] = []
    const write = (level: string) => (details: object, message: string) =>
      void lines.push(`${level}: ${message} ${JSON.stringify(details)}`)
    const log = { info: write('info'), warn: write('warn'), error: write('error') }
    let failures = 1
    const watched: ReadModel = {
      ...readModel,
      requestScrub: () => {
        calls.push('owe')
        return readModel.requestScrub()
      },
      put: (writes, newest) => {
        calls.push(`put ${writes.map(({ document }) => document.status)}`)
        return readModel.put(writes, newest)
      },
      scrub: async () => {
        calls.push('scrub')
        if (failures-- > 0) throw new Error('away')
        await readModel.scrub()
      },
    }
    const applier = createApplier({ eventStore, readModel: watched, onFailure: ({ error }) => t.fail(`${error}`), log })
    const longAgo = new Date('2020-01-01T00:00:00Z')
    const event = (revision: number, event: CustomerEvent) => {
      const id = crypto.randomUUID()
      const metadata = { $correlationId: id, $causationId: id, actor: 'test', at: longAgo.toISOString() }
      const position = { commit: BigInt(revision + 1), prepare: BigInt(revision + 1) }
      const stored = encode(event, id, metadata)
      return {
        ...stored,
        stream: 'customer-7',
        revision,
        position,
        isJson: true,
        created: longAgo,
        metadata: stored.metadata,
      }
    }
    await applier.apply([event(0, registered(7, 'zoe@example.com'))])
    await applier.apply([event(1, { type: 'CustomerDeleted', data: {} })])
    t.same(calls, ['put registered', 'owe', 'put deleted'])
    await until('it was tried again', () => calls.filter((call) => call === 'scrub').length === 2)
    await until('nothing is owed', async () => !(await readModel.isScrubPending()))
    await until('both are logged', () => lines.length === 2)
    t.match(lines, [
      /^warn: .* not rewritten: erased data may still be in them; it retries {"reason":"away"}$/,
      /^info: .* rewritten again/,
    ])
  },
)

t.test('a deletion while the files are being rewritten has them rewritten once more', async (t) => {
  const { readModel } = await openStores(t)
  let times = 0
  const scrubbing = createScrubbing({
    ...readModel,
    async scrub() {
      if (++times === 1) scrubbing.schedule()
      await readModel.scrub()
    },
  })
  scrubbing.schedule()
  await until('it is done twice', () => times === 2)
})

t.test('once it is ended, as before the read model is closed, nothing is tried or told', async (t) => {
  const { readModel } = await openStores(t)
  const tried: string[] = []
  const told: string[] = []
  const log = { ...SILENT, warn: (_: object, message: string) => void told.push(message) }
  const ended = (name: string, end: AbortController) =>
    createScrubbing(
      {
        ...readModel,
        async scrub() {
          tried.push(name)
          end.abort()
          throw new Error('closed')
        },
      },
      { log, signal: end.signal },
    )
  const [before, meanwhile] = [new AbortController(), new AbortController()]
  ended('before', before).schedule()
  before.abort()
  ended('meanwhile', meanwhile).schedule()
  await until('the second is tried, after the time of the first', () => tried.length > 0)
  t.same(tried, ['meanwhile'])
  t.same(told, [])
})
