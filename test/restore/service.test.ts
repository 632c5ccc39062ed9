/** The event store is restored from a backup, or replaced by another log, while the service stays up; or before it starts. */
import '../support/needs-redis.ts'
import t, { type Test } from 'tap'
import { openLog } from '../../eventstore/open-event-store.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { environment, type Send, type SubgraphFixture, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { startRedis } from '../support/redis.ts'
import { until, untilDone } from '../support/until.ts'
import { backUp, register, rename, restore, whoAmI } from './support.ts'

const readModels: Record<string, (t: Test, folder: string) => Promise<string>> = {
  SQLite: async (_, folder) => environment(folder).READMODEL_URL as string,
  Redis: async (t) => (await startRedis(t)).url,
}

async function startService(t: Test, readModel: string) {
  const folder = await temporaryFolder(t)
  const server = await startEventStoreServer(t)
  const READMODEL_URL = await (readModels[readModel] as (t: Test, folder: string) => Promise<string>)(t, folder)
  const env = { EVENTSTORE_URL: server.url, READMODEL_URL }
  const configuration = loadConfiguration({ ...environment(folder), ...env })
  return { folder, server, env, configuration }
}

async function project(t: Test, configuration: ReturnType<typeof loadConfiguration>) {
  const { eventStore } = await openLog(configuration)
  const readModel = await openReadModel(configuration.READMODEL_URL)
  const projection = startProjection({ eventStore, readModel })
  const stop = async () => {
    await projection.stop()
    await readModel.close()
    await eventStore.close()
  }
  t.teardown(stop)
  return { ...projection, readModel, stop }
}

const readsFromDocuments = async ({ app }: SubgraphFixture) =>
  Number(/^customer_reads_total{source="read-model"} (\d+)$/m.exec((await app.inject('/metrics')).body)?.[1])

const readiness = async (app: SubgraphFixture['app']): Promise<{ readonly degraded: boolean }> =>
  (await app.inject('/readyz')).json()

/** Once the event store answers again. */
const untilBack = <T>(work: () => Promise<T>) => untilDone('the event store is back', work)

for (const kind of Object.keys(readModels)) {
  t.test(
    `restored under the running service, documents in ${kind}`,
    builtIn('it puts a backup into the server'),
    async (t) => {
      const { folder, server, env, configuration } = await startService(t, kind)
      const projection = await project(t, configuration)
      const open = async (): Promise<Send> => (await startSubgraph(t, { folder, env, projection: false })).send
      const [one, two] = [await open(), await open()]
      const kept = await register(one, 'Ann')
      const backup = backUp(server)
      // Of the other instance: a block of ids that the backup does not have.
      const lost = [await register(two, 'Bea'), await register(two, 'Cyd'), await register(two, 'Dot')]
      for (const { token } of lost) for (const name of ['Moe', 'Poe']) await rename(two, token, name)
      for (const name of ['Roe', 'Soe']) await rename(one, kept.token, name)
      await projection.caughtUp()
      for (const send of [one, two]) t.equal((await whoAmI(send, kept.token)).data.customer.lastname, 'Soe')

      await restore(server, backup)
      const renamed = await untilBack(async () => {
        const answer = await rename(one, kept.token, 'Toe')
        if (answer.errors) throw new Error(JSON.stringify(answer.errors))
        return answer
      })
      t.match(renamed.data.updateCustomerV2.customer, { firstname: 'Ann', lastname: 'Toe' }, 'decided on what is there')
      const later: Awaited<ReturnType<typeof register>>[] = []
      for (const firstname of ['Eve', 'Fay', 'Gil']) {
        const customer = await register(two, firstname)
        later.push(customer)
        for (const send of [one, two]) {
          const { data } = await whoAmI(send, customer.token)
          t.match(data.customer, { firstname, lastname: 'Lee', email: customer.email }, `${firstname} sees herself`)
        }
      }
      t.same(
        later.map(({ id }) => id),
        lost.map(({ id }) => id),
        'the ids are given out again',
      )
      for (const { token } of lost) {
        for (const send of [one, two]) {
          const { data, errors } = await whoAmI(send, token)
          t.match(
            errors,
            [{ extensions: { category: 'graphql-authentication' } }],
            'an old token opens nobody’s account',
          )
          t.notOk(data?.customer)
        }
        t.ok((await rename(one, token, 'Zoe')).errors)
      }
      for (const { email } of lost) {
        const answer = await one(
          `mutation { generateCustomerToken(email: "${email}", password: "Str0ng-pass") { token } }`,
        )
        t.ok(answer.errors, 'nobody of the log that is gone signs in')
      }
      await projection.caughtUp()
      for (const customer of [...later, kept]) {
        const [document] = await projection.readModel.documents([customer.id])
        t.match(document, { firstname: customer.firstname, email: customer.email }, 'the read model is filled anew')
      }
      const sources = await Promise.all([one, two].map((send) => whoAmI(send, later[0]?.token ?? '')))
      for (const { data } of sources) t.equal(data.customer.firstname, 'Eve')
    },
  )

  t.test(
    `restored while only the projection was down, documents in ${kind}`,
    builtIn('it puts a backup into the server'),
    async (t) => {
      const { folder, server, env, configuration } = await startService(t, kind)
      const projection = await project(t, configuration)
      const { app, send } = await startSubgraph(t, { folder, env, projection: false })
      const backup = backUp(server)
      const lost = await register(send, 'Bea')
      await rename(send, lost.token, 'Moe')
      await projection.caughtUp()
      await projection.stop()

      await restore(server, backup)
      const later = await untilBack(() => register(send, 'Eve'))
      t.equal(later.id, lost.id, 'the id is given out again')
      t.match((await whoAmI(send, later.token)).data.customer, { firstname: 'Eve', email: later.email })
      const fresh = await startSubgraph(t, { folder, env, projection: false })
      t.match((await whoAmI(fresh.send, later.token)).data.customer, { firstname: 'Eve' }, 'one that starts now')
      for (const each of [app, fresh.app]) {
        t.match(await readiness(each), { ready: true, degraded: true }, 'the documents are not used')
        t.match((await each.inject('/metrics')).body, /^read_model_fenced 1$/m)
      }

      const again = await project(t, configuration)
      await again.caughtUp()
      t.match(await again.readModel.documents([later.id]), [{ firstname: 'Eve', email: later.email, revision: 0 }])
      for (const each of [app, fresh.app]) {
        await until('they are used again', async () => (await readiness(each)).degraded === false)
      }
    },
  )
}

