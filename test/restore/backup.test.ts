/** Backups of the stores while the service runs, and what is restored from them. */
import '../support/needs-redis.ts'
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { writeCheckpoint } from '../../audit/proof/signed-checkpoints.ts'
import { readAuditKey } from '../../audit/proof/signing-key.ts'
import { checkBackup } from '../../bin/backup-check.ts'
import { foldersOf, makeEmptyFolder, writeList } from '../../bin/backup-set.ts'
import { openStoredLog } from '../../eventstore/open-event-store.ts'
import { backUpSqliteFile } from '../../eventstore/sqlite/backup.ts'
import { openSqliteEventStore } from '../../eventstore/sqlite/event-store.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { KEY_VARIABLES, keyFile } from '../../runtime/service-keys.ts'
import { createIds } from '../../subgraph/streams/ids.ts'
import { runCommand } from '../support/commands.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { environment, type Send, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { KEYS } from '../support/keys.ts'
import { startProcess } from '../support/processes.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { backUp, rename, whoAmI } from './support.ts'

/** The keys are files, as `npm start` makes them. */
const NONE = { EMAIL_HASH_KEY: '', TOKEN_SIGNING_KEY: '', AUDIT_SIGNING_KEY: '', MASTER_KEY: '' }
const COMMAND = { id: crypto.randomUUID(), repeatable: false, correlationId: 'c', actor: 'import', at: new Date() }
const OPTIONS = { signal: new AbortController().signal, report() {} }

const settings = (folder: string) => loadConfiguration({ ...environment(folder), ...NONE })

async function dataFolder(t: Test): Promise<string> {
  const folder = await temporaryFolder(t)
  for (const variable of KEY_VARIABLES) writeFileSync(keyFile(settings(folder), variable), KEYS[variable])
  writeFileSync(join(folder, '.new'), '') // as long as its log is empty
  return folder
}

const run = (command: string, folder: string, args: readonly string[]) => runCommand(folder, [command, ...args], NONE)

const renamings = ({ lastname }: { readonly lastname: string }) => Number(lastname.split(' ')[1] ?? 0)

/** Customers that change their names all the time. @returns how often each was acknowledged, and the end */
function load(send: Send, customers: readonly { readonly token: string }[]) {
  const acknowledged = customers.map(() => 0)
  let isOver = false
  const running = customers.map(async ({ token }, index) => {
    for (let count = 1; !isOver; count++) {
      const { errors } = await rename(send, token, `Lee ${count}`)
      if (errors) throw new Error(JSON.stringify(errors))
      acknowledged[index] = count
      await delay(10)
    }
  })
  return {
    acknowledged,
    async stop() {
      isOver = true
      await Promise.all(running)
    },
  }
}

t.test(
  'a backup under load: what was acknowledged before it is in it, keys apart; it is checked and restored',
  async (t) => {
    const folder = await dataFolder(t)
    const { send } = await startSubgraph(t, { folder, env: NONE })
    const customers = await Promise.all([signUp(send), signUp(send), signUp(send)])
    const stored = await openStoredLog(settings(folder))
    t.ok(await writeCheckpoint(stored, readAuditKey(KEYS.AUDIT_SIGNING_KEY)))
    await stored.close()
    const working = load(send, customers)
    const [target, vault] = [join(folder, 'backup'), join(folder, 'vault')]
    const before = [...working.acknowledged]
    const backup = startProcess(t, 'backup', folder, NONE, [target, '--keys', vault])
    const made = { code: await backup.ended, output: backup.output() }
    const after = [...working.acknowledged]
    await working.stop()
    t.match(made, { code: 0, output: /Keep the two folders apart/ })
    t.ok(
      after.every((count, index) => count > (before[index] ?? 0)),
      'the service went on meanwhile',
    )
    t.same(readdirSync(target), ['log'])
    t.same(readdirSync(join(target, 'log')).sort(), ['backup.json', 'events.db'])
    t.same(readdirSync(vault).sort(), [
      ...[
        'audit-signing-key.pem',
        'backup.json',
        'email-hash-key',
        'events-keys.db',
        'master-key',
        'token-signing-key.pem',
      ],
    ])
    for (const path of [...readdirSync(vault).map((name) => join(vault, name)), join(target, 'log/events.db')]) {
      t.equal(statSync(path).mode & 0o77, 0, `only its owner may read ${basename(path)}`)
    }

    const again = await run('backup', folder, [target, '--keys', join(folder, 'vault2')])
    t.match(again, { code: 2, output: /^error: .*backup is not empty; accepted: a new or an empty folder\.$/m })
    const occupied = await run('restore', folder, [target, '--keys', vault])
    t.match(occupied, {
      code: 2,
      output: /^error: These are there already, and nothing is overwritten; move them away: /,
    })

    const empty = await temporaryFolder(t)
    const restored = await run('restore', empty, [target, '--keys', vault])
    t.match(restored, { code: 0, output: /checkpoints: 1 of 1 are valid[\s\S]*the keys: they are those of the log/ })
    const service = await startSubgraph(t, { folder: empty, env: NONE })
    for (const [index, { token, email }] of customers.entries()) {
      const { customer } = (await whoAmI(service.send, token)).data
      t.equal(customer.email, email)
      t.ok(
        customer.lastname.length - 'Lee '.length >= (before[index] ?? 0),
        `${before[index]} renamings were acknowledged`,
      )
    }
    t.equal((await rename(service.send, customers[0]?.token ?? '', 'Now')).errors, undefined, 'and it goes on')
  },
)

