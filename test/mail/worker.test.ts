/** The mail worker against a real SMTP server: nothing lost, nothing twice, nobody held up. */
import t, { type Test } from 'tap'
import { type EventPlace, placeOf } from '../../eventstore/event-place.ts'
import { openEventStore } from '../../eventstore/open-event-store.ts'
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import { checkpointStream } from '../../mail/mail-checkpoint.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { temporaryFolder } from '../support/graph.ts'
import { until } from '../support/until.ts'
import {
  append,
  CONFIRMATION,
  emailOf,
  openEvents,
  RESET,
  registered,
  requestResets,
  startSmtp,
  startWorker,
  storedCheckpoint,
  tokens,
  toOf,
} from './support.ts'

const emails = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => emailOf(first + index)).sort()

async function openKurrent(t: Test) {
  const server = await startEventStoreServer(t)
  const eventStore = await openEventStore(server.url)
  t.teardown(() => eventStore.close())
  return { eventStore, another: () => openEventStore(server.url) }
}

async function openSqlite(t: Test) {
  const folder = await temporaryFolder(t)
  return { eventStore: openEvents(t, folder), another: () => openEvents(t, folder) }
}

for (const [name, open] of [
  ['SQLite', openSqlite],
  ['KurrentDB', openKurrent],
] as const) {
  t.test(`${name}: sends what is there and what comes, once, also over restarts`, async (t) => {
    const [smtp, { eventStore, another }] = await Promise.all([startSmtp(t), open(t)])
    await requestResets(eventStore, 1, 30)
    const first = startWorker(t, eventStore, { smtp, batchSize: 7 })
    await first.caughtUp()
    t.same(smtp.recipients(), emails(1, 30))
    const [, id = ''] = await append(eventStore, 'customer-31', [registered(31), CONFIRMATION])
    await until('it comes at once', () => smtp.mails.length === 31)
    t.match(smtp.mails[30]?.text, tokens.of('confirm-account', id))
    t.equal(smtp.mails[30]?.messageId, `<${id}@example.com>`)
    await first.caughtUp()
    t.match(await storedCheckpoint(eventStore), { holder: null, unsent: [] })
    t.same(await eventStore.getStreamMetadata('mailCheckpoint-default'), { $maxCount: 1 })
    await first.stop()

    const other = await another()
    t.teardown(() => other.close())
    const second = startWorker(t, other, { smtp })
    await second.caughtUp()
    await requestResets(eventStore, 32, 33)
    await second.caughtUp()
    t.same(smtp.recipients(), emails(1, 33))
    await t.rejects(first.caughtUp(), /stopped/)
  })

  t.test(`${name}: two workers send each mail once, and one goes on alone`, async (t) => {
    const [smtp, { eventStore, another }] = await Promise.all([startSmtp(t), open(t)])
    await requestResets(eventStore, 1, 20)
    const other = await another()
    t.teardown(() => other.close())
    const options = { smtp, batchSize: 3, leaseMs: 6_000 }
    const workers = [startWorker(t, eventStore, options), startWorker(t, other, options)]
    await requestResets(eventStore, 21, 30)
    await Promise.all(workers.map((worker) => worker.caughtUp()))
    for (let id = 31; id <= 40; id++) {
      await requestResets(eventStore, id, id)
      if (id % 3 === 0) await Promise.all(workers.map((worker) => worker.caughtUp()))
    }
    await Promise.all(workers.map((worker) => worker.caughtUp()))
    t.same(smtp.recipients(), emails(1, 40))
    await workers[0]?.stop()
    await requestResets(eventStore, 41, 41)
    await workers[1]?.caughtUp()
    t.same(smtp.recipients(), emails(1, 41))
  })
}

t.test('an idle log does not grow, and events without mails are written down now and then', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  let appends = 0
  const counted: EventStore = {
    ...eventStore,
    append(...args) {
      appends++
      return eventStore.append(...args)
    },
  }
  const worker = startWorker(t, counted, { smtp })
  await worker.caughtUp()
  await append(eventStore, 'customer-1', [registered(1)])
  await worker.caughtUp()
  t.equal(appends, 0)
  await append(eventStore, 'customer-1', [RESET])
  await worker.caughtUp()
  t.equal(appends, 2, 'before the mail and after it')
  const touched = Array.from({ length: 500 }, () => ({ type: 'CustomerTokensRevoked', data: {} }) as const)
  for (let time = 0; time < 10; time++) await append(eventStore, 'customer-1', touched)
  await worker.caughtUp()
  t.equal(appends, 3)
  await append(eventStore, 'customer-1', touched)
  await worker.caughtUp()
  t.equal(appends, 3)
  await worker.stop()
  t.equal(appends, 4, 'what it has seen is not seen to again')
  const again = startWorker(t, counted, { smtp })
  await again.caughtUp()
  await again.stop()
  t.equal(appends, 4)
})

