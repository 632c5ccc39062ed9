/** Erasing a person: nothing personal is left in any byte that the stores keep, and all else goes on. */
import { copyFile, mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { keysOf } from '../../eventstore/encryption/customer-keys.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import type { RecordedEvent } from '../../eventstore/port.ts'
import { foldCustomer } from '../../projections/fold.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { generateSigningKey } from '../../runtime/service-keys.ts'
import { loadKeys } from '../../subgraph/identity/subgraph-keys.ts'
import { collect } from '../projections/support.ts'
import { runCommand } from '../support/commands.ts'
import { startEventStoreServer } from '../support/eventstore-server/server.ts'
import {
  CREATE_ADDRESS,
  client,
  environment,
  PASSWORD,
  type Send,
  signUp,
  startSubgraph,
  TEXAN,
  temporaryFolder,
} from '../support/graph.ts'
import { freePort } from '../support/ports.ts'
import { startProcess, untilReady } from '../support/processes.ts'
import { startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { auditor, EMAIL_HASH_KEY } from './support.ts'

/** What must be found nowhere. */
const TRACES = ['zebulon', 'quuxington', 'featherstone', 'xylophone', '1923-04-05', '555-7788', 'netscape/77']
const EMAIL = 'Zebulon@Example.com'
const NEXT_EMAIL = 'featherstone@example.com'
const FROM = { 'user-agent': 'Netscape/77' }

/** A customer with something everywhere: as a guest before, addresses, other names, sign-ins, links, another address. */
async function live(send: Send): Promise<{ id: number; token: string }> {
  const from = (query: string, variables: object = {}, token?: string) =>
    send(query, { variables, headers: FROM, token })
  await from('mutation($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }', { email: EMAIL })
  await from('mutation($email: String!) { generateCustomerToken(email: $email, password: "Wr0ng-one") { token } }', {
    email: EMAIL,
  })
  const { id } = await signUp(send, EMAIL)
  const token = (
    await from(
      'mutation($email: String!, $password: String!) { generateCustomerToken(email: $email, password: $password) { token } }',
      {
        email: EMAIL,
        password: PASSWORD,
      },
    )
  ).data.generateCustomerToken.token
  await from('mutation($email: String!) { generateCustomerToken(email: $email, password: "Wr0ng-one") { token } }', {
    email: EMAIL,
  })
  await from(
    CREATE_ADDRESS,
    { input: { ...TEXAN, lastname: 'Quuxington', city: 'Xylophone', telephone: '555-7788' } },
    token,
  )
  await from(
    'mutation { updateCustomer(input: { firstname: "Zebulon", lastname: "Quuxington", date_of_birth: "1923-04-05" }) { customer { id } } }',
    {},
    token,
  )
  await from(
    'mutation($email: String!, $password: String!) { updateCustomerEmail(email: $email, password: $password) { customer { email } } }',
    { email: NEXT_EMAIL, password: PASSWORD },
    token,
  )
  await from('mutation($email: String!) { requestPasswordResetEmail(email: $email) }', { email: NEXT_EMAIL })
  return { id, token }
}

/** The files under the folders that hold one of the traces, each with the trace. */
async function searched(...folders: string[]): Promise<string[]> {
  const found: string[] = []
  for (const folder of folders) {
    for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
      if (!entry.isFile()) continue
      // A server that writes its files anew has some of them for moments only.
      const content = await readFile(join(entry.parentPath, entry.name), 'latin1').catch((error) => {
        if (error.code === 'ENOENT') return ''
        throw error
      })
      const text = content.toLowerCase()
      found.push(...TRACES.filter((trace) => text.includes(trace)).map((trace) => `${entry.name}: ${trace}`))
    }
  }
  return found
}

/** Looks until nothing is found, for as long as the workers may take. */
async function untilGone(...folders: string[]): Promise<string[]> {
  let found: string[] = []
  const isGone = async () => {
    found = await searched(...folders)
    return found.length === 0
  }
  await until('all is gone', isGone).catch(() => {})
  return found
}

const STORES: Record<string, (t: Test) => Promise<{ env: Record<string, string>; folders: string[] }>> = {
  'embedded stores': async () => ({ env: {}, folders: [] }),
  'Redis with a log of its own and snapshots': async (t) => {
    const redis = await startRedis(t, { persistent: true, args: ['--appendonly', 'yes', '--rdbcompression', 'no'] })
    return { env: { READMODEL_URL: redis.url }, folders: [redis.folder] }
  },
}

for (const [name, stores] of Object.entries(STORES)) {
  t.test(`the whole service: ${name}`, async (t) => {
    const folder = await temporaryFolder(t)
    const { env: more, folders } = await stores(t)
    const isEmbedded = folders.length === 0
    const port = String(await freePort())
    const subgraphPort = String(await freePort())
    const ports = { GATEWAY_PORT: port, SUBGRAPH_PORT: subgraphPort }
    // A fast machine would be over the rate limit by its second customer.
    const rates = { RATE_LIMIT_SIGN_IN_PER_MINUTE: '0' }
    const env = { ...more, ...ports, ...rates, LOG_LEVEL: 'debug', NODE_ENV: 'production' }
    const service = startProcess(t, 'start', folder, env)
    await untilReady(service, `http://127.0.0.1:${port}/healthz`)
    const send = client(`http://127.0.0.1:${port}/graphql`)
    const command = (...args: string[]) => runCommand(folder, args, more)
    const audit = (...args: string[]) => command('audit', ...args)

    const { id, token } = await live(send)
    const other = await signUp(send, 'bystander@example.com')
    // Somebody, as a guest, with the address that the customer has given up.
    const guest = { variables: { email: EMAIL }, headers: { 'user-agent': 'Somebody/1' } }
    const subscribe = 'mutation($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }'
    t.notOk((await send(subscribe, guest)).errors)
    t.match(await command('rebuild'), { code: 0 }, 'an older generation is left')
    t.ok((await searched(folder, ...folders)).length > 0, 'there is something to be found')
    const backup = join(folder, 'backup')
    await mkdir(backup)
    for (const file of ['events.db', 'events.db-wal']) await copyFile(join(folder, file), join(backup, file))
    t.same(await searched(backup), [], 'the log alone tells nothing')

    /** What does not depend on where the documents are. */
    const once = isEmbedded ? t.test : async () => {}
    const subject = await audit('subject', NEXT_EMAIL, '--output', '-')
    t.equal(subject.code, 0)
    const { customerId, state, emailAddresses, events, disclosures } = JSON.parse(
      subject.output.slice(subject.output.indexOf('{')),
    )
    t.match({ customerId, emailAddresses }, { customerId: id, emailAddresses: [EMAIL, NEXT_EMAIL] })
    t.match(state, { firstname: 'Zebulon', dob: '1923-04-05', email: NEXT_EMAIL })
    t.match(disclosures, [{ data: { customerId: id, command: 'subject', reason: 'request for access' } }])
    const types = events.map(({ type }: { type: string }) => type)
    for (const type of [
      'GuestSubscribed',
      'AccessRecorded',
      'SignInSucceeded',
      'EmailClaimed',
      'CustomerAddressAdded',
      'CredentialsSet',
    ]) {
      t.ok(types.includes(type), type)
    }
    for (const trace of TRACES) t.ok(subject.output.toLowerCase().includes(trace), trace)
    t.equal(types.filter((type: string) => type === 'GuestSubscribed').length, 1, 'of the person, and of nobody else')
    t.notOk(subject.output.includes('argon2id'), 'no hash of a password')

    await once('refused without a reason, and without --yes where nobody can be asked', async (t) => {
      for (const [args, output] of [
        [['erase', NEXT_EMAIL], /required option '--reason <text>'/],
        [['erase', NEXT_EMAIL, '--yes'], /required option '--reason <text>'/],
        [['erase', NEXT_EMAIL, '--yes', '--reason', '  '], /'--reason <text>' argument ' {2}' is invalid/],
        [['erase', NEXT_EMAIL, '--yes', '--reason', 'ticket 77'], /needs the number of an approved request/],
        [
          ['erase', NEXT_EMAIL, '--emergency', '--reason', 'ticket 77'],
          /erasure needs --yes where there is no terminal/,
        ],
        [['erase', String(id), '--emergency', '--reason', 'x'], /erasure needs --yes where there is no terminal/],
      ] as const) {
        const refused = await audit(...args)
        t.match(refused, { code: 2, output })
        t.notMatch(refused.output, /^ +at /m, 'in one line')
      }
      t.match((await send('{ customer { email } }', { token })).data, { customer: { email: NEXT_EMAIL } })
    })

    await t.test('erased, while the service runs', async (t) => {
      const args = ['erase', NEXT_EMAIL, '--yes', '--emergency', '--reason', 'ticket 77']
      const erasing = startProcess(t, 'audit', folder, more, args)
      const erased = { code: await erasing.ended, output: erasing.output() }
      t.match(erased, { code: 0, output: `Customer ${id} is erased.` })
      const left = await searched(folder, ...folders)
      t.same(
        left.filter((each) => !each.includes('.eml: ')),
        [],
        'at once',
      )
      t.same(await untilGone(folder), [], 'the mails in files go when the mail worker comes to it')
      const metrics = await (await fetch(`http://127.0.0.1:${subgraphPort}/metrics`)).text()
      for (const text of [service.output(), erased.output, metrics]) {
        for (const trace of TRACES) t.notMatch(text.toLowerCase(), trace)
      }
      const gone = await send('{ customer { firstname } }', { token })
      t.match(gone.errors, [{ message: 'User token has been revoked' }])
      t.match((await send('{ customer { email } }', { token: other.token })).data, {
        customer: { email: 'bystander@example.com' },
      })
    })

    await once('what happened, and when, still shows', async (t) => {
      const history = await audit('history', String(id), '--json', '--reveal', '--reason', 'a look')
      t.equal(history.code, 0)
      for (const trace of TRACES) t.notMatch(history.output.toLowerCase(), trace)
      const lines = history.output
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line))
      const types = lines.map(({ type }: { type: string }) => type)
      t.match(
        types.filter((type) => type !== 'AccessRecorded'),
        [
          'CustomerRegistered',
          'CustomerAddressAdded',
          'CustomerDetailsChanged',
          'CustomerEmailChanged',
          'CustomerTokensRevoked',
          'PasswordResetRequested',
          'CustomerDeleted',
        ],
      )
      const changed = lines.find(({ type }: { type: string }) => type === 'CustomerDetailsChanged')
      t.match(
        changed.changes.map(({ field }: { field: string }) => field),
        ['firstname', 'lastname', 'dob'],
      )
      t.match(changed.changes[0], { from: '[erased:0]', to: /^\[erased:\d+\]$/ })
      t.match(lines.at(-1), { type: 'CustomerDeleted', actor: /^operator:/ })
      const found = await audit('find', '--type', 'CustomerDeleted', '--json')
      t.match(found.output, '"reason":"request 1, not approved: ticket 77"')
      t.match(await audit('state', String(id), '--at', '2'), { code: 0, output: /firstname +\[erased:/ })
    })

    await once('the log is whole, and the documents can be made anew', async (t) => {
      t.match(await audit('verify'), { code: 0 })
      await command('rebuild', '--drop')
      t.match(await command('rebuild'), { code: 0 })
      t.match(await command('rebuild', '--verify'), { code: 0 })
    })

    await once('the backup of before does not tell it either', async (t) => {
      const { eventStore } = await openLog(
        loadConfiguration({
          ...environment(folder),
          EVENTSTORE_URL: `sqlite:${join(backup, 'events.db')}`,
          KEYS_URL: `sqlite:${join(folder, 'events-keys.db')}`,
        }),
      )
      t.teardown(() => eventStore.close())
      t.match(await foldCustomer(eventStore, id), {
        status: 'registered',
        email: /^\[erased:/,
        addresses: [{ city: /^\[erased:/ }],
      })
      t.match(await foldCustomer(eventStore, other.id), { email: 'bystander@example.com' })
    })

    await t.test('the addresses are free, and nothing of before comes with them', async (t) => {
      for (const email of [EMAIL, NEXT_EMAIL]) {
        const again = await signUp(send, email)
        t.not(again.id, id)
        const { data } = await send('{ customer { firstname addresses { id } is_subscribed } }', { token: again.token })
        t.same(data.customer, { firstname: 'Ann', addresses: [], is_subscribed: false })
        await send('mutation { deleteCustomer }', { token: again.token })
      }
      t.same(await untilGone(folder, ...folders), [], 'as after deleteCustomer')
    })

    await once('asked for again, or of nobody', async (t) => {
      t.match(await audit('erase', String(id), '--yes', '--emergency', '--reason', 'ticket 8'), {
        code: 0,
        output: `Customer ${id} is erased.`,
      })
      t.match(await audit('erase', '404404', '--yes', '--emergency', '--reason', 'ticket 8'), {
        code: 1,
        output: 'There is no customer 404404.',
      })
      t.match(await audit('erase', 'nobody@example.com', '--yes', '--emergency', '--reason', 'ticket 8'), {
        code: 1,
        output: 'Nothing is known of this address.',
      })
      t.match(await audit('erase', 'nobody', '--yes', '--emergency', '--reason', 'ticket 8'), {
        code: 2,
        output: /accepted: a customer's number or e-mail address/,
      })
      t.match(await audit('subject', String(id), '--output', '-'), { code: 0, output: /"status": "deleted"/ })
    })
    t.equal(await service.end('SIGTERM'), 0)
  })
}

t.test('on an event-store server, keys and all, by the command and by the customer', async (t) => {
  const [server, redis, folder] = await Promise.all([startEventStoreServer(t), startRedis(t), temporaryFolder(t)])
  const env = {
    EVENTSTORE_URL: server.url,
    READMODEL_URL: redis.url,
    EMAIL_HASH_KEY,
    TOKEN_SIGNING_KEY: generateSigningKey(),
  }
  const { send, eventStore } = await startSubgraph(t, { folder, env })
  const { id, token } = await live(send)
  const audit = auditor(eventStore, { openReadModel: () => openReadModel(redis.url) })
  t.match(await audit('erase', NEXT_EMAIL, '--emergency', '--reason', 'ticket 8'), {
    code: 0,
    output: `Customer ${id} is erased.\n`,
  })
  t.match((await send('{ customer { id } }', { token })).errors, [{ message: 'User token has been revoked' }])
  const again = await live(send)
  t.not(again.id, id)
  t.match((await send('mutation { deleteCustomer }', { token: again.token })).data, { deleteCustomer: true })
  for (const each of [id, again.id]) {
    const texts: string[] = []
    const beside = ['customer', 'customerAccess'].map((family) => `${family}-${each}`)
    for (const stream of beside)
      for await (const { data } of eventStore.readStream(stream)) texts.push(JSON.stringify(data))
    t.ok(texts.length > 5)
    for (const trace of TRACES) t.notOk(texts.join().toLowerCase().includes(trace), trace)
    t.equal(keysOf(eventStore).peek(String(each))?.bytes, undefined)
  }
  // A stream that somebody has deleted by hand: the server has its events until it is scavenged.
  const gone = await live(send)
  await eventStore.tombstoneStream(`customer-${gone.id}`, { expected: 'any' })
  const readModel = await openReadModel(redis.url)
  t.teardown(() => readModel.close())
  t.match(await readModel.documents([gone.id]), [{ status: 'registered' }])
  t.match(await audit('erase', String(gone.id), '--json', '--emergency', '--reason', 'ticket 8'), {
    code: 0,
    output: /"customer":"already deleted"/,
  })
  t.match(await readModel.documents([gone.id]), [{ status: 'deleted', email: '' }])
  t.equal((await live(send)).id, gone.id + 1, 'its addresses are free')
  await audit('erase', String(gone.id + 1), '--emergency', '--reason', 'ticket 8')
  // As the server stores it: neither the events nor their names tell.
  for await (const event of keysOf(eventStore).log.readAll({ systemEvents: true })) {
    const text = JSON.stringify([event.stream, event.data, event.metadata]).toLowerCase()
    for (const trace of TRACES) if (text.includes(trace)) t.fail(`${event.stream}: ${trace}`)
  }
})

t.test('a customer whose events can’t be applied is erased too', async (t) => {
  const folder = await temporaryFolder(t)
  const { READMODEL_URL = '' } = environment(folder)
  const { send, eventStore } = await startSubgraph(t, { folder })
  const { id } = await signUp(send, EMAIL)
  const metadata = {
    $correlationId: 'x',
    $causationId: 'x',
    actor: 'x',
    at: new Date().toISOString(),
    schemaVersion: 2,
  }
  const poison = () => ({ id: crypto.randomUUID(), type: 'NobodyKnowsThis', data: {}, metadata })
  await keysOf(eventStore).log.append(`customer-${id}`, [poison(), poison()], { expected: 0 })
  const readModel = await openReadModel(READMODEL_URL)
  t.teardown(() => readModel.close())
  await until('it is parked', async () => (await readModel.parked()).length > 0)
  const { emailHashKey } = loadKeys(loadConfiguration(environment(folder)))
  const audit = auditor(eventStore, {
    openReadModel: () => openReadModel(READMODEL_URL),
    emailHashKey: () => emailHashKey,
  })
  t.match(await audit('erase', EMAIL, '--json', '--emergency', '--reason', 'ticket 8'), {
    code: 0,
    output: `{"customerId":${id},"customer":"deleted","eventsInClear":0,"request":1}\n`,
  })
  t.match(await readModel.documents([id]), [{ status: 'deleted', email: '' }])
  t.same(await readModel.parked(), [])
  const [first] = await collect(eventStore.readStream(`customer-${id}`))
  t.match(first?.data, { email: '[erased:0]' })
  t.match(await foldCustomer(eventStore, id), { status: 'deleted' })
})

t.test('an address that is no customer’s; nobody wants to after all; what is in clear is told', async (t) => {
  const folder = await temporaryFolder(t)
  const { READMODEL_URL = '' } = environment(folder)
  const { send, eventStore } = await startSubgraph(t, { folder })
  const { emailHashKey } = loadKeys(loadConfiguration(environment(folder)))
  const context = { openReadModel: () => openReadModel(READMODEL_URL), emailHashKey: () => emailHashKey }
  const audit = auditor(eventStore, context)
  const subscribe = (email: string) =>
    send('mutation($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }', { variables: { email } })
  await subscribe(EMAIL)
  const declined = auditor(eventStore, { ...context, confirm: async () => false })
  t.match(await declined('erase', EMAIL, '--emergency', '--reason', 'ticket 8'), {
    code: 1,
    notes: 'Nothing was erased.\n',
  })
  t.match(await declined('erase', EMAIL, '--yes', '--emergency', '--reason', 'ticket 8'), {
    code: 0,
    output: /what was known of it is erased/,
  })
  await t.rejects(audit('erase', EMAIL, '--emergency', '--reason', 'ticket 8'), {
    message: 'Nothing is known of this address.',
  })
  t.match(
    (await subscribe(EMAIL)).data,
    { subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } },
    'as if for the first time',
  )

  const { id } = await signUp(send, NEXT_EMAIL)
  const [registered] = await collect(eventStore.readStream(`customer-${id}`))
  // As an older release would have written it.
  await keysOf(eventStore).log.append(
    'customer-900',
    [{ ...(registered as RecordedEvent), metadata: registered?.metadata ?? null, id: crypto.randomUUID() }],
    { expected: 'no_stream' },
  )
  t.match(await audit('erase', '900', '--emergency', '--reason', 'ticket 8'), {
    code: 1,
    notes: /^Events from before there was encryption: 1\. /m,
  })
})