t.test(
  'an instance of which the backup has all that it wrote: what it has shown since counts for nobody else',
  builtIn('it puts a backup into the server'),
  async (t) => {
    const { folder, server, env, configuration } = await startService(t, 'SQLite')
    const projection = await project(t, configuration)
    const open = () => startSubgraph(t, { folder, env, projection: false })
    const [one, two] = [await open(), await open()]
    await register(two.send, 'Ann')
    const backup = backUp(server)
    const lost = await register(one.send, 'Bea')
    for (const name of ['Moe', 'Poe', 'Roe']) await rename(one.send, lost.token, name)
    await projection.caughtUp()
    t.equal((await whoAmI(two.send, lost.token)).data.customer.lastname, 'Roe')

    await restore(server, backup)
    const later = await untilBack(() => register(two.send, 'Eve'))
    t.equal(later.id, lost.id, 'the id is given out again')
    await projection.caughtUp()
    await until('her document is believed', async () => {
      const before = await readsFromDocuments(one)
      await whoAmI(one.send, later.token)
      return (await readsFromDocuments(one)) > before
    })
    await projection.stop()
    await rename(two.send, later.token, 'Toe')
    t.equal((await whoAmI(one.send, later.token)).data.customer.lastname, 'Toe')
  },
)

t.test('the projection of another service, with another log, is given the read model', async (t) => {
  const [folder, other] = [await temporaryFolder(t), await temporaryFolder(t)]
  const env = { READMODEL_URL: environment(folder).READMODEL_URL as string }
  const { app, send } = await startSubgraph(t, { folder, env, projection: false })
  const ours = await project(t, loadConfiguration(environment(folder)))
  const ann = await register(send, 'Ann')
  await ours.caughtUp()
  t.match((await whoAmI(send, ann.token)).data.customer, { firstname: 'Ann' })
  await ours.stop()

  const theirs = await startSubgraph(t, { folder: other, projection: false })
  const bea = await register(theirs.send, 'Bea')
  t.equal(bea.id, ann.id)
  const wrong = await project(t, loadConfiguration({ ...environment(other), ...env }))
  await wrong.caughtUp()
  t.match(await wrong.readModel.documents([bea.id]), [{ firstname: 'Bea' }])
  await until('it is noticed', async () => (await readiness(app)).degraded)
  t.match((await whoAmI(send, ann.token)).data.customer, { firstname: 'Ann' }, 'folded')
  await rename(send, ann.token, 'Moe')
  t.match((await whoAmI(send, ann.token)).data.customer, { firstname: 'Ann', lastname: 'Moe' })
  await wrong.stop()

  const again = await project(t, loadConfiguration(environment(folder)))
  await again.caughtUp()
  await until('the documents are used again', async () => !(await readiness(app)).degraded)
  t.match((await whoAmI(send, ann.token)).data.customer, { firstname: 'Ann', lastname: 'Moe' })
})
