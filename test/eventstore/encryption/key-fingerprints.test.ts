/** Master keys from the environment or a plug-in, and `npm run keys`. */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import t from 'tap'
import { checkKeys, checkKeysAtStart } from '../../../eventstore/encryption/key-fingerprints.ts'
import { localMasterKey } from '../../../eventstore/encryption/master-key.ts'
import { addReachability } from '../../../eventstore/encryption/reachability.ts'
import { openLog } from '../../../eventstore/open-event-store.ts'
import { type EventStore, EventStoreUnavailable } from '../../../eventstore/port.ts'
import { foldCustomer } from '../../../projections/fold.ts'
import { loadConfiguration } from '../../../runtime/configuration.ts'
import { runCommand } from '../../support/commands.ts'
import { environment, signUp, startSubgraph, temporaryFolder } from '../../support/graph.ts'
import { until } from '../../support/until.ts'

const hex = () => randomBytes(32).toString('hex')

const keys = (folder: string, env: Record<string, string>, ...args: string[]) =>
  runCommand(folder, ['keys', ...args], env)

t.test('a master key unwraps what it wrapped, as what it was, and nothing else', (t) => {
  const [key, other] = [localMasterKey(randomBytes(32)), localMasterKey(randomBytes(32))]
  const wrapped = key.wrap(Buffer.from('secret'), 'here') as Buffer
  t.equal((key.unwrap(wrapped, 'here') as Buffer).toString(), 'secret')
  t.not(key.id, other.id)
  t.notMatch(wrapped.toString('latin1'), 'secret')
  t.throws(() => key.unwrap(wrapped, 'there'))
  t.throws(() => other.unwrap(wrapped, 'here'))
  for (let index = 0; index < wrapped.length; index++) {
    const changed = Buffer.from(wrapped)
    changed[index] = (changed[index] as number) ^ 1
    t.throws(() => key.unwrap(changed, 'here'), String(index))
  }
  t.throws(() => key.unwrap(wrapped.subarray(0, 20), 'here'))
  t.end()
})

t.test('npm run keys: what there is, and another master key', async (t) => {
  const folder = await temporaryFolder(t)
  const { send } = await startSubgraph(t, { folder })
  const { id, email, token } = await signUp(send)
  const before = environment(folder).MASTER_KEY as string
  t.match(await keys(folder, {}), {
    code: 0,
    output: /^master key [0-9a-f]{16} \(the current one\): 1 block of keys\n0 keys destroyed\n$/,
  })
  const env = { MASTER_KEY: hex(), MASTER_KEY_PREVIOUS: before }
  t.match(await keys(folder, { MASTER_KEY: env.MASTER_KEY }, 'rotate'), {
    code: 1,
    output: /^error: MASTER_KEY: the keys are wrapped by the master key [0-9a-f]{16}, which is not configured/,
  })
  t.match(await keys(folder, env, 'rotate'), {
    code: 0,
    output: /1 of 1 block of keys rewrapped; all now use the master key [0-9a-f]{16}\.\n$/,
  })
  t.match(await keys(folder, { MASTER_KEY: env.MASTER_KEY }), {
    code: 0,
    output: /^master key [0-9a-f]{16} \(the current one\): 1 block /,
  })
  t.match(await keys(folder, {}), { code: 1, output: /^error: MASTER_KEY: / }, 'the old one is of no use any more')
  t.match(
    (await send('{ customer { email } }', { token })).data,
    { customer: { email } },
    'whoever has them in memory goes on',
  )
  const { eventStore } = await openLog(loadConfiguration({ ...environment(folder), MASTER_KEY: env.MASTER_KEY }))
  t.teardown(() => eventStore.close())
  t.match(await foldCustomer(eventStore, id), { email })
  t.match(await keys(folder, {}, 'turn'), { code: 2, output: /^error: unknown command 'turn'/ })
})

t.test('a master key that is missing or none', async (t) => {
  const folder = await temporaryFolder(t)
  const env = { ...environment(folder), MASTER_KEY: '' }
  await t.rejects(openLog(loadConfiguration(env)), {
    name: 'ConfigurationError',
    message: /^MASTER_KEY is not set and .*master-key is missing: put it back from your backup/,
  })
  await t.rejects(openLog(loadConfiguration({ ...env, EVENTSTORE_URL: 'kurrentdb://127.0.0.1:1?tls=false' })), {
    name: 'ConfigurationError',
    message: /^MASTER_KEY is not set; it is required unless EVENTSTORE_URL is sqlite:PATH\. npm run secrets makes one/,
  })
  for (const wrong of ['short', '00'.repeat(31), 'x'.repeat(64)]) {
    await t.rejects(openLog(loadConfiguration({ ...env, MASTER_KEY: wrong })), {
      name: 'ConfigurationError',
      message: "MASTER_KEY: its value can't be used; accepted: 32 bytes, in hexadecimal or base64.",
    })
  }
})