t.test('a check finds what could not be restored, and changes nothing', async (t) => {
  const folder = await dataFolder(t)
  const { send } = await startSubgraph(t, { folder, env: NONE, projection: false })
  await signUp(send)
  const folders = foldersOf(join(folder, 'backup'))
  const files = { log: join(folders.log, 'events.db'), keys: join(folders.keys, 'events-keys.db') }
  const check = async () => (await checkBackup(folders, settings(folder), OPTIONS.signal)).faults
  await t.rejects(check(), { name: 'BackupError', message: /^There is no complete backup in / })
  mkdirSync(folders.log, { recursive: true })
  mkdirSync(folders.keys)
  await backUpSqliteFile(join(folder, 'events.db'), files.log, OPTIONS)
  await backUpSqliteFile(join(folder, 'events-keys.db'), files.keys, OPTIONS)
  for (const name of ['master-key', 'audit-signing-key.pem']) copyFileSync(join(folder, name), join(folders.keys, name))
  const lists = async () => {
    for (const each of [folders.log, folders.keys]) {
      rmSync(join(each, 'backup.json'), { force: true })
      await writeList(each)
    }
  }
  await lists()
  const bytes = readFileSync(files.log)
  t.same(await check(), [])
  t.same(readFileSync(files.log), bytes, 'nothing is written')
  t.same(readdirSync(folders.log).sort(), ['backup.json', 'events.db'])

  const damaged = Buffer.from(bytes)
  damaged.writeUInt8(damaged.readUInt8(damaged.length - 20) ^ 1, damaged.length - 20)
  writeFileSync(files.log, damaged)
  t.match(await check(), [/events\.db is not the file that was backed up/])
  rmSync(files.log)
  t.match(await check(), [/events\.db is missing/])
  writeFileSync(files.log, bytes)

  writeFileSync(join(folders.keys, 'master-key'), 'f'.repeat(64))
  await lists()
  t.match(await check(), [/^the keys: MASTER_KEY: the keys are wrapped by the master key/])
  copyFileSync(join(folder, 'master-key'), join(folders.keys, 'master-key'))

  // The keys of a store that is older than the log.
  rmSync(files.keys)
  const other = openSqliteEventStore({ path: files.keys })
  await other.close()
  await lists()
  t.match(await check(), [/^the keys: KEYS_URL: the key store is empty/])
  rmSync(folders.keys, { recursive: true })
  t.same(await check(), [], 'the log alone, where the keys are elsewhere')

  const forged = openSqliteEventStore({ path: files.log })
  await forged.append('customer-1', [{ id: crypto.randomUUID(), type: 'NewsletterSubscribed', data: {} }], {
    expected: 'any',
  })
  await forged.close()
  await lists().catch(() => {})
  t.match(await check(), [/^unlinked|^altered|^inserted/], 'an event that the service has not written')
})