t.test('the server away and back: nothing is lost, and it is told once', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  await smtp.stop()
  let retries = 0
  let outages = 0
  const observer = { retried: () => retries++, interrupted: () => outages++ }
  const worker = startWorker(t, eventStore, { smtp, observer })
  await requestResets(eventStore, 1, 8)
  await until('it has tried several times', () => retries > 5)
  t.equal(worker.status().waiting, 8)
  t.ok(worker.status().lagSeconds > 0)
  t.equal(worker.status().isServerThere, false)
  const checkpoint = await storedCheckpoint(eventStore)
  t.type(checkpoint.holder, 'string')
  await smtp.start()
  await worker.caughtUp()
  t.same(smtp.recipients(), emails(1, 8))
  t.same(worker.status(), { waiting: 0, lagSeconds: 0, isServerThere: true })
  t.equal(outages, 1)
  t.equal(worker.lines.filter((line) => line.includes('does not accept mails')).length, 1)
  t.equal(worker.lines.filter((line) => line.includes('accepts mails again')).length, 1)
})

t.test('a server that refuses us all (password, sender, on its way out) is waited for', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t, { user: 'shop', password: 'p@ss/word' })
  const wrong = { ...smtp, url: smtp.url.replace('p%40ss', 'wr0ng') }
  let retries = 0
  const worker = startWorker(t, eventStore, { smtp: wrong, observer: { retried: () => retries++ } })
  await requestResets(eventStore, 1, 2)
  await until('it tries again', () => retries > 3)
  await worker.stop()
  t.same(smtp.mails, [])
  t.match(worker.lines[0], /EAUTH/)
  t.notMatch(worker.lines.join('\n'), /wr0ng|p@ss|example\.com/)

  smtp.refuse = () => (smtp.asked.length < 4 ? { code: 421, text: 'too busy' } : undefined)
  const right = startWorker(t, eventStore, { smtp })
  await right.caughtUp()
  t.same(smtp.recipients(), emails(1, 2), 'no mail was given up')
})

t.test('no password goes over the network in clear', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t, { user: 'shop', password: 'secret' })
  await requestResets(eventStore, 1, 1)
  let retries = 0
  // The same server by an address that does not show that it is this machine.
  const elsewhere = { ...smtp, url: smtp.url.replace('127.0.0.1', '[::ffff:127.0.0.1]') }
  const worker = startWorker(t, eventStore, { smtp: elsewhere, observer: { retried: () => retries++ } })
  await until('it has tried', () => retries > 1)
  await worker.stop()
  t.equal(smtp.logins, 0)
  t.match(worker.lines[0], /ETLS/)
  await startWorker(t, eventStore, { smtp }).caughtUp()
  t.equal(smtp.logins, 1)
})

t.test('a recipient that is refused is passed over, without a word of who it is', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  smtp.refuse = (address) =>
    address === emailOf(2) ? { code: 550, text: `5.1.1 <${address}>: no such user` } : undefined
  const failed: string[] = []
  const worker = startWorker(t, eventStore, { smtp, observer: { failed: (purpose) => failed.push(purpose) } })
  await requestResets(eventStore, 1, 1)
  const [, id] = await append(eventStore, 'customer-2', [registered(2), RESET])
  await requestResets(eventStore, 3, 3)
  await worker.caughtUp()
  t.same(smtp.recipients(), [emailOf(1), emailOf(3)])
  t.same(failed, ['reset-password'])
  t.equal(smtp.asked.filter((address) => address === emailOf(2)).length, 1)
  const [line = ''] = worker.lines.filter((each) => each.includes('could not be sent'))
  t.match(line, `"eventId":"${id}"`)
  t.match(line, '"customerId":2')
  t.match(line, '550')
  t.notMatch(worker.lines.join('\n'), /@|Ann/)
  t.match(await storedCheckpoint(eventStore), { unsent: [] })
})

t.test('an address that no server takes is none for ever', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  const worker = startWorker(t, eventStore, { smtp })
  for (const [index, email] of ['', 'a@b.example\r\nBcc: c@d.example', 'a b', '<x>@y.example'].entries()) {
    await append(eventStore, `customer-${index + 1}`, [registered(index + 1, email), RESET])
  }
  await requestResets(eventStore, 9, 9)
  await worker.caughtUp()
  t.ok(smtp.recipients().includes(emailOf(9)))
  t.notOk(
    smtp.asked.some((address) => /[cd]@/.test(address)),
    'nobody is smuggled in',
  )
})