t.test('a plug-in of a key management system', async (t) => {
  const folder = await temporaryFolder(t)
  const plugin = join(folder, 'kms.mjs')
  await writeFile(
    plugin,
    `import { createCipheriv, createDecipheriv } from 'node:crypto'
     export default ({ KMS_SECRET }) => {
       const make = (id) => {
         const iv = Buffer.alloc(16, id)
         const run = async (cipher, bytes) => {
           if (process.env.KMS_DOWN) throw new Error('no answer')
           if (process.env.KMS_SILENT) await new Promise(() => {})
           return Buffer.concat([cipher.update(bytes), cipher.final()])
         }
         return {
           id,
           wrap: (bytes) => run(createCipheriv('aes-256-cbc', Buffer.from(KMS_SECRET, 'hex'), iv), bytes),
           unwrap: (bytes) => run(createDecipheriv('aes-256-cbc', Buffer.from(KMS_SECRET, 'hex'), iv), bytes),
         }
       }
       return [make('kms-2'), make('kms-1')]
     }`,
  )
  process.env.KMS_SECRET = hex()
  t.teardown(() => delete process.env.KMS_SECRET)
  const env = { KMS_PLUGIN: plugin }
  const { send } = await startSubgraph(t, { folder, env })
  const { id, email } = await signUp(send)
  const { eventStore, keys: log } = await openLog(loadConfiguration({ ...environment(folder), ...env }))
  t.teardown(() => eventStore.close())
  t.match(await foldCustomer(eventStore, id), { email })
  t.same([...(await log.status()).blocks], [['kms-2', 1]])

  const reachable = async () => {
    const registry = new Registry()
    addReachability(registry, eventStore)
    return (await registry.metrics()).match(/^(eventstore|keys)_reachable \d$/gm)
  }
  t.same(await reachable(), ['eventstore_reachable 1', 'keys_reachable 1'])
  process.env.KMS_DOWN = 'yes'
  t.teardown(() => delete process.env.KMS_DOWN)
  t.same(await reachable(), ['eventstore_reachable 1', 'keys_reachable 0'], 'the KMS is away')
  await t.rejects(log.toWrite('64'), { name: 'EventStoreUnavailable' })
  delete process.env.KMS_DOWN

  const other = await openLog(loadConfiguration({ ...environment(folder), ...env }))
  t.teardown(() => other.eventStore.close())
  process.env.KMS_SILENT = 'yes'
  t.teardown(() => delete process.env.KMS_SILENT)
  const outcomes: string[] = []
  for (const work of [foldCustomer(other.eventStore, id), other.keys.toWrite('64')]) {
    work.catch(({ name }) => outcomes.push(name))
  }
  await until('what the KMS never answers has failed', () => outcomes.length === 2)
  t.same(outcomes, ['EventStoreUnavailable', 'EventStoreUnavailable'])
  delete process.env.KMS_SILENT
  t.match(await foldCustomer(other.eventStore, id), { email }, 'the next one asks again')
  t.ok(await other.keys.toWrite('64'))

  const from = await temporaryFolder(t)
  await writeFile(join(from, 'none.mjs'), 'export const keys = []')
  await writeFile(join(from, 'empty.mjs'), 'export default () => ({ id: "" })')
  for (const [name, message] of [
    ['none.mjs', /its default export is no function/],
    ['empty.mjs', /must give master keys: \{ id, wrap, unwrap \}/],
    ['absent.mjs', /Cannot find module/],
  ] as const) {
    const wrong = { ...environment(from), KMS_PLUGIN: join(from, name) }
    await t.rejects(openLog(loadConfiguration(wrong)), { name: 'ConfigurationError', message }, name)
  }
})

t.test('a start waits once for a store that is away, and compares the keys when it is there', async (t) => {
  const folder = await temporaryFolder(t)
  const configuration = loadConfiguration(environment(folder))
  let isAway = false
  let refused = 0
  const wrap = (store: EventStore): EventStore => ({
    ...store,
    async *readStream(stream, options) {
      if (isAway) {
        refused++
        throw new EventStoreUnavailable('away')
      }
      yield* store.readStream(stream, options)
    },
  })
  const start = async (emailHashKey: string) => {
    const log = await openLog(configuration, {}, wrap)
    t.teardown(() => log.eventStore.close())
    const before = refused
    const wrong: unknown[] = []
    const work = () => checkKeys(log.eventStore, { emailHashKey }, { record: true })
    await checkKeysAtStart(log, work, (error) => wrong.push(error))
    return { waited: refused - before, wrong }
  }
  const key = configuration.EMAIL_HASH_KEY as string
  t.match(await start(key), { waited: 0, wrong: [] }, 'records its key')
  isAway = true
  const { waited, wrong } = await start('another key of the same length!!')
  t.equal(refused, 1, 'asked when the log is opened')
  t.equal(waited, 0, 'and not again before the process goes on')
  isAway = false
  await until('it is found wrong', () => wrong.length > 0)
  t.match(wrong, [{ name: 'ConfigurationError', message: /^EMAIL_HASH_KEY: / }])
})
