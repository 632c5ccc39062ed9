/**
 * A rolling upgrade from the last release to the working tree, and back, under load: both run as subgraphs and projections
 * on the same stores. docs/upgrades.md says what may be expected.
 */
import '../support/needs-redis.ts'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openLog } from '../../eventstore/open-event-store.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { type GroupProjectionOptions, startGroupProjection } from '../../projections/worker/group.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import {
  CREATE_ADDRESS,
  client,
  environment,
  freshEmail,
  PASSWORD,
  type Send,
  signIn,
  signUp,
  startSubgraph,
  TEXAN,
  temporaryFolder,
} from '../support/graph.ts'
import { freePort } from '../support/ports.ts'
import { startScript, untilReady } from '../support/processes.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { type Release, unpackLastRelease } from './release.ts'

/** What runs of one release. */
interface Running {
  readonly name: string
  readonly url: string
  stopSubgraph(): Promise<void>
  stopProjection(): Promise<void>
}

/** The instances that a load balancer would send requests to. */
type Pool = { readonly name: string; readonly send: Send }[]

/** What a client and its load balancer answer by another try: the instance is gone, or drains. */
const isPassing = (text: string) => /fetch failed|ECONNRESET|socket|terminated/i.test(text)

/** The last release, as processes. */
async function startRelease(t: Test, release: Release, env: Record<string, string>): Promise<Running> {
  const start = async (kind: 'subgraph' | 'projections', variable: string, ...more: string[]) => {
    const port = String(await freePort())
    const [script, ...args] = release.command(kind)
    const started = startScript(t, script, release.folder, { ...env, [variable]: port }, [...args, ...more])
    return { started, port }
  }
  const [subgraph, projections] = await Promise.all([
    start('subgraph', 'SUBGRAPH_PORT'),
    start('projections', 'PROJECTIONS_PORT', '--mode', 'group'),
  ])
  const url = `http://127.0.0.1:${subgraph.port}`
  await untilReady(subgraph.started, `${url}/readyz`)
  await untilReady(projections.started, `http://127.0.0.1:${projections.port}/healthz`)
  const stop = async ({ started }: typeof subgraph) => {
    t.equal(await started.end('SIGTERM'), 0, `${release.name} drains`)
  }
  return {
    name: release.name,
    url,
    stopSubgraph: () => stop(subgraph),
    stopProjection: () => stop(projections),
  }
}

