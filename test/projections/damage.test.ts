/** A value that can't be read holds nobody up: the service answers from the log, and the operator's commands go on. */
import '../support/needs-redis.ts'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { openReadModel } from '../../projections/open-read-model.ts'
import { runCommand } from '../support/commands.ts'
import { environment, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'

interface Place {
  readonly url: string
  /** Of the first generation. */
  breakDocument(id: number): Promise<void>
  breakCheckpoint(): Promise<void>
  breakParked(id: number): Promise<void>
}

const PLACES: Record<string, (t: Test, folder: string) => Promise<Place>> = {
  async sqlite(_, folder) {
    const path = join(folder, 'readmodel.db')
    const run = async (sql: string, ...values: (string | number)[]) => {
      const database = new DatabaseSync(path, { timeout: 5_000 })
      database.prepare(sql).run(...values)
      database.close()
    }
    return {
      url: `sqlite:${path}`,
      breakDocument: (id) => run(`INSERT OR REPLACE INTO documents VALUES (1, ?, 0, '{"broken')`, id),
      breakCheckpoint: () => run(`UPDATE checkpoints SET "commit" = 'garbage'`),
      breakParked: (id) => run(`INSERT OR REPLACE INTO parked VALUES (1, ?, 'garbage')`, id),
    }
  },
  async redis(t) {
    const { url, command } = await startRedis(t)
    return {
      url,
      async breakDocument(id) {
        await command('DEL', `customer:{${id}}`)
        // One is a text, the next one a list.
        await (id % 2 === 0 ? command('SET', `customer:{${id}}`, 'garbage') : command('RPUSH', `customer:{${id}}`, 'x'))
      },
      breakCheckpoint: async () => void (await command('SET', 'customer:{checkpoint}', 'garbage')),
      breakParked: async (id) => void (await command('HSET', 'customer:{parked}', String(id), 'garbage')),
    }
  },
}

for (const [name, placeOf] of Object.entries(PLACES)) {
  t.test(name, async (t) => {
    const folder = await temporaryFolder(t)
    const place = await placeOf(t, folder)
    const env = { ...environment(folder), READMODEL_URL: place.url }
    const { send, readModel } = await startSubgraph(t, { folder, env })
    const [first, second, third] = [await signUp(send), await signUp(send), await signUp(send)]
    const all = [first, second, third]
    const ids = all.map(({ id }) => id)
    const documents = () => readModel.documents(ids)
    await until('all are in their documents', async () => (await documents()).every((document) => document !== null))
    await until('complete', async () => (await readModel.getCheckpoint())?.complete === true)
    const command = async (script: string, ...args: string[]) => {
      const ended = await runCommand(folder, [script, ...args], env)
      t.notMatch(ended.output, /^\s+at /m, `${script} ${args}: no stack`)
      return ended
    }
    const rename = (token: string, firstname: string) =>
      send(`mutation { updateCustomer(input: { firstname: "${firstname}" }) { customer { firstname } } }`, { token })

    await t.test('queries and commands of the customer are answered, and the document is written anew', async (t) => {
      for (const { id, token } of [first, second]) {
        await place.breakDocument(id)
        t.same(await send('{ customer { firstname } }', { token }), {
          status: 200,
          data: { customer: { firstname: 'Ann' } },
        })
        t.equal((await rename(token, 'Bea')).errors, undefined)
        await until('written anew', async () => (await readModel.documents([id]))[0]?.firstname === 'Bea')
      }
    })

    await t.test('the projection goes on for all others', async () => {
      await place.breakDocument(first.id)
      await place.breakParked(first.id)
      await place.breakCheckpoint()
      await rename(third.token, 'Cid')
      await until(
        'the third is up to date',
        async () => (await readModel.documents([third.id]))[0]?.firstname === 'Cid',
      )
      const another = await openReadModel(place.url)
      t.teardown(() => another.close())
      await until('and the checkpoint is set anew', async () => (await another.getCheckpoint())?.complete === true)
    })

    await t.test('verify lists it, rebuild replaces it, the others have no stack', async (t) => {
      await place.breakDocument(first.id)
      await place.breakDocument(second.id)
      await place.breakDocument(4_004)
      await place.breakParked(second.id)
      const verified = await command('rebuild', '--verify')
      t.equal(verified.code, 1)
      for (const id of [first.id, second.id])
        t.match(verified.output, `customer ${id}: its document can't be read; the log`)
      t.match(verified.output, "customer 4004: its document can't be read; there is no stream customer-4004")
      t.notMatch(verified.output, `customer ${third.id}:`)
      t.match(await command('parked'), { code: 0, output: /No event is parked/ })
      t.match(await command('rebuild', '--status'), {
        code: 0,
        output: /generation 1: live, complete/,
      })
      const rebuilt = await command('rebuild')
      t.match(rebuilt, { code: 0, output: /Generation 2 is live/ })
      t.match(rebuilt.output, `customer ${first.id}: its document can't be read`)
      t.match(await command('rebuild', '--verify'), { code: 0 })
    })
  })
}
