/** Requests of data subjects from end to end, on both stores: what is kept of them, and what interruptions do. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { executeRequest } from '../../../audit/requests/execute.ts'
import {
  changeRequest,
  countRequests,
  findRequest,
  type Officer,
  readNotes,
  readRegister,
  receiveRequest,
} from '../../../audit/requests/register.ts'
import type { AuditContext } from '../../../audit/subcommands/context.ts'
import { keysOf } from '../../../eventstore/encryption/customer-keys.ts'
import { type EventStore, EventStoreUnavailable } from '../../../eventstore/port.ts'
import { foldCustomer } from '../../../projections/fold.ts'
import { openReadModel } from '../../../projections/open-read-model.ts'
import { loadConfiguration } from '../../../runtime/configuration.ts'
import { emailKeysAsTyped } from '../../../schema/email-key.ts'
import { STREAM_NAMES, streamOf } from '../../../schema/streams.ts'
import { loadKeys } from '../../../subgraph/identity/subgraph-keys.ts'
import { collect } from '../../projections/support.ts'
import { startEventStoreServer } from '../../support/eventstore-server/server.ts'
import { environment, freshEmail, signUp, startSubgraph, temporaryFolder } from '../../support/graph.ts'
import { until } from '../../support/until.ts'
import { auditor, json, privacyOfficer } from '../support.ts'

const RULES = { secondPerson: true, approvalDays: 14 }
const WORDS = 'called twice about xylophones'

const officer = (name: string, more: Partial<Officer> = {}): Officer => ({
  actor: `operator:${name}`,
  commandId: crypto.randomUUID(),
  now: new Date(),
  rules: RULES,
  ...more,
})

const STORES: Record<string, (t: Test) => Promise<Record<string, string>>> = {
  SQLite: async () => ({}),
  'an event-store server': async (t) => ({ EVENTSTORE_URL: (await startEventStoreServer(t)).url }),
}

async function start(t: Test, env: Record<string, string> = {}, wrapEventStore?: (store: EventStore) => EventStore) {
  const folder = await temporaryFolder(t)
  const { send, eventStore } = await startSubgraph(t, { folder, env, ...(wrapEventStore && { wrapEventStore }) })
  const configuration = loadConfiguration({ ...environment(folder), ...env })
  const { emailHashKey } = loadKeys(configuration)
  const open = () => openReadModel(configuration.READMODEL_URL)
  const readModel = await open()
  t.teardown(() => readModel.close())
  const as = (operator: string): Partial<AuditContext> => ({
    operator,
    openReadModel: open,
    emailHashKey: () => emailHashKey,
  })
  return {
    folder,
    send,
    eventStore,
    /** What an execution needs. */
    options: (who: Officer) => ({
      eventStore,
      readModel,
      emailHashKey,
      officer: who,
      isShown: () => true,
      handOut: async () => {},
    }),
    privacy: (operator: string) => privacyOfficer(eventStore, as(operator)),
    audit: (operator: string, more: Partial<AuditContext> = {}) => auditor(eventStore, { ...as(operator), ...more }),
  }
}

/** Enters a request for a customer and has it approved. @returns its number */
async function approved(eventStore: EventStore, customerId: number, kind: 'erasure' | 'access' = 'erasure') {
  const receive = {
    type: 'receive',
    kind,
    subject: { customerId },
    channel: 'letter',
    receivedOn: '2026-01-31',
  } as const
  const { number } = await receiveRequest(eventStore, receive, officer('alice'))
  await changeRequest(eventStore, number, { type: 'identify', how: 'document' }, officer('alice'))
  await changeRequest(eventStore, number, { type: 'approve' }, officer('bob'))
  return number
}

const typesOf = async (eventStore: EventStore) =>
  (await collect(eventStore.readStream(STREAM_NAMES.privacyRequests))).map(({ type }) => type)