t.test('a recipient that is put off is tried again beside the others, not for ever', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  const times = (id: number) => smtp.asked.filter((address) => address === emailOf(id)).length
  smtp.refuse = (address) => {
    if (address === emailOf(1)) return { code: 451, text: `4.7.1 <${address}> greylisted` }
    return address === emailOf(2) && times(2) < 3 ? { code: 452, text: 'mailbox full' } : undefined
  }
  const failed: string[] = []
  const observer = { failed: (purpose: string) => failed.push(purpose) }
  const worker = startWorker(t, eventStore, { smtp, observer, mostTries: 5 })
  await requestResets(eventStore, 1, 12)
  await worker.caughtUp()
  t.same(smtp.recipients(), emails(2, 12))
  t.equal(times(2), 3)
  t.ok(times(1) >= 5)
  t.same(failed, ['reset-password'])
  t.notMatch(worker.lines.join('\n'), /@/)
})

t.test('a server that puts everybody off loses nothing', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  smtp.refuse = () => (smtp.asked.length < 40 ? { code: 452, text: 'no space left' } : undefined)
  const worker = startWorker(t, eventStore, { smtp, mostTries: 3 })
  await requestResets(eventStore, 1, 3)
  await worker.caughtUp()
  t.same(smtp.recipients(), emails(1, 3))
})

t.test('a mail that takes long holds up neither the others nor the log', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  const { promise, resolve } = Promise.withResolvers<void>()
  smtp.hold = (address) => (address === emailOf(1) ? promise : undefined)
  const worker = startWorker(t, eventStore, { smtp })
  await requestResets(eventStore, 1, 6)
  await until('the others are sent', () => smtp.mails.length === 5)
  await requestResets(eventStore, 7, 9)
  await until('and later ones', () => smtp.mails.length === 8)
  await until('and written down', async () => (await storedCheckpoint(eventStore)).unsent.length === 1)
  t.equal(worker.status().waiting, 1)
  resolve()
  await worker.caughtUp()
  t.same(smtp.recipients(), emails(1, 9))
})

t.test('while a mail waits a restart sends that one, and the others not again', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  smtp.refuse = (address) => (address === emailOf(2) ? { code: 451, text: 'later' } : undefined)
  const first = startWorker(t, eventStore, { smtp, mostTries: 1_000 })
  await requestResets(eventStore, 1, 5)
  await until('the others are sent', () => smtp.mails.length === 4)
  await first.stop()
  t.match(await storedCheckpoint(eventStore), { holder: null, unsent: { length: 1 } })
  smtp.refuse = () => undefined
  const second = startWorker(t, eventStore, { smtp })
  await second.caughtUp()
  t.same(smtp.recipients(), emails(1, 5))
})

t.test('stopping finishes the mail in hand, and gives up one that takes too long', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  const { promise, resolve } = Promise.withResolvers<void>()
  let held = 0
  smtp.hold = () => {
    held++
    return promise
  }
  const first = startWorker(t, eventStore, { smtp, graceMs: 10_000 })
  await requestResets(eventStore, 1, 1)
  await until('it is in hand', () => held === 1)
  const stopped = first.stop()
  await append(eventStore, 'customer-2', [registered(2), RESET])
  resolve()
  await stopped
  t.same(smtp.recipients(), [emailOf(1)])
  t.match(await storedCheckpoint(eventStore), { holder: null, unsent: [] })

  smtp.hold = () => {
    held++
    return new Promise<void>(() => {})
  }
  const second = startWorker(t, eventStore, { smtp, graceMs: 10 })
  await until('the next is in hand', () => held === 2)
  await second.stop()
  t.match(await storedCheckpoint(eventStore), { holder: null, unsent: { length: 1 } })
  smtp.hold = () => undefined
  await startWorker(t, eventStore, { smtp }).caughtUp()
  t.same(smtp.recipients(), emails(1, 2))
})

t.test('and it ends where the log does not answer just then', builtIn('hang'), async (t: Test) => {
  const server = await startEventStoreServer(t)
  const eventStore = await openEventStore(server.url)
  t.teardown(() => eventStore.close())
  await append(eventStore, 'customer-1', [registered(1)])
  let isOver = false
  const hanging: EventStore = {
    ...eventStore,
    subscribeToAll(options) {
      server.hang(true)
      worker.stop().then(() => {
        isOver = true
      })
      return eventStore.subscribeToAll(options)
    },
  }
  const worker = startWorker(t, hanging, { folder: await temporaryFolder(t) })
  await until('it has stopped', () => isOver)
  server.hang(false)
})

t.test('what is superseded while the server is away is not sent', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  await smtp.stop()
  let retries = 0
  const worker = startWorker(t, eventStore, { smtp, observer: { retried: () => retries++ } })
  await append(eventStore, 'customer-1', [registered(1), RESET])
  await until('it is tried', () => retries > 0)
  const [id = ''] = await append(eventStore, 'customer-1', [RESET])
  const before = retries
  await until('it is tried after that', () => retries > before + 2)
  await smtp.start()
  await worker.caughtUp()
  t.equal(smtp.mails.length, 1)
  t.match(smtp.mails[0]?.text, tokens.of('reset-password', id))
})