t.test('killed between any two of its files, a backup is none, and a restore begins no new log', async (t) => {
  const folder = await dataFolder(t)
  const { send, stop } = await startSubgraph(t, { folder, env: NONE, projection: false })
  await signUp(send)
  await stop()
  const whole = join(folder, 'backup')
  t.match(await run('backup', folder, [whole]), { code: 0 })
  const lists = { log: join('log', 'backup.json'), keys: join('keys', 'backup.json') }
  const at = (path: string) => statSync(join(whole, path)).ctimeMs
  t.ok(at(lists.log) >= at(lists.keys), 'the list of the log comes last')
  const names = (half: string) => readdirSync(join(whole, half)).filter((name) => name !== 'backup.json')
  const files = ['log', 'keys'].flatMap((half) => names(half).map((name) => join(half, name)))
  const written = [...files, lists.keys, lists.log]
  t.equal(written.length, 8)
  const empty = await temporaryFolder(t)
  const part = join(empty, 'backup')
  const folders = foldersOf(part)
  for (const folder of [folders.log, folders.keys]) mkdirSync(folder, { recursive: true })
  const check = async () => (await checkBackup(folders, settings(folder), OPTIONS.signal)).faults
  for (const path of written) {
    // Without any list there is no backup at all.
    t.ok((await check().catch((error) => [error.message])).length > 0, `killed before ${path}`)
    if (path === lists.log) {
      const refused = await run('restore', empty, [part])
      t.match(refused, { code: 1, output: /^fault: .*log has no list: this backup was interrupted/m })
      t.same(readdirSync(empty), ['backup'], 'nothing of it is restored')
    }
    copyFileSync(join(whole, path), join(part, path))
  }
  t.same(await check(), [])

  // As a restore that was killed leaves them.
  for (const name of ['events.db', 'master-key']) writeFileSync(join(empty, `${name}.part`), 'half')
  for (const [command, env] of [
    ['start', NONE],
    ['audit', {}],
  ] as const) {
    const refused = await runCommand(empty, command === 'audit' ? ['audit', 'verify'] : [command], env)
    t.equal(refused.code, 1)
    t.match(
      refused.output,
      /^error: EVENTSTORE_URL: .*events\.db\.part is there, so a restore was interrupted: .*\.\n$/,
    )
  }
  t.same(readdirSync(empty).sort(), ['backup', 'events.db.part', 'master-key.part'])
  t.match(await run('restore', empty, [part]), { code: 0 })
  t.notOk(readdirSync(empty).some((name) => name.endsWith('.part')))
  t.match(await run('restore', empty, [part]), { code: 2, output: /These are there already/ })

  // Killed after some of the files were in their places: the log comes last.
  for (const name of ['events.db', 'events-keys.db']) renameSync(join(empty, name), join(empty, `${name}.part`))
  t.match((await run('start', empty, [])).output, /a restore was interrupted/)
  t.match(await run('restore', empty, [part]), { code: 0 })
  t.notOk(readdirSync(empty).some((name) => name.endsWith('.part')))
})

t.test('a copy is of one moment, however much is written during it; one that is stopped leaves nothing', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'events.db')
  const eventStore = openSqliteEventStore({ path })
  t.teardown(() => eventStore.close())
  const append = (stream: string, count: number, size: number) =>
    eventStore.append(
      stream,
      Array.from({ length: count }, () => ({ id: crypto.randomUUID(), type: 'A', data: 'x'.repeat(size) })),
      { expected: 'any' },
    )
  for (let i = 0; i < 12; i++) await append(`customer-${i + 1}`, 9, 100_000)
  const during: Promise<unknown>[] = []
  let steps = 0
  const report = () => {
    steps++
    during.push(append('customer-99', 1, 10))
  }
  const target = join(folder, 'copy.db')
  await backUpSqliteFile(path, target, { ...OPTIONS, report })
  await Promise.all(during)
  t.ok(steps > 1)
  const copy = openSqliteEventStore({ path: target, isCopy: true })
  let events = 0
  for await (const { stream } of copy.readAll()) {
    events++
    t.not(stream, 'customer-99')
  }
  t.equal(events, 108)
  await t.rejects(copy.append('customer-1', [{ id: crypto.randomUUID(), type: 'A', data: 1 }], { expected: 'any' }))
  await copy.close()

  const stopping = new AbortController()
  const stopped = backUpSqliteFile(path, join(folder, 'stopped.db'), {
    signal: stopping.signal,
    report: () => stopping.abort(new Error('stopped')),
  })
  await t.rejects(stopped, { message: 'stopped' })
  t.same(
    readdirSync(folder).filter((name) => name.includes('stopped')),
    [],
  )
  await t.rejects(backUpSqliteFile(join(folder, 'none.db'), join(folder, 'x.db'), OPTIONS), /none\.db is missing/)
  writeFileSync(join(folder, 'text.db'), 'no database, but a text that is long enough for a header of SQLite, maybe')
  await t.rejects(backUpSqliteFile(join(folder, 'text.db'), join(folder, 'x.db'), OPTIONS), { name: 'SqliteFileError' })
  t.notOk(readdirSync(folder).some((name) => name.startsWith('x.db')))
})