for (const [name, environmentOf] of Object.entries(STORES)) {
  t.test(`an erasure on ${name}`, async (t) => {
    const { send, eventStore, privacy, audit } = await start(t, await environmentOf(t))
    const email = freshEmail()
    const { id, token } = await signUp(send, email)
    const [alice, bob] = [privacy('alice'), privacy('bob')]

    t.match(await alice('list'), { code: 0, output: '', notes: 'No request is open.\n' })
    const received = await alice('receive', 'erasure', email, '--channel', 'letter', '--note', WORDS, '--json')
    t.match(json(received), [{ request: 1, customerId: id, status: 'received', overdue: false }])
    t.match(await alice('identify', '1', '--how', 'mailed-link'), { code: 0 })
    await t.rejects(alice('approve', '1'), { code: 'AUD_ERR_REFUSED', message: /second person/ })
    await t.rejects(alice('execute', '1', '--yes'), { message: /not approved yet/ })
    await t.rejects(audit('alice')('erase', email, '--yes', '--request', '1'), { message: /not approved yet/ })
    await t.rejects(audit('alice')('erase', email, '--yes', '--reason', 'x'), { code: 'RUN_ERR_USAGE' })
    t.match(await bob('approve', '1'), { code: 0, output: /^Request 1 is approved until / })

    const [shown] = json(await bob('show', '1', '--json'))
    t.match(shown, {
      status: 'approved',
      approval: { by: 'operator:bob', expired: false },
      stays: [/number/, /log/, /register/],
      toDo: [
        { step: 'scavenge' },
        { step: 'replicas' },
        { step: 'backups' },
        { step: 'files' },
        { step: 'other-systems' },
      ],
    })
    const held = Object.fromEntries(shown.held.map(({ what, fate }: { what: string; fate: string }) => [what, fate]))
    t.match(held, {
      'the account: profile, addresses, changes': 'unreadable',
      'the password hash': 'goes',
      'the key of the personal fields': 'goes',
      'notes on requests': 'unreadable',
    })
    t.notMatch((await bob('show', '1')).output, WORDS, 'the notes are not shown by the way')
    t.match((await bob('show', '1', '--reveal', '--reason', 'a look')).output, WORDS)
    const stored = await collect(keysOf(eventStore).log.readStream(streamOf.privacyNotes(id)))
    t.equal(stored.length, 1)
    t.notMatch(JSON.stringify(stored.map(({ data }) => data)), 'xylophones', 'they are encrypted')

    await bob('hold', '1', '--ground', 'legal-claim', '--reason', 'file 12')
    await t.rejects(alice('execute', '1', '--yes'), { message: /Request 1 is on legal hold/ })
    await t.rejects(audit('alice')('erase', email, '--yes', '--emergency', '--reason', 'x'), {
      message: /Request 1 is on/,
    })
    t.match(await send('mutation { deleteCustomer }', { token }), {
      data: { deleteCustomer: null },
      errors: [{ message: /can't be deleted at the moment/, extensions: { code: 'FORBIDDEN' } }],
    })
    await bob('release', '1', '--reason', 'closed')
    const declined = privacyOfficer(eventStore, { operator: 'alice', confirm: async () => false })
    t.match(await declined('execute', '1'), { code: 1, notes: 'Nothing was erased.\n' })
    t.match(await foldCustomer(eventStore, id), { status: 'registered' }, 'nothing is erased so far')

    const other = await signUp(send)
    const third = await signUp(send)
    t.match((await send('mutation { deleteCustomer }', { token: third.token })).data, { deleteCustomer: true })
    await t.rejects(audit('alice')('erase', String(other.id), '--yes', '--request', '1'), { message: /somebody else/ })
    t.match(await audit('alice')('erase', email, '--yes', '--request', '1'), { output: `Customer ${id} is erased.\n` })
    t.match(await foldCustomer(eventStore, id), { status: 'deleted' })
    t.match(await foldCustomer(eventStore, other.id), { status: 'registered' })

    const [receipt] = json(await alice('receipt', '1', '--json'))
    t.match(receipt, {
      status: 'done',
      customerId: id,
      done: { outcome: 'erased', by: 'operator:alice', eventsInClear: 0 },
      execution: { approval: 'given' },
      identity: { how: 'mailed-link', by: 'operator:alice' },
    })
    t.notOk(
      receipt.held.some(({ fate }: { fate: string }) => fate === 'goes'),
      'what had to go is gone',
    )
    t.same([...(await readNotes(eventStore, { customerId: id })).values()], ['[erased:0]', '[erased:1]', '[erased:2]'])
    t.match(await alice('refuse', '1', '--ground', 'other', '--reason', 'x').catch((error) => error), {
      message: /is done, by operator:alice/,
    })
    t.match(await alice('step', '1', 'backups'), { code: 0 })
    t.match((await alice('receipt', '1')).output, /backups +done .* by operator:alice/)
    t.match(json(await alice('list', '--all', '--json')), [{ request: 1, status: 'done', secondsUntilDue: null }])
    t.match(await audit('alice')('find', '--type', 'PrivacyRequestDone', '--json'), { output: /"outcome":"erased"/ })

    await t.test('a later request of somebody who is erased keeps no words', async (t) => {
      const again = await alice('receive', 'access', String(id), '--channel', 'e-mail', '--note', WORDS)
      t.match(again, { code: 0, output: /^Request 2 / })
      const refused = await alice('refuse', '2', '--ground', 'other', '--reason', WORDS)
      t.match(refused, { code: 0, notes: 'The note is not kept: the person is erased.\n' })
    })
  })
}

t.test('files: access and portability, also for an address that is no customer’s', async (t) => {
  const { folder, send, eventStore, privacy } = await start(t)
  const [alice, bob] = [privacy('alice'), privacy('bob')]
  const email = freshEmail()
  const { id } = await signUp(send, email)
  const guest = freshEmail()
  await send('mutation($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }', {
    variables: { email: guest },
  })
  for (const [kind, who] of [
    ['access', email],
    ['portability', guest],
  ] as const) {
    const [{ request }] = json(await alice('receive', kind, who, '--channel', 'e-mail', '--json', '--note', WORDS))
    await alice('identify', String(request), '--how', 'signed-in')
    await bob('approve', String(request))
    const path = join(folder, `${kind}.json`)
    t.match(await bob('execute', String(request), '--output', path), { code: 0, output: /is done: handed-out/ })
    const file = await readFile(path, 'utf8')
    t.ok(file.includes(who) && file.includes(WORDS), 'the notes about a person are data about the person')
    t.match(JSON.parse(file).requests, [{ type: 'PrivacyRequestReceived' }, {}, {}, { type: 'ExecutionBegun' }])
    t.match(JSON.parse(file).disclosures, [{ data: { command: `privacy execute ${request}` } }])
    t.equal(JSON.parse(file).disclosures.length, 1, 'only those about this person')
    const again = await bob('execute', String(request), '--output', '-')
    t.match(JSON.parse(again.output), { requests: { length: 6 } }, 'again, while the approval holds')
    const { done } = await findRequest(eventStore, request)
    t.match(done, { outcome: 'handed-out', sha256: /^[0-9a-f]{64}$/ })
  }
  t.notMatch(JSON.stringify([...(await readRegister(eventStore)).requests.values()]), /@/, 'no address in the register')

  await t.test('the guest is erased; a guest who became a customer is not, by mistake', async (t) => {
    const [{ request }] = json(await alice('receive', 'erasure', guest, '--channel', 'e-mail', '--json'))
    await alice('identify', String(request), '--how', 'signed-in')
    await bob('approve', String(request))
    const { id: late } = await signUp(send, guest)
    await t.rejects(alice('execute', String(request), '--yes'), {
      message: new RegExp(`Customer ${late} has this address`),
    })
    t.match(await foldCustomer(eventStore, late), { status: 'registered' })
  })
  await t.rejects(alice('receive', 'access', '404404', '--channel', 'other'), {
    message: 'There is no customer 404404.',
  })
  await t.rejects(alice('show', '77'), { message: /There is no request 77; there are 3/ })
  t.match(await alice('receive', 'rectification', String(id), '--channel', 'telephone'), { code: 0 })
  await alice('identify', '4', '--how', 'call-back')
  await bob('approve', '4')
  t.match(await alice('execute', '4', '--note', 'the shop did it'), { output: /is done: carried-out/ })
})

for (const [name, environmentOf] of Object.entries(STORES)) {
  t.test(`the file of a customer whose stream was tombstoned by hand, on ${name}`, async (t) => {
    const { folder, send, eventStore, privacy } = await start(t, await environmentOf(t))
    const [alice, bob] = [privacy('alice'), privacy('bob')]
    const { id } = await signUp(send)
    await eventStore.tombstoneStream(streamOf.customer(id), { expected: 'any' })
    await alice('receive', 'access', String(id), '--channel', 'letter')
    t.match(await alice('show', '1'), { code: 0, output: /Held now:/ })
    await alice('identify', '1', '--how', 'signed-in')
    await bob('approve', '1')
    const path = join(folder, 'access.json')
    t.match(await bob('execute', '1', '--output', path), { code: 0, output: /is done: handed-out/ })
    t.match(JSON.parse(await readFile(path, 'utf8')).events.at(-1), { type: 'AccessRecorded' })
  })
}

t.test('in an emergency, or where the store wants no second person', async (t) => {
  const { send, eventStore, audit } = await start(t)
  const [first, second] = [await signUp(send), await signUp(send)]
  for (const reason of ['Ann asked', `mail of ${first.email}`, 'x@y.z', '(Lee)']) {
    await t.rejects(audit('alice')('erase', String(first.id), '--emergency', '--reason', reason), {
      message: /must not name the person/,
    })
  }
  t.match(
    await audit('alice')('erase', String(first.id), '--emergency', '--reason', 'court order, Annex 2', '--json'),
    {
      code: 0,
      output: `{"customerId":${first.id},"customer":"deleted","eventsInClear":0,"request":1}\n`,
    },
  )
  t.match(await findRequest(eventStore, 1), {
    waiver: { by: 'operator:alice', reason: 'court order, Annex 2' },
    execution: { approval: 'waived' },
    done: { outcome: 'erased' },
  })
  const rules = { requestRules: () => ({ secondPerson: false, approvalDays: 14 }) }
  t.match(await audit('alice', rules)('erase', String(second.id), '--reason', 'ticket 7', '--yes'), { code: 0 })
  t.match(await findRequest(eventStore, 2), { execution: { approval: 'not-required' }, done: { outcome: 'erased' } })
})

t.test('the read model of another shop is left alone, and nothing is begun', async (t) => {
  const [shop, other] = [await start(t), await start(t)]
  const [{ id }, namesake] = [await signUp(shop.send), await signUp(other.send)]
  t.equal(id, namesake.id)
  const { readModel } = other.options(officer('alice'))
  const isThere = async () => (await readModel.documents([id]))[0]?.status === 'registered'
  await until('the other shop has a document', async () => (await isThere()) && (await readModel.getCheckpoint()))
  const message = /has the documents of another log: check READMODEL_URL/
  const options = { openReadModel: () => openReadModel(environment(other.folder).READMODEL_URL as string) }
  const args = ['erase', String(id), '--emergency', '--yes', '--reason', 'ticket 7']
  await t.rejects(shop.audit('alice', options)(...args), { message })
  const number = await approved(shop.eventStore, id)
  await t.rejects(executeRequest(number, { ...shop.options(officer('alice')), readModel }), { message })
  t.match(await findRequest(shop.eventStore, number), { execution: undefined })
  t.equal((await foldCustomer(shop.eventStore, id)).status, 'registered')
  t.ok(await isThere())
})

t.test('an execution that dies halfway is resumed', async (t) => {
  const { send, eventStore, options } = await start(t)
  for (const [what, failing] of [
    ['before anything is erased', { readModel: undefined, emailHashKey: undefined }],
    [
      'after the customer is deleted',
      { readModel: { getCheckpoint: async () => null, documents: () => Promise.reject(new Error('died')) } },
    ],
  ] as const) {
    const { id } = await signUp(send)
    const number = await approved(eventStore, id)
    await t.rejects(executeRequest(number, { ...options(officer('alice')), ...failing } as never), what)
    t.match(await findRequest(eventStore, number), { execution: { by: 'operator:alice' }, done: undefined }, what)
    let resumed = 0
    const again = {
      ...options(officer('bob', { now: new Date(Date.now() + 30 * 86_400_000) })),
      onResume: () => void resumed++,
    }
    await executeRequest(number, again)
    t.equal(resumed, 1, 'and it is told')
    t.match(await findRequest(eventStore, number), { done: { by: 'operator:bob', outcome: 'erased' } })
    t.match(await foldCustomer(eventStore, id), { status: 'deleted' })
    await t.rejects(executeRequest(number, options(officer('bob'))), { message: /done already/ })
  }
  const { id } = await signUp(send)
  const number = await approved(eventStore, id, 'access')
  const broken = { ...options(officer('alice')), handOut: () => Promise.reject(new Error('disk full')) }
  await t.rejects(executeRequest(number, broken), { message: 'disk full' })
  t.match((await executeRequest(number, options(officer('alice')))).request, { done: { outcome: 'handed-out' } })
})

t.test(
  'an erasure by its address that dies before its end is on record is resumed, though nothing is left of it',
  async (t) => {
    let dies = false
    const { send, eventStore, audit } = await start(t, {}, (store) => ({
      ...store,
      async append(stream, events, append) {
        const isEnd = stream === STREAM_NAMES.privacyRequests && events[0]?.type === 'PrivacyRequestDone'
        if (dies && isEnd) throw new EventStoreUnavailable('It died.')
        return store.append(stream, events, append)
      },
    }))
    const customer = await signUp(send)
    const guest = freshEmail()
    await send(`mutation { subscribeEmailToNewsletter(email: "${guest}") { status } }`)
    for (const [index, email] of [customer.email, guest].entries()) {
      const args = ['erase', email, '--emergency', '--reason', 'ticket 7']
      const erase = () => audit('alice')(...args)
      const notes: string[] = []
      dies = true
      await t.rejects(audit('alice', { note: (line) => notes.push(line) })(...args), { message: 'It died.' })
      t.match(notes.at(-1), new RegExp(`^Request ${index + 1} is begun, but not done: run the same command again`))
      t.match(await findRequest(eventStore, index + 1), { execution: {}, done: undefined })
      dies = false
      const again = await erase()
      t.match(again, { code: 0, notes: new RegExp(`^Request ${index + 1} had been begun: it is resumed\\.`) })
      t.match(await findRequest(eventStore, index + 1), { done: { outcome: 'erased' } })
      t.equal((await readRegister(eventStore)).requests.size, index + 1)
      await t.rejects(erase(), { message: 'Nothing is known of this address.' }, 'once it is done')
    }
  },
)

t.test('at once, and again', async (t) => {
  /** Loses the answers to appends to the register. */
  let lost = 0
  const { send, eventStore, options } = await start(t, {}, (store) => ({
    ...store,
    async append(stream, events, append) {
      const result = await store.append(stream, events, append)
      if (stream !== STREAM_NAMES.privacyRequests || lost === 0) return result
      lost--
      throw new EventStoreUnavailable('The answer was lost.')
    },
  }))
  const { id } = await signUp(send)
  const subject = { customerId: id }
  const receive = { type: 'receive', kind: 'erasure', subject, channel: 'letter', receivedOn: '2026-01-31' } as const

  const numbers = await Promise.all(
    ['alice', 'bob', 'carol', 'dave'].map((name) => receiveRequest(eventStore, receive, officer(name))),
  )
  t.same(numbers.map(({ number }) => number).sort(), [1, 2, 3, 4], 'each has a number of its own')

  const command = officer('alice')
  lost = 1
  await t.rejects(receiveRequest(eventStore, receive, command, { note: WORDS }), { name: 'EventStoreUnavailable' })
  const repeated = await receiveRequest(eventStore, receive, command, { note: WORDS })
  t.equal(repeated.number, 5)
  t.equal((await receiveRequest(eventStore, receive, command, { note: WORDS })).number, 5)
  t.equal((await readRegister(eventStore)).requests.size, 5, 'a repeated command is written once')
  t.equal((await readNotes(eventStore, subject)).size, 1, 'and so is its note')

  await changeRequest(eventStore, 5, { type: 'identify', how: 'document' }, officer('alice'))
  const both = await Promise.allSettled(
    ['bob', 'carol'].map((name) => changeRequest(eventStore, 5, { type: 'approve' }, officer(name))),
  )
  t.same(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  t.match(
    both.find(({ status }) => status === 'rejected'),
    { reason: { message: /approved already, by operator:/ } },
  )

  await t.test('nobody approves a request about themselves', async (t) => {
    const { email, id: own } = await signUp(send)
    const about = { ...receive, subject: { customerId: own } }
    const { number } = await receiveRequest(eventStore, about, officer('alice'))
    await changeRequest(eventStore, number, { type: 'identify', how: 'document' }, officer('alice'))
    const { emailHashKey } = options(officer('alice'))
    await t.rejects(
      changeRequest(eventStore, number, { type: 'approve' }, officer(email.toUpperCase(), { emailHashKey })),
      {
        message: /about your own data/,
      },
    )
    await t.rejects(
      changeRequest(eventStore, number, { type: 'approve' }, officer('ann', { emailHashKey, email })),
      { message: /about your own data/ },
      'by the address that the identity provider says',
    )
    await changeRequest(eventStore, number, { type: 'approve' }, officer('bob@example.com', { emailHashKey }))
    await changeRequest(eventStore, number, { type: 'refuse', ground: 'withdrawn' }, officer('alice'))
  })

  await t.test('a hold on an address holds the customer who has it, and the other way round', async (t) => {
    const email = freshEmail()
    const { emailHashKey } = options(officer('alice'))
    const address = { emailKeys: emailKeysAsTyped(emailHashKey, email) }
    const first = await receiveRequest(eventStore, { ...receive, subject: address }, officer('alice'))
    await changeRequest(eventStore, first.number, { type: 'hold', ground: 'legal-claim' }, officer('alice'))
    const { id, token } = await signUp(send, email)
    t.match(await send('mutation { deleteCustomer }', { token }), {
      errors: [{ message: /can't be deleted at the moment/ }],
    })
    const customer = { ...receive, subject: { customerId: id } }
    const message = new RegExp(`Request ${first.number} is on legal hold`)
    await t.rejects(receiveRequest(eventStore, { ...customer, atOnce: { reason: 'x' } }, officer('bob')), { message })
    const { number } = await receiveRequest(eventStore, customer, officer('bob'))
    await changeRequest(eventStore, number, { type: 'identify', how: 'document' }, officer('bob'))
    await t.rejects(changeRequest(eventStore, number, { type: 'approve' }, officer('carol')), { message })
    await changeRequest(eventStore, first.number, { type: 'release' }, officer('bob'))
    await changeRequest(eventStore, number, { type: 'hold', ground: 'legal-claim' }, officer('bob'))
    await changeRequest(eventStore, first.number, { type: 'identify', how: 'document' }, officer('bob'))
    await t.rejects(changeRequest(eventStore, first.number, { type: 'approve' }, officer('carol')), {
      message: new RegExp(`Request ${number} is on legal hold`),
    })
    for (const each of [first.number, number]) {
      await changeRequest(eventStore, each, { type: 'refuse', ground: 'withdrawn' }, officer('bob'))
    }
  })

  const { version } = await findRequest(eventStore, 5)
  const seen = { seen: version }
  await changeRequest(eventStore, 5, { type: 'hold', ground: 'other' }, officer('carol'), seen)
  await t.rejects(changeRequest(eventStore, 5, { type: 'refuse', ground: 'other' }, officer('bob'), seen), {
    code: 'AUD_ERR_CONFLICT',
    message: /changed by operator:carol at .*, after you had looked at it/,
  })
  await changeRequest(eventStore, 5, { type: 'release' }, officer('carol'))

  const executing = officer('bob')
  lost = 2
  await t.rejects(executeRequest(5, options(executing)), { name: 'EventStoreUnavailable' })
  await t.rejects(executeRequest(5, options(executing)), { name: 'EventStoreUnavailable' })
  t.match((await executeRequest(5, options(executing))).request, { done: { by: 'operator:bob' } })
  const types = await typesOf(eventStore)
  for (const type of ['ExecutionBegun', 'PrivacyRequestDone']) {
    t.equal(types.filter((each) => each === type).length, 1, `${type} is written once`)
  }

  t.match(await countRequests(eventStore, new Date('2026-02-27T00:00:00Z')), {
    open: 4,
    overdue: 0,
    oldestDueSeconds: 2 * 86_400,
  })
  t.match(await countRequests(eventStore, new Date('2026-03-02T00:00:00Z')), {
    open: 4,
    overdue: 4,
    oldestDueSeconds: -86_400,
  })
  await t.test('the register of another log is read anew', async (t) => {
    const { eventStore: another } = await start(t)
    let current = eventStore
    const switched = new Proxy({} as EventStore, {
      get: (_, name) => current[name as keyof EventStore],
      has: (_, name) => name in current,
    })
    t.equal((await readRegister(switched)).requests.size, 8)
    current = another
    t.match(await countRequests(switched, new Date()), { open: 0, oldestDueSeconds: undefined })
  })
})
