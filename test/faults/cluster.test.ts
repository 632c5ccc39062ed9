/**
 * The service on a cluster of event-store nodes and a Redis Cluster, which lose nodes, hang, and are away for longer than
 * the client looks for them: every process goes on by itself, and none has ended. Its workers are given the same events.
 */
import '../support/needs-redis.ts'
import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { filesIn } from '../mail/support.ts'
import { type EventStoreCluster, startEventStoreCluster } from '../support/eventstore-server/cluster.ts'
import { client, environment, openTestLog, signUp } from '../support/graph.ts'
import { aCustomer, customersFile } from '../support/magento-export.ts'
import { startRedisCluster } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { type Part, type Service, startService } from './service.ts'

const root = join(import.meta.dirname, '../..')
const IMPORTED = 500
const FIRST_IMPORTED = 100_000
/** Within seconds, where the machine has the time. */
const RECOVERED_MS = 40_000
/** While there is nothing that could answer. */
const CALM_MS = 500
const RENAME = 'mutation($name: String!) { updateCustomer(input: { firstname: $name }) { customer { firstname } } }'

t.test('two workers alone, and one of a group', async (t) => {
  const [cluster, redis] = await Promise.all([startEventStoreCluster(t), startRedisCluster(t)])
  const service = await startService(t, {
    readModelUrl: redis.url,
    modes: ['catch-up', 'catch-up', 'group'],
    eventStoreUrl: cluster.url,
    withMail: true,
  })

  await t.test('a leader that dies, one that hangs, and 12 s without a node', (t) => loseNodes(t, service, cluster))

  await t.test('a node of Redis is stopped, and then all are flushed', async (t) => {
    await service.under(500)
    await redis.nodes[1]?.stop()
    await service.under(1_000)
    await redis.nodes[1]?.start()
    await service.under(1_000)
    await Promise.all(redis.nodes.map((node) => node.command('FLUSHALL')))
    await service.under(1_000)
    await service.check(t)
  })

  await t.test('nobody projects for 30 s', async (t) => {
    await service.pausedFor(30_000, service.projections)
    await service.check(t)
  })

  await t.test('a worker alone ends under load as well', async (t) => {
    await service.under(500)
    t.equal(await service.projections[0]?.process().end('SIGTERM'), 0)
    await service.under(500)
    await service.check(t)
  })
})

async function loseNodes(t: Test, service: Service, cluster: EventStoreCluster): Promise<void> {
  const { folder, env } = service
  const parts: Readonly<Record<string, Part>> = {
    ...Object.fromEntries(service.subgraphs.map((part, index) => [`subgraph ${index}`, part])),
    ...Object.fromEntries(service.projections.map((part, index) => [`projection ${index}`, part])),
    mail: service.mail as Part,
  }
  const [subgraph] = service.subgraphs
  const send = client(`${subgraph?.url}/graphql`)

  /** Runs a command beside the service; gives its exit code and what it printed. */
  function run(command: string, args: readonly string[]): Promise<{ code: number | null; output: string }> {
    const child = spawn(process.execPath, [join(root, 'bin/customers.js'), command, ...args], {
      cwd: folder,
      env: { ...process.env, ...environment(folder), ...env },
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk
      })
    }
    return new Promise((resolve) => child.on('close', (code) => resolve({ code, output })))
  }

  /** Milliseconds until an append is acknowledged again. */
  async function recovered(): Promise<number> {
    const began = Date.now()
    while (Date.now() - began < RECOVERED_MS) {
      const answer = await send(RENAME, { token, variables: { name: `Name ${began}` } }).catch(() => undefined)
      if (answer?.data?.updateCustomer) break
      await delay(50)
    }
    return Date.now() - began
  }

  const { email, token } = await signUp(send)
  await service.under(500)
  const [first] = [await cluster.leader()]
  await first.stop()
  await cluster.leader()
  t.ok((await recovered()) < RECOVERED_MS, 'after the death of a leader')
  await first.start()
  await cluster.whole()
  const second = await cluster.leader()
  second.hang(true)
  await cluster.leader()
  t.ok((await recovered()) < RECOVERED_MS, 'after a leader that hangs')
  second.hang(false)
  await cluster.whole()
  await service.under(500)

  await writeFile(
    join(folder, 'customers.csv'),
    customersFile(Array.from({ length: IMPORTED }, (_, index) => aCustomer(FIRST_IMPORTED + index))),
  )
  const eventStore = await openTestLog(t, folder, env)
  const firstImported = eventStore.subscribeToStream(`customer-${FIRST_IMPORTED}`, { from: 'start' })
  const importing = run('import', ['customers.csv'])
  // Told at once: a real cluster takes all of them in less time than there is between two looks.
  for await (const { events } of firstImported) if (events.length > 0) break
  service.pace(CALM_MS)
  await Promise.all(cluster.nodes.map((node) => node.stop()))
  const auditing = run('audit', ['history', email])
  await delay(12_000)
  for (const node of cluster.nodes) await node.start()
  await cluster.leader()
  t.ok((await recovered()) < RECOVERED_MS, 'after an outage')
  service.pace()
  await service.under(500)

  const [imported, audited] = await Promise.all([importing, auditing])
  t.equal(imported.code, 0, imported.output)
  t.match(imported.output, 'The import waits for it.', 'it was not over before')
  t.match(imported.output, new RegExp(`customers: ${IMPORTED.toLocaleString('en')} imported|${IMPORTED} imported`))
  t.equal(audited.code, 0, audited.output)

  const mails = (await filesIn(folder)).length
  const other = await signUp(send)
  await send('mutation($email: String!) { requestPasswordResetEmail(email: $email) }', {
    variables: { email: other.email },
  })
  await until('mails are sent', async () => (await filesIn(folder)).length > mails)
  for (const [name, part] of Object.entries(parts)) {
    await until(`${name} is ready`, async () => (await fetch(`${part.url}/readyz`)).ok)
    t.equal(part.process().child.exitCode, null, `${name} has not ended`)
    t.notMatch(part.process().output(), /unhandled/i, name)
  }
  await service.check(t)
}
