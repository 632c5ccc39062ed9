/**
 * What a refused sign-in costs is the same for everybody: the same hashes, the same reads, the same writes. How long it takes
 * is measured by `npm run bench -- sign-in`.
 */
import { argon2Sync, createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { EventStore } from '../../eventstore/port.ts'
import { argon2id, MEMORY_AT_ONCE } from '../../subgraph/identity/argon2.ts'
import { evenly, STEP_MS } from '../../subgraph/identity/constant-time.ts'
import { kindOf, OWN_KIND } from '../../subgraph/identity/passwords.ts'
import { freshEmail, PASSWORD, signIn, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { aCustomer, customersFile, sha256Hash } from '../support/magento-export.ts'
import { startProcess } from '../support/processes.ts'

const SALT = 'DLX5pfEnbEFMlrY2DQBhzDhOxoUkCDv4'
const argon = (message: string, memory: number, passes: number) =>
  argon2Sync('argon2id', {
    message,
    nonce: Buffer.from(SALT).subarray(0, 16),
    memory,
    passes,
    parallelism: 1,
    tagLength: 32,
  }).toString('hex')
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const HASHES = {
  md5: `${createHash('md5').update(`${SALT}${PASSWORD}`).digest('hex')}:${SALT}:0`,
  sha256: sha256Hash(PASSWORD),
  // With low costs, to save the test's time; Magento's own are 65,536 KiB and 2 passes.
  argon2id13: `${argon(PASSWORD, 1_024, 1)}:${SALT}:3_32_1_1048576`,
  'argon2id13, other costs': `${argon(PASSWORD, 2_048, 3)}:${SALT}:3_32_3_2097152`,
  'sha256, upgraded': `${argon(sha256(`${SALT}${PASSWORD}`), 1_024, 1)}:${SALT}:1:3_32_1_1048576`,
}
const KINDS = [OWN_KIND, 'argon2id:1024:1:1', 'argon2id:2048:3:1']
const SIGN_IN =
  'mutation($email: String!, $password: String!) { generateCustomerToken(email: $email, password: $password) { token } }'

t.test('hashes wait until there is memory for them', async (t) => {
  const memory = MEMORY_AT_ONCE
  const hash = (name: string, memory: number) =>
    argon2id({ message: name, nonce: Buffer.from(SALT), memory, passes: 1, parallelism: 1, tagLength: 32 }).then(
      (tag) => {
        order.push(name)
        return tag
      },
    )
  const order: string[] = []
  const peak = async (work: Promise<unknown>) => {
    let highest = 0
    let isDone = false
    void work.finally(() => {
      isDone = true
    })
    while (!isDone) {
      highest = Math.max(highest, process.memoryUsage.rss())
      await delay(2)
    }
    await work
    return highest
  }
  const before = process.memoryUsage.rss()
  const all = Array.from({ length: 8 }, (_, n) => hash(`${n}`, memory))
  const grown = ((await peak(Promise.all(all))) - before) / 1024
  // Node's pool has four threads.
  t.ok(grown < MEMORY_AT_ONCE * 2.5, `${Math.round(grown / 1024)} MiB more at most`)
  order.length = 0
  await Promise.all([hash('first', memory / 2), hash('large', MEMORY_AT_ONCE * 2), hash('small', 1_024)])
  t.same(order, ['first', 'large', 'small'], 'one that is larger than the limit runs alone, and nothing passes it')
  await t.rejects(hash('impossible', 1), 'a refused one leaves its place')
  t.equal((await hash('after', memory)).length, 32)
})

t.test('kinds of hashes', (t) => {
  t.same(
    Object.values(HASHES).map((hash) => kindOf(`$magento$${hash}`)),
    ['', '', 'argon2id:1024:1:1', 'argon2id:2048:3:1', 'argon2id:1024:1:1'],
  )
  t.equal(kindOf(`$magento$${'a'.repeat(64)}:salt:2`), 'argon2id:65536:2:1')
  t.equal(kindOf(`$magento$${'a'.repeat(64)}:salt:2:3_32_3_8388608`), 'argon2id:65536:2:1+argon2id:8192:3:1')
  t.equal(kindOf('$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$CTFhFdXPJO1a'), 'argon2id:65536:3:4')
  t.end()
})

const folder = await temporaryFolder(t)
const moved = (index: number) => `moved${100 + index}@example.com`
const kept = Object.keys(HASHES)
const [OWN, WITHOUT, LOCKED] = [200, 201, 202]
await writeFile(
  join(folder, 'customers.csv'),
  customersFile([
    ...Object.values(HASHES).map((password_hash, index) => aCustomer(100 + index, { password_hash })),
    aCustomer(OWN, { password: PASSWORD }),
    aCustomer(WITHOUT),
    aCustomer(LOCKED, { password: PASSWORD }),
  ]),
)

/** Every use of the log since the last look, by streams without their ids. */
let uses: string[] = []
const note = (what: string, stream: string) => uses.push(`${what} ${stream.replace(/-.*/, '')}`)
const noted = (store: EventStore): EventStore => ({
  ...store,
  append(stream, events, options) {
    note('append', stream)
    return store.append(stream, events, options)
  },
  readStream(stream, options) {
    note('read', stream)
    const events = store.readStream(stream, options)
    return held && stream.startsWith('customerSignIns-') ? after(held, events) : events
  },
})

/** Holds attempts up before the password is looked at. */
let held: Promise<void> | undefined
async function* after<T>(first: Promise<void>, events: AsyncIterable<T>): AsyncGenerator<T> {
  await first
  yield* events
}

// It is up before anything is imported.
const { app, send } = await startSubgraph(t, {
  folder,
  projection: false,
  store: { account: { confirmationRequired: true } },
  wrapEventStore: noted,
})
const unconfirmed = freshEmail()
await send('mutation($input: CustomerInput!) { createCustomer(input: $input) { customer { id } } }', {
  variables: { input: { firstname: 'Ann', lastname: 'Lee', email: unconfirmed, password: PASSWORD } },
})

async function hashes(): Promise<Record<string, number>> {
  const { body } = await app.inject('/metrics')
  const found = body.matchAll(/^password_hashes_total\{kind="(.+)"\} (\d+)$/gm)
  return Object.fromEntries([...found].map(([, kind, count]) => [kind, Number(count)]))
}

/** Records of access are written beside the answer: waits until the log is not used any more. */
async function untilQuiet(): Promise<void> {
  for (let quiet = 0, before = -1; quiet < 3; before = uses.length) {
    quiet = uses.length === before ? quiet + 1 : 0
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** What one refused sign-in costs. The log itself reads where a stream ends before it first writes to it: so it is the second. */
async function cost(email: string, password = 'Wr0ng-password') {
  await send(SIGN_IN, { variables: { email, password } })
  const before = await hashes()
  await untilQuiet()
  uses = []
  const { errors } = await send(SIGN_IN, { variables: { email, password } })
  t.match(errors, [{ message: /^The account sign-in was incorrect/ }])
  const used = uses.filter((use) => !/customerAccess|readModelFence/.test(use)).sort()
  const after = await hashes()
  const made = Object.entries(after).map(([kind, count]) => [kind, count - (before[kind] ?? 0)])
  return { hashes: Object.fromEntries(made), uses: used }
}

t.test('nothing imported: one hash of our own', async (t) => {
  const { hashes, uses } = await cost(freshEmail())
  t.same(hashes, { [OWN_KIND]: 1 })
  t.same(await cost(unconfirmed), { hashes, uses })
})

t.test('after an import every refusal costs one hash of each kind, whosever address it is', async (t) => {
  const imported = startProcess(t, 'import', folder, {}, [join(folder, 'customers.csv')])
  t.equal(await imported.ended, 0, imported.output())
  const token = await signIn(send, `moved${LOCKED}@example.com`)
  const guess = 'mutation { changeCustomerPassword(currentPassword: "guess", newPassword: "N3w-password") { id } }'
  for (let i = 0; i < 10; i++) await send(guess, { token })
  t.match((await send('{ customer { id } }', { token })).errors, [{ message: 'The account is locked.' }])

  const nobody = await cost(freshEmail())
  t.same(nobody.hashes, Object.fromEntries(KINDS.map((kind) => [kind, 1])))
  for (const [index, form] of kept.entries()) t.same(await cost(moved(index)), nobody, form)
  t.same(await cost(`moved${OWN}@example.com`), nobody, 'our own hash')
  t.same(await cost(`moved${WITHOUT}@example.com`), nobody, 'an account without a password')
  // Somebody has tried these before, so they are compared with an unknown address that somebody has tried.
  const tried = freshEmail()
  await cost(tried)
  const again = await cost(tried)
  t.same(again.hashes, nobody.hashes)
  t.same(await cost(unconfirmed), again, 'an account that is not confirmed')
  for (const password of ['Wr0ng-password', PASSWORD]) {
    t.same(await cost(`moved${LOCKED}@example.com`, password), again, `a locked account, ${password}`)
  }
})

t.test('so it is while the throttle refuses, and it does so for a locked account, too', async (t) => {
  const addresses = [freshEmail(), moved(2)]
  const costs = []
  for (const email of [...addresses, `moved${LOCKED}@example.com`]) {
    for (let i = 0; i < 6; i++) await send(SIGN_IN, { variables: { email, password: 'Wr0ng-password' } })
    costs.push(await cost(email))
    costs.push(await cost(email, PASSWORD))
  }
  for (const each of costs) t.same(each, costs[0])
  t.same(costs[0]?.hashes, Object.fromEntries(KINDS.map((kind) => [kind, 1])))
})

t.test('attempts that were answered while they waited cost nothing any more', async (t) => {
  const token = await signIn(send, moved(0))
  const guess = 'mutation { changeCustomerPassword(currentPassword: "guess", newPassword: "N3w-password") { id } }'
  const gate = Promise.withResolvers<void>()
  held = gate.promise
  const before = await hashes()
  const answers = await Promise.all([
    ...[1, 2, 3].map((n) => send(SIGN_IN, { variables: { email: moved(0), password: `Wr0ng-password${n}` } })),
    send(guess, { token }),
  ])
  for (const { errors } of answers) t.match(errors, [{ extensions: { code: 'SERVICE_UNAVAILABLE' } }])
  uses = []
  held = undefined
  gate.resolve()
  await untilQuiet()
  t.same(await hashes(), before)
  t.ok(uses.filter((use) => use.endsWith('customerSignIns')).length === 0, 'the others have not even begun')
  t.ok(await signIn(send, moved(0)), 'and the next one has its turn')
})

t.test('attempts while an account is locked do not lock it anew', async (t) => {
  let at = Date.now()
  const { send } = await startSubgraph(t, {
    now: () => new Date(at),
    store: { signInThrottle: { failures: 100, seconds: 1 }, lockout: { failures: 3, minutes: 10 } },
  })
  const { email } = await signUp(send)
  for (let i = 0; i < 3; i++) await signIn(send, email, 'Wr0ng-password')
  for (let i = 0; i < 5; i++) t.notOk(await signIn(send, email), 'locked')
  at += 600_001
  t.notOk(await signIn(send, email, 'Wr0ng-password'))
  t.ok(await signIn(send, email), 'one wrong password after the lock does not lock')
})

t.test('a kind that an older release has imported is met once, and counts from then on', async (t) => {
  const folder = await temporaryFolder(t)
  const one = await startSubgraph(t, { folder })
  const { id, email } = await signUp(one.send)
  const hash = `$magento$${HASHES['argon2id13, other costs']}`
  const $causationId = crypto.randomUUID()
  const metadata = { $correlationId: 'c', $causationId, actor: 'import', at: new Date().toISOString() }
  await one.eventStore.append(
    `customerCredentials-${id}`,
    [
      {
        id: crypto.randomUUID(),
        type: 'CredentialsSet',
        data: { passwordHash: hash, upgrade: true },
        metadata: { ...metadata, schemaVersion: 2 },
      },
    ],
    { expected: 'any' },
  )
  await signIn(one.send, email, 'Wr0ng-password')
  const other = await startSubgraph(t, { folder, projection: false })
  await signIn(other.send, freshEmail(), 'Wr0ng-password')
  const { body } = await other.app.inject('/metrics')
  t.match(body, 'password_hashes_total{kind="argon2id:2048:3:1"} 1')
  t.match(body, `password_hashes_total{kind="${OWN_KIND}"} 1`)
})

t.test('what is asked for rarely is answered at whole steps, done or failed', async (t) => {
  for (const work of [async () => 1, () => Promise.reject(new Error('no'))]) {
    const started = performance.now()
    await Promise.allSettled([evenly(work)])
    t.ok(performance.now() - started > STEP_MS - 5)
  }
  await t.rejects(
    evenly(() => Promise.reject(new Error('no'))),
    { message: 'no' },
  )
})

t.test('a guest who subscribes an address, or confirms it, is not told by the time whose it is', async (t) => {
  const { send } = await startSubgraph(t)
  const { email } = await signUp(send)
  for (const address of [email, email, freshEmail()]) {
    for (const mutation of [
      `subscribeEmailToNewsletter(email: "${address}")`,
      `confirmNewsletterSubscription(email: "${address}", confirmation_key: "x")`,
    ]) {
      const started = performance.now()
      await send(`mutation { ${mutation} { status } }`)
      t.ok(performance.now() - started > STEP_MS - 5, mutation)
    }
  }
})