t.test('who is erased between the copies of the log and of the keys stays erased, and stops nobody', async (t) => {
  const folder = await dataFolder(t)
  const { send } = await startSubgraph(t, { folder, env: NONE })
  const [erased, other] = [await signUp(send), await signUp(send)]
  const restored = await dataFolder(t)
  await backUpSqliteFile(join(folder, 'events.db'), join(restored, 'events.db'), OPTIONS)
  t.ok((await send('mutation { deleteCustomer }', { token: erased.token })).data.deleteCustomer)
  await backUpSqliteFile(join(folder, 'events-keys.db'), join(restored, 'events-keys.db'), OPTIONS)
  const service = await startSubgraph(t, { folder: restored, env: NONE })
  t.equal((await whoAmI(service.send, other.token)).data.customer.email, other.email)
  t.match((await whoAmI(service.send, erased.token)).errors, [{ extensions: { code: 'UNAUTHENTICATED' } }])
  t.match(await signUp(service.send, erased.email), { token: /./ }, 'and the address is free again')
})

t.test(
  'servers: the log is copied before the keys, both under load; restored on new ones beside a Redis that is newer',
  builtIn('it puts a backup into the server'),
  async (t) => {
    const [log, keys, redis] = await Promise.all([startEventStoreServer(t), startEventStoreServer(t), startRedis(t)])
    const folder = await temporaryFolder(t)
    const env = { EVENTSTORE_URL: log.url, KEYS_URL: keys.url, READMODEL_URL: redis.url }
    const { send, eventStore, stop } = await startSubgraph(t, { folder, env })
    const customers = await Promise.all([signUp(send), signUp(send)])
    const working = load(send, customers)
    const early = backUp(keys)
    await createIds(eventStore).raiseFloor('customer', 100, COMMAND)
    const later = await signUp((await startSubgraph(t, { folder, env, projection: false })).send)
    t.ok(later.id > 100, 'whose key is of another block')
    const before = [...working.acknowledged]
    const copies = { log: backUp(log), keys: backUp(keys) }
    await until('each has written twice', () =>
      working.acknowledged.every((count, index) => count >= (before[index] ?? 0) + 2),
    )
    await working.stop()
    // Its projection would go on writing what came later into this Redis.
    await stop()

    const restored = await Promise.all([startEventStoreServer(t), startEventStoreServer(t)])
    const there = { EVENTSTORE_URL: restored[0].url, KEYS_URL: restored[1].url, READMODEL_URL: redis.url }
    restored[0].log.rewrite(copies.log)
    restored[1].log.rewrite(early)
    await t.rejects(startSubgraph(t, { folder, env: there }), /^KEYS_URL: the key store is older than this log/)
    restored[1].log.rewrite(copies.keys)
    const service = await startSubgraph(t, { folder, env: there })
    for (const [index, { token, email }] of customers.entries()) {
      const { customer } = (await whoAmI(service.send, token)).data
      t.equal(customer.email, email)
      t.ok(renamings(customer) >= (before[index] ?? 0), `${before[index]} renamings were acknowledged before the copy`)
      t.ok(renamings(customer) < (working.acknowledged[index] ?? 0), 'and what came later is not shown from Redis')
    }
    t.equal((await whoAmI(service.send, later.token)).data.customer.email, later.email)
  },
)

t.test('a folder for a backup is new or empty', async (t) => {
  const folder = await temporaryFolder(t)
  makeEmptyFolder(folder)
  makeEmptyFolder(join(folder, 'new/below'))
  t.throws(() => makeEmptyFolder(folder), { name: 'UsageError', message: /is not empty/ })
  writeFileSync(join(folder, 'file'), '')
  t.throws(() => makeEmptyFolder(join(folder, 'file')), { name: 'UsageError', message: /is a file/ })
  for (const keys of [folder, `${folder}/`, join(folder, 'log'), join(folder, 'log/keys'), '/']) {
    t.throws(() => foldersOf(folder, keys), { name: 'UsageError', message: /^--keys: / }, keys)
  }
  t.same(foldersOf(folder, `${folder}-keys`).keys, `${folder}-keys`)
})

t.test('stores on servers have backups of their own', async (t) => {
  const folder = await temporaryFolder(t)
  t.match(await runCommand(folder, ['backup', 'x'], { EVENTSTORE_URL: 'kurrentdb://127.0.0.1:1?tls=false' }), {
    code: 1,
    output: /^error: EVENTSTORE_URL: the stores are on servers, which have backups of their own/,
  })
  t.notOk(readdirSync(folder).includes('x'))
})