/** The working tree, in this process. */
async function startWorkingTree(t: Test, env: Record<string, string>): Promise<Running> {
  const { app, eventStore } = await startSubgraph(t, { env, projection: false })
  const { READMODEL_URL, PROJECTION_GROUP } = loadConfiguration(env)
  const [readModel, fillModel] = await Promise.all([openReadModel(READMODEL_URL), openReadModel(READMODEL_URL)])
  const projection = startGroupProjection({
    eventStore: eventStore as GroupProjectionOptions['eventStore'],
    readModel,
    fillModel,
    group: PROJECTION_GROUP,
  })
  t.teardown(async () => {
    await projection.stop()
    await readModel.close()
    await fillModel.close()
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return { name: 'the working tree', url, stopSubgraph: () => app.close(), stopProjection: () => projection.stop() }
}

/** A customer whose own client is the only one that changes them, so that it knows what each answer has to say. */
function createClient(pool: Pool, faults: string[]) {
  const email = freshEmail()
  const state = { lastname: 'Lee', addresses: 0, acknowledged: 0, token: '', id: 0 }
  let calls = 0

  /** Sends to the instances in turn, and again with the same key to another one if the first is gone. */
  async function ask(query: string, variables: object = {}) {
    const key = crypto.randomUUID()
    for (let tries = 0; ; tries++) {
      const instance = pool[calls++ % pool.length]
      try {
        if (!instance) throw new Error('fetch failed: nobody is there')
        const headers = { 'idempotency-key': key }
        const answer = await instance.send(query, { variables, headers, ...(state.token && { token: state.token }) })
        if (answer.errors) faults.push(`${instance.name}: ${query}: ${JSON.stringify(answer.errors)}`)
        return answer.data
      } catch (error) {
        const text = `${(error as Error).message} ${String((error as Error).cause ?? '')}`
        if (tries > 50 || !isPassing(text)) throw error
        await delay(20)
      }
    }
  }

  const read = async () => {
    const data = await ask('{ customer { lastname email addresses { city } } }')
    const { lastname, addresses } = data?.customer ?? {}
    if (lastname !== state.lastname || addresses?.length !== state.addresses) {
      faults.push(
        `read ${lastname}, ${addresses?.length} addresses; acknowledged were ${state.lastname}, ${state.addresses}`,
      )
    }
  }

  return {
    state,
    email,
    async signIn() {
      const query =
        'mutation($email: String!, $password: String!) { generateCustomerToken(email: $email, password: $password) { token } }'
      state.token = ''
      state.token = (await ask(query, { email, password: PASSWORD }))?.generateCustomerToken?.token ?? ''
    },
    async register() {
      const input = { firstname: 'Ann', lastname: 'Lee', email, password: PASSWORD }
      const query = 'mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id } } }'
      state.id = (await ask(query, { input }))?.createCustomer?.customer?.id
    },
    async step() {
      const lastname = `Lee ${state.acknowledged + 1}`
      const query =
        'mutation($input: CustomerUpdateInput!) { updateCustomerV2(input: $input) { customer { lastname } } }'
      if ((await ask(query, { input: { lastname } }))?.updateCustomerV2) {
        state.lastname = lastname
        state.acknowledged++
      }
      await read()
      if (state.acknowledged % 10 === 0) {
        if ((await ask(CREATE_ADDRESS, { input: TEXAN }))?.createCustomerAddress) state.addresses++
        await read()
      }
    },
    read,
  }
}

/** A customer comes and goes, served by both releases: whatever one has done counts for the other, tokens and their end too. */
async function visit(t: Test, [one, other]: Pool): Promise<void> {
  if (!one || !other) throw new Error('There are not two instances.')
  const { id, token, email } = await signUp(one.send)
  t.match((await other.send('{ customer { email } }', { token })).data, { customer: { email } }, other.name)
  const change =
    'mutation($p: String!, $q: String!) { changeCustomerPassword(currentPassword: $p, newPassword: $q) { id } }'
  t.notOk(
    (await other.send(change, { variables: { p: PASSWORD, q: 'An0ther-one' }, token })).errors,
    `changed by ${other.name}`,
  )
  const again = await signIn(one.send, email, 'An0ther-one')
  t.ok(again, `signed in by ${one.name}`)
  t.notOk((await one.send('mutation { revokeCustomerToken { result } }', { token: again })).errors)
  await until('the token is refused', async () =>
    Boolean((await other.send('{ customer { id } }', { token: again })).errors),
  )
  t.ok(id)
  const last = await signIn(other.send, email, 'An0ther-one')
  t.notOk((await other.send('mutation { deleteCustomer }', { token: last })).errors)
  await until('the customer is gone', async () =>
    Boolean((await one.send('{ customer { id } }', { token: last })).errors),
  )
}

async function startLoad(pool: Pool, faults: string[]) {
  const clients = [createClient(pool, faults), createClient(pool, faults), createClient(pool, faults)]
  for (const each of clients) {
    await each.register()
    await each.signIn()
  }
  let isOver = false
  const running = Promise.all(
    clients.map(async (each) => {
      while (!isOver) {
        await each.step()
        await delay(60) // so that starting processes get their share
      }
    }),
  )
  running.catch(() => {})
  return {
    clients,
    /** Waits until each client has had so many more writes acknowledged. */
    async more(count: number) {
      const before = clients.map(({ state }) => state.acknowledged)
      const late = () => clients.some(({ state }, index) => state.acknowledged < (before[index] ?? 0) + count)
      const goesOn = until('the load goes on', () => !late())
      await Promise.race([goesOn, running]).catch((cause) => {
        throw new Error(`The load stands still: ${faults.join('\n')}`, { cause })
      })
    },
    async stop() {
      isOver = true
      await running
    },
  }
}

const unpacked = mkdtempSync(join(tmpdir(), 'release-'))
process.on('exit', () => rmSync(unpacked, { recursive: true, force: true }))
const old = unpackLastRelease(join(unpacked, 'release'))
// Left out visibly, as the tests without a Redis are.
if (typeof old === 'string') {
  t.plan(0, old)
  process.exit(0)
}

t.test('a rolling upgrade from the last release, and back, under load', async (t) => {
  t.comment(`from ${old.name}`)
  const [events, redis, folder] = await Promise.all([startEventStoreServer(t), startRedis(t), temporaryFolder(t)])
  const env = {
    ...environment(folder),
    EVENTSTORE_URL: events.url,
    KEYS_URL: `sqlite:${join(folder, 'keys.db')}`,
    READMODEL_URL: redis.url,
    LOG_LEVEL: 'warn',
  }
  const [pool, faults]: [Pool, string[]] = [[], []]
  const add = (running: Running) => {
    pool.push({ name: running.name, send: client(`${running.url}/graphql`) })
    return running
  }
  const remove = async (running: Running) => {
    await running.stopProjection()
    await load.more(3)
    const ended = running.stopSubgraph()
    await delay(50) // a load balancer notices later that it is gone
    pool.splice(
      pool.findIndex(({ name }) => name === running.name),
      1,
    )
    await ended
    await load.more(5)
  }

  const before = add(await startRelease(t, old, env))
  const load = await startLoad(pool, faults)
  await load.more(3)
  // As the documentation says: what an older release can read, while it runs.
  const cipher = old.knows('CIPHER') ? {} : { CIPHER: 'aes-256-gcm' }
  const after = add(await startWorkingTree(t, { ...env, ...cipher }))
  await load.more(5)
  await visit(t, pool)
  await visit(t, pool.toReversed())
  await remove(before)
  t.same(faults, [], 'the upgrade')

  add(await startRelease(t, old, env))
  await load.more(5)
  await remove(after)
  t.same(faults, [], 'and the way back')
  await load.stop()
  for (const each of load.clients) await each.read()
  t.same(faults, [])

  const configuration = loadConfiguration(env)
  const { eventStore } = await openLog(configuration)
  const readModel = await openReadModel(configuration.READMODEL_URL)
  t.teardown(async () => {
    await readModel.close()
    await eventStore.close()
  })
  for (const { state } of load.clients) {
    const fold = await foldCustomer(eventStore, state.id)
    t.match(
      fold,
      { lastname: state.lastname, addresses: { length: state.addresses } },
      'every acknowledged write is in the log',
    )
    await until('it is projected', async () => (await readModel.documents([state.id]))[0]?.revision === fold.revision)
    t.same((await readModel.documents([state.id]))[0], fold, 'and in the document')
  }
})
