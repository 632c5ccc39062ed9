/** Keys: who makes them, and what a wrong, missing or left-over one leads to. */
import { copyFile, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { checkAuditKey } from '../../audit/proof/signing-key.ts'
import { checkKeys } from '../../eventstore/encryption/key-fingerprints.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { generateSigningKey, KEY_VARIABLES, loadKey } from '../../runtime/service-keys.ts'
import { runCommand } from '../support/commands.ts'
import { environment, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { KEYS } from '../support/keys.ts'
import { freePort } from '../support/ports.ts'
import { startProcess, untilReady } from '../support/processes.ts'

const NONE = { EMAIL_HASH_KEY: '', TOKEN_SIGNING_KEY: '', AUDIT_SIGNING_KEY: '', MASTER_KEY: '' }
/** In the order of KEY_VARIABLES. */
const FILES_OF = ['token-signing-key.pem', 'email-hash-key', 'master-key', 'audit-signing-key.pem']
const FILES = ['audit-signing-key.pem', 'email-hash-key', 'master-key', 'token-signing-key.pem']

/** Runs a command to its end. */
const run = (command: string, folder: string, env: Record<string, string>, args: readonly string[] = []) =>
  runCommand(folder, [command, ...args], env)

const keyFiles = async (folder: string) => (await readdir(folder)).filter((name) => FILES.includes(name)).sort()

/** One line that matches, and exit code 1. */
function assertRefused(t: Test, { code, output }: { code: unknown; output: string }, message: RegExp, name: string) {
  t.equal(code, 1, `${name} does not start`)
  t.match(output, message, name)
  t.equal(output.trim().split('\n').length, 1, output)
}

t.test('a lost log beside its own keys', async (t) => {
  const folder = await temporaryFolder(t)
  const port = await freePort()
  const started = startProcess(t, 'start', folder, { ...NONE, GATEWAY_PORT: String(port), NODE_ENV: 'production' })
  await untilReady(started, `http://127.0.0.1:${port}/readyz`)
  t.equal(await started.end('SIGTERM'), 0)
  t.same(await keyFiles(folder), FILES, 'npm start makes them on a new, empty data folder')
  t.notOk((await readdir(folder)).includes('.new'))
  for (const name of await readdir(folder)) if (name.startsWith('events.db')) await rm(join(folder, name))
  const message =
    /^error: EVENTSTORE_URL: the log .*events\.db is empty or missing, but keys of a log are there: restore it, or, to begin a new one on purpose, move these away: .*token-signing-key\.pem.*events-keys\.db\.$/m
  for (const command of ['start', 'start', 'subgraph']) {
    assertRefused(t, await run(command, folder, NONE), message, command)
  }
  await mkdir(join(folder, 'old'))
  for (const name of await readdir(folder)) {
    if (name !== 'old') await rename(join(folder, name), join(folder, 'old', name))
  }
  // It comes as far as listening, when its log and keys are there.
  const elsewhere = await run('start', folder, { ...NONE, HOST: '203.0.113.1' })
  assertRefused(t, elsewhere, /^error: HOST: "203\.0\.113\.1" is not an address of this machine/, 'on purpose')
  t.same(await keyFiles(folder), FILES, 'it begins anew')

  await rm(join(folder, 'email-hash-key'))
  const missing = /^error: EMAIL_HASH_KEY is not set and .*email-hash-key is missing: put it back from your backup/
  assertRefused(t, await run('start', folder, NONE), missing, 'a key that was lost')
  t.notOk((await keyFiles(folder)).includes('email-hash-key'))
})

t.test('no command makes a key', async (t) => {
  const folder = await temporaryFolder(t)
  const commands: [string, string[], RegExp][] = [
    ['audit', ['key'], /^error: AUDIT_SIGNING_KEY is not set and .*npm start makes keys/],
    ['audit', ['verify'], /^error: AUDIT_SIGNING_KEY is not set/],
    ['audit', ['find', '--type', 'CustomerDeleted'], /^error: MASTER_KEY is not set/],
    ['projections', [], /^error: MASTER_KEY is not set/],
    ['rebuild', [], /^error: MASTER_KEY is not set/],
    ['parked', [], /^error: MASTER_KEY is not set/],
    ['keys', [], /^error: MASTER_KEY is not set/],
    ['mail', [], /^error: EMAIL_HASH_KEY is not set/],
    ['subgraph', [], /^error: TOKEN_SIGNING_KEY is not set/],
    ['token', ['--scope', 'customers:read', '--subject', 'crm'], /^error: TOKEN_SIGNING_KEY/],
  ]
  // What is read of a log that is not there would look as if all were well.
  const reading = [['find'], ['verify'], ['checkpoint'], ['prove', '1:0'], ['history', '1']].map((args) => [
    'audit',
    args,
  ])
  for (const [command, args] of [
    ...reading,
    ['parked', []],
    ['rebuild', ['--verify']],
    ['privacy', []],
    ['keys', []],
    ['keys', ['accept', 'token']],
    ['token', ['list']],
    ['token', ['--scope', 'customers:read', '--subject', 'crm']],
  ] as [string, string[]][]) {
    const message = /^error: EVENTSTORE_URL: there is no \S*events\.db: /
    assertRefused(t, await run(command, folder, KEYS, args), message, `${command} ${args.join(' ')}`)
  }
  t.same(await readdir(folder), [], 'nor is one made')
  await writeFile(join(folder, 'events.db'), '') // an empty one
  for (const [command, args, message] of commands) {
    assertRefused(t, await run(command, folder, NONE, args), message, `${command} ${args.join(' ')}`)
  }
  t.same(await keyFiles(folder), [])
})

t.test('a key that is not the log’s', async (t) => {
  const folder = await temporaryFolder(t)
  const { send } = await startSubgraph(t, { folder })
  await signUp(send)
  const env = environment(folder)
  const { eventStore } = await openLog(loadConfiguration(env))
  t.teardown(() => eventStore.close())
  const [emailHashKey, other] = [KEYS.EMAIL_HASH_KEY, 'x'.repeat(32)]

  await t.rejects(
    checkKeys(eventStore, { emailHashKey: other }, { record: true }),
    {
      name: 'ConfigurationError',
      message: 'EMAIL_HASH_KEY: the addresses in this log were hashed with another key.',
    },
    'in a log of before there were fingerprints',
  )
  const { TOKEN_SIGNING_KEY: tokenSigningKey } = KEYS
  await Promise.all([1, 2, 3].map(() => checkKeys(eventStore, { emailHashKey, tokenSigningKey }, { record: true })))
  await checkAuditKey(eventStore, loadConfiguration(env), { record: true })
  await checkKeys(eventStore, { emailHashKey, tokenSigningKey }, { record: true })

  const wrong = {
    EMAIL_HASH_KEY: other,
    TOKEN_SIGNING_KEY: generateSigningKey(),
    AUDIT_SIGNING_KEY: generateSigningKey(),
  }
  const only = (name: keyof typeof wrong) => ({ [name]: wrong[name] })
  const cases: [string, string[], keyof typeof wrong][] = [
    ['subgraph', [], 'EMAIL_HASH_KEY'],
    ['mail', [], 'EMAIL_HASH_KEY'],
    ['audit', ['erase', 'ann@example.com', '--yes', '--emergency', '--reason', 'x'], 'EMAIL_HASH_KEY'],
    ['start', [], 'TOKEN_SIGNING_KEY'],
    ['token', ['--scope', 'customers:read', '--subject', 'crm'], 'TOKEN_SIGNING_KEY'],
    ['projections', [], 'AUDIT_SIGNING_KEY'],
    ['audit', ['verify'], 'AUDIT_SIGNING_KEY'],
    ['audit', ['key'], 'AUDIT_SIGNING_KEY'],
  ]
  for (const [command, args, name] of cases) {
    const message = new RegExp(`^error: ${name}: this log was written with the key \\S+, but \\S+ is configured; `)
    const result = await run(command, folder, only(name), args)
    assertRefused(t, result, message, `${command} ${args.join(' ')}`)
    t.notOk(result.output.includes(wrong[name]), 'without the key')
  }
  const without = await run('projections', folder, { AUDIT_SIGNING_KEY: '' })
  assertRefused(t, without, /^error: AUDIT_SIGNING_KEY is not set/, 'the audit key is missing')

  const accepted = await run('keys', folder, only('TOKEN_SIGNING_KEY'), ['accept', 'token'])
  t.match(accepted, { code: 0, output: /^TOKEN_SIGNING_KEY is the log's key from now on/ })
  const changed = loadConfiguration({ ...env, ...only('TOKEN_SIGNING_KEY') })
  await checkKeys(eventStore, { tokenSigningKey: loadKey(changed, 'TOKEN_SIGNING_KEY') }, { record: false })
  await t.rejects(checkKeys(eventStore, { tokenSigningKey }, { record: false }), /TOKEN_SIGNING_KEY: this log/)
})

t.test('files of keys are read as those that variables name', async (t) => {
  const folder = await temporaryFolder(t)
  const configuration = loadConfiguration({ ...environment(folder), ...NONE })
  for (const [index, variable] of KEY_VARIABLES.entries()) {
    const path = join(folder, FILES_OF[index] as string)
    for (const end of ['', '\n', '\r\n']) {
      await writeFile(path, KEYS[variable].trim() + end)
      t.equal(loadKey(configuration, variable), KEYS[variable].trim(), `a line feed at the end is not part of it`)
    }
    await writeFile(path, '')
    const refused = (message: RegExp | string) =>
      t.throws(() => loadKey(configuration, variable), { name: 'ConfigurationError', message })
    refused(`${variable} is not set and ${path} is empty.`)
    await rm(path)
    await mkdir(path)
    refused(new RegExp(`^${variable}_FILE: .* can't be read \\(EISDIR\\)\\.$`))
  }
  await rm(join(folder, 'email-hash-key'), { recursive: true })
  await writeFile(join(folder, 'email-hash-key'), 'short')
  t.throws(() => loadKey(configuration, 'EMAIL_HASH_KEY'), {
    message: /can't be used; accepted: 32 characters or more/,
  })
})

t.test('the keys of customers beside another log', async (t) => {
  const folder = await temporaryFolder(t)
  const { send } = await startSubgraph(t, { folder })
  await signUp(send)
  const env = { ...environment(folder), EVENTSTORE_URL: `sqlite:${join(folder, 'other.db')}` }
  await t.rejects(openLog(loadConfiguration({ ...env, KEYS_URL: `sqlite:${join(folder, 'events-keys.db')}` })), {
    name: 'ConfigurationError',
    message: /^KEYS_URL: the key store has the keys of a log, but this log is new/,
  })
  // Keys in the environment leave no files that tell.
  const lost = join(folder, 'lost')
  await mkdir(lost)
  for (const file of ['', '-wal'])
    await copyFile(join(folder, `events-keys.db${file}`), join(lost, `events-keys.db${file}`))
  await writeFile(join(lost, 'events.db'), '')
  for (const [command, args] of [
    ['audit', ['verify']],
    ['audit', ['checkpoint']],
    ['audit', ['prove', '1:0']],
    ['audit', ['key']],
    ['token', ['list']],
    ['token', ['--scope', 'customers:read', '--subject', 'crm']],
    ['backup', ['copy']],
  ] as [string, string[]][]) {
    const refused = await run(command, lost, KEYS, args)
    assertRefused(
      t,
      refused,
      /^error: KEYS_URL: the key store has the keys of a log, but/,
      `${command} ${args.join(' ')}`,
    )
  }
  t.notOk((await readdir(lost)).includes('copy'), 'a lost log is not backed up')

  const [log, keyStore, other] = ['events.db', 'events-keys.db', 'new.db'].map((name) => `sqlite:${join(folder, name)}`)
  const open = (EVENTSTORE_URL = '', KEYS_URL = '') => openLog(loadConfiguration({ ...env, EVENTSTORE_URL, KEYS_URL }))
  await t.rejects(open(keyStore, log), { message: 'EVENTSTORE_URL: this is a key store, and no log.' }, 'swapped')
  await t.rejects(open(keyStore, other), { message: 'EVENTSTORE_URL: this is a key store, and no log.' })
  await t.rejects(open(other, log), { message: 'KEYS_URL: this is a log, and no key store.' })
})