t.test('a worker that shows no sign of life is followed by another; one that does is not', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  await requestResets(eventStore, 1, 2)
  const places: EventPlace[] = []
  for await (const event of eventStore.readAll()) if (event.type === RESET.type) places.push(placeOf(event))
  const [first, last] = places as [EventPlace, EventPlace]
  const checkpoints = checkpointStream(eventStore, 'default')
  const sign = async () => {
    const { revision } = await checkpoints.load()
    const checkpoint = { place: last, unsent: [first], holder: 'another' }
    await checkpoints.replace(revision, checkpoint, crypto.randomUUID())
  }
  await sign()
  const leaseMs = 600
  let isAlive = true
  // A sign of life before each look: none is late, however slow the machine is.
  const watched: EventStore = {
    ...eventStore,
    async *readStream(stream, options) {
      if (isAlive && stream === 'mailCheckpoint-default') await sign()
      yield* eventStore.readStream(stream, options)
    },
  }
  const began = performance.now()
  const worker = startWorker(t, watched, { smtp, leaseMs })
  await until('it has waited for more than a lease', () => performance.now() - began > 1.3 * leaseMs)
  t.same(smtp.mails, [], 'it is not this one’s turn')
  isAlive = false
  await worker.caughtUp()
  t.same(smtp.recipients(), [emailOf(1)], 'what the other had not sent')
  t.match(worker.lines.join('\n'), /takes over/)
  t.match(await storedCheckpoint(eventStore), { holder: null, unsent: [] })
})

t.test('a worker whose turn was taken stops sending', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  await smtp.stop()
  const worker = startWorker(t, eventStore, { smtp, leaseMs: 1_000 })
  await requestResets(eventStore, 1, 3)
  await until('it has them in hand', async () => (await storedCheckpoint(eventStore)).unsent.length === 3)
  const checkpoints = checkpointStream(eventStore, 'default')
  // As one that had seen no sign of life for long: what it has sent since is not sent again.
  for (let isDone = false; !isDone; ) {
    const { revision, checkpoint } = await checkpoints.load()
    if (!checkpoint) throw new Error('there is no checkpoint')
    const taken = { ...checkpoint, unsent: checkpoint.unsent.slice(0, 1), holder: null }
    isDone = (await checkpoints.replace(revision, taken, crypto.randomUUID())) !== undefined
  }
  await until('it has noticed', () => worker.status().waiting === 1)
  await smtp.start()
  await worker.caughtUp()
  t.equal(smtp.mails.length, 1)
})

t.test('the event store away: what was sent is not sent again when it is back', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  let isAway = false
  const unsteady: EventStore = {
    ...eventStore,
    async append(...args) {
      if (isAway) throw new EventStoreUnavailable('away')
      return eventStore.append(...args)
    },
    readStream(...args) {
      if (isAway) throw new EventStoreUnavailable('away')
      return eventStore.readStream(...args)
    },
  }
  smtp.hold = async () => {
    isAway = true
  }
  const worker = startWorker(t, unsteady, { smtp, concurrency: 1 })
  await requestResets(eventStore, 1, 3)
  await until('the first is sent', () => smtp.mails.length === 1)
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.equal(smtp.mails.length, 1)
  smtp.hold = () => undefined
  isAway = false
  await worker.caughtUp()
  t.same(smtp.recipients(), emails(1, 3))
})

t.test('a customer whose stream can’t be read holds up nobody', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  const failed: string[] = []
  const observer = { failed: (purpose: string) => failed.push(purpose) }
  const worker = startWorker(t, eventStore, { smtp, observer, mostTries: 3 })
  await eventStore.append('customer-1', [{ id: crypto.randomUUID(), type: 'Unknown', data: {} }], { expected: 'any' })
  await append(eventStore, 'customer-1', [RESET])
  await requestResets(eventStore, 2, 3)
  await worker.caughtUp()
  t.same(smtp.recipients(), emails(2, 3))
  t.same(failed, ['reset-password'])
})

t.test('addresses that are all letters of the world go as they are', async (t) => {
  const { eventStore } = await openSqlite(t)
  const smtp = await startSmtp(t)
  const worker = startWorker(t, eventStore, { smtp })
  await append(eventStore, 'customer-1', [
    registered(1, 'jörg@exämple.com', { firstname: '王"', lastname: '<x>' }),
    RESET,
  ])
  await worker.caughtUp()
  const [mail] = smtp.mails
  if (!mail) throw new Error('no mail')
  t.match(toOf(mail), /^jörg@/)
  t.match(mail, { to: { value: [{ name: '王" <x>' }] } })
})
