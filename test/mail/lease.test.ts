/** The lease of a mail worker, state by state, on a real log: free, held, releasing, ended. And the small parts beside it. */
import t, { type Test } from 'tap'
import { placeOf } from '../../eventstore/event-place.ts'
import type { EventStore, RecordedEvent } from '../../eventstore/port.ts'
import { Conditions } from '../../mail/conditions.ts'
import { MailLease } from '../../mail/lease.ts'
import { createLetters } from '../../mail/letters.ts'
import { checkpointStream } from '../../mail/mail-checkpoint.ts'
import { Outage } from '../../mail/outage.ts'
import { openOutbox } from '../../mail/outbox.ts'
import { MailQueue } from '../../mail/queue.ts'
import { awaitLease } from '../../mail/resume.ts'
import { SettledMails } from '../../mail/settled-mails.ts'
import { SILENT } from '../../runtime/log.ts'
import { store } from '../../schema/store.ts'
import { stopClock } from '../support/clock.ts'
import { temporaryFolder } from '../support/graph.ts'
import { openEvents, requestResets, storedCheckpoint, tokens } from './support.ts'

const LEASE_MS = 60_000
const WAITS = { firstMs: 5, mostMs: 20 }

/** A lease with a queue that sends nothing, because nothing starts it. */
function newLease(eventStore: EventStore, folder: string, workerId: string, first: RecordedEvent) {
  const settled = new SettledMails()
  const outbox = openOutbox({ smtpUrl: undefined, dataFolder: folder })
  const queue = new MailQueue({
    letters: createLetters({ eventStore, tokens, store: store() }),
    outbox,
    log: SILENT,
    observer: {},
    concurrency: 1,
    attemptMs: LEASE_MS / 2,
    outageWaits: WAITS,
    mailWaits: WAITS,
    mostTries: 3,
    mayStart: () => false,
    onSettled: ({ id }) => settled.add(id),
  })
  let losses = 0
  const checkpoints = checkpointStream(eventStore, 'default')
  const options = {
    checkpoints,
    workerId,
    leaseMs: LEASE_MS,
    attemptMs: LEASE_MS / 2,
    queue,
    settled,
    log: SILENT,
    signal: new AbortController().signal,
    onChange: () => {},
    onLost: () => losses++,
  }
  return { lease: new MailLease(options, 'no_stream', placeOf(first)), queue, losses: () => losses, checkpoints }
}

async function withRequest(t: Test) {
  const folder = await temporaryFolder(t)
  const eventStore = openEvents(t, folder)
  await requestResets(eventStore, 1, 1)
  for await (const event of eventStore.readAll({ filter: { streamPrefixes: ['customer-'] }, direction: 'backwards' })) {
    if (event.type === 'PasswordResetRequested') return { folder, eventStore, request: event }
  }
  throw new Error('There is no request.')
}

t.test('free, held while mails are in hand, and free again', async (t) => {
  const { folder, eventStore, request } = await withRequest(t)
  const { lease, queue } = newLease(eventStore, folder, 'a', request)
  t.teardown(() => lease.end())
  await lease.save()
  t.notOk(lease.maySend, 'nothing is in hand')
  t.match(await storedCheckpoint(eventStore), { holder: null, unsent: [] })

  queue.add(request)
  await lease.save()
  t.ok(lease.maySend)
  t.match(await storedCheckpoint(eventStore), { holder: 'a', unsent: { length: 1 } })

  await queue.clear(0)
  await lease.save()
  t.notOk(lease.maySend)
  t.match(await storedCheckpoint(eventStore), { holder: null, unsent: [] })
})

t.test('a machine stood still, with its monotonic clock: nothing is sent before the lease is renewed', async (t) => {
  const { folder, eventStore, request } = await withRequest(t)
  const { lease, queue } = newLease(eventStore, folder, 'a', request)
  t.teardown(() => lease.end())
  queue.add(request)
  await lease.save()
  stopClock(t)
  t.ok(lease.maySend)
  const { now } = Date
  t.intercept(Date, 'now', { value: () => now() + LEASE_MS, configurable: true })
  t.notOk(lease.maySend, 'another one may have taken over')
  await lease.save()
  t.ok(lease.maySend)
})

t.test('releasing: the name goes, the mails stay', async (t) => {
  const { folder, eventStore, request } = await withRequest(t)
  const { lease, queue } = newLease(eventStore, folder, 'a', request)
  queue.add(request)
  await lease.save()
  await lease.release()
  t.notOk(lease.maySend)
  t.match(await storedCheckpoint(eventStore), { holder: null, unsent: { length: 1 } })
  const { revision } = await storedCheckpoint(eventStore)
  lease.end()
  t.ok(lease.isEnded)
  await lease.save()
  t.equal((await storedCheckpoint(eventStore)).revision, revision, 'an ended lease writes nothing')
})

t.test('ended: another worker has stored the checkpoint', async (t) => {
  const { folder, eventStore, request } = await withRequest(t)
  const [a, b] = ['a', 'b'].map((id) => newLease(eventStore, folder, id, request))
  if (!a || !b) throw new Error('There are two.')
  t.teardown(() => b.lease.end())
  b.queue.add(request)
  await b.lease.save()
  await a.lease.save()
  t.ok(a.lease.isEnded)
  t.equal(a.lease.error, undefined, 'that is no failure')
  t.equal(a.losses(), 1)
  t.ok(b.lease.maySend)

  const stopping = new AbortController()
  const waiting = awaitLease(a.checkpoints, 'a', LEASE_MS, stopping.signal, SILENT)
  await b.queue.clear(0)
  await b.lease.save()
  t.equal((await waiting).checkpoint?.holder, null, 'the one that waits goes on when the lease is free')
})

t.test('conditions resolve when they hold, and only then', async (t) => {
  const conditions = new Conditions()
  let count = 0
  let met = false
  const two = conditions
    .until(() => count >= 2)
    .then(() => {
      met = true
    })
  count = 1
  conditions.check()
  await Promise.resolve()
  t.notOk(met)
  count = 2
  conditions.check()
  await two
  t.ok(met)
  await conditions.until(() => true)
  const never = conditions.until(() => false)
  conditions.reject(new Error('over'))
  await t.rejects(never, { message: 'over' })
})

t.test('an outage is extended by each failure and ends at once', async (t) => {
  stopClock(t)
  const outage = new Outage({ firstMs: 1_000, mostMs: 4_000 })
  t.notOk(outage.isOngoing)
  t.equal(outage.until, 0)
  outage.extend()
  t.ok(outage.isOngoing)
  const first = outage.until - performance.now()
  t.ok(first > 0 && first <= 1_000)
  for (let i = 0; i < 5; i++) outage.extend()
  t.ok(outage.until - performance.now() > 1_000)
  outage.end()
  t.notOk(outage.isOngoing)
  t.equal(outage.until, 0)
})

t.test('settled mails: how many the checkpoint lacks', async (t) => {
  const settled = new SettledMails()
  settled.add('a')
  settled.add('b')
  t.equal(settled.unsaved, 2)
  settled.saved(1)
  t.equal(settled.unsaved, 1)
  t.ok(settled.has('a'))
  t.notOk(settled.has('c'))
})
