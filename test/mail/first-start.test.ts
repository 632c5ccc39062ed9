/** A mail worker on an old log: where it starts, and what it decrypts. */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { encode } from '../../eventstore/codec.ts'
import type { CustomerKeys } from '../../eventstore/encryption/customer-keys.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import type { EventStore } from '../../eventstore/port.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { temporaryFolder } from '../projections/support.ts'
import { KEYS } from '../support/keys.ts'
import { append, CONFIRMATION, emailOf, openEvents, RESET, registered, startSmtp, startWorker } from './support.ts'

const HOUR_MS = 3_600_000

t.test('without a checkpoint it starts three days back', async (t) => {
  const folder = await temporaryFolder(t)
  const eventStore = openEvents(t, folder)
  for (let id = 1; id <= 40; id++) await append(eventStore, `customer-${id}`, [registered(id), CONFIRMATION])
  const database = new DatabaseSync(join(folder, 'events.db'))
  // One customer every six hours, the newest one now.
  database.exec(`UPDATE events SET created = ${Date.now()} - (80 - position) / 2 * ${6 * HOUR_MS}`)
  database.close()
  let delivered = 0
  const watched: EventStore = {
    ...eventStore,
    subscribeToAll(options) {
      const subscription = eventStore.subscribeToAll(options)
      async function* counting() {
        for await (const batch of subscription) {
          delivered += batch.events.length
          yield batch
        }
      }
      const batches = counting()
      return { [Symbol.asyncIterator]: () => batches, unsubscribe: () => subscription.unsubscribe() }
    },
  }
  const smtp = await startSmtp(t)
  const first = startWorker(t, watched, { smtp })
  await first.caughtUp()
  t.ok(delivered > 0 && delivered <= 30, `${delivered} of 80 events were read`)
  const recipients = smtp.recipients()
  t.ok(recipients.includes(emailOf(40)) && recipients.includes(emailOf(29)), 'mails of the last three days')
  t.notOk(recipients.includes(emailOf(20)), 'no mails from before that')
  await first.stop()

  // Later events are never too old: with a checkpoint, they wait for the worker.
  await append(eventStore, 'customer-41', [registered(41), CONFIRMATION])
  const late = new DatabaseSync(join(folder, 'events.db'))
  late.exec(`UPDATE events SET created = ${Date.now() - 500 * HOUR_MS} WHERE position > 80`)
  late.close()
  const second = startWorker(t, watched, { smtp })
  await second.caughtUp()
  t.ok(smtp.recipients().includes(emailOf(41)))
})

t.test('only events that ask for a mail are decrypted', async (t) => {
  const folder = await temporaryFolder(t)
  const configuration = loadConfiguration({ EVENTSTORE_URL: `sqlite:${join(folder, 'events.db')}`, ...KEYS })
  const { eventStore, keys: opened } = await openLog(configuration)
  t.teardown(() => eventStore.close())
  const asked: string[] = []
  const keys: CustomerKeys = {
    ...opened,
    peek(subject) {
      asked.push(subject)
      return opened.peek(subject)
    },
  }
  const id = 150
  for (let customer = 1; customer <= 200; customer++)
    await append(eventStore, `customer-${customer}`, [registered(customer)])
  const changed = encode(
    { type: 'CustomerEmailChanged', data: { email: 'new@example.com', previousEmail: emailOf(id) } },
    crypto.randomUUID(),
    { $correlationId: 'r', $causationId: 'c', actor: `customer:${id}`, at: new Date().toISOString() },
  )
  await eventStore.append(`customer-${id}`, [changed], { expected: 'any' })
  await append(eventStore, `customer-${id}`, [RESET])
  const smtp = await startSmtp(t)
  const worker = startWorker(t, { ...eventStore, keys } as EventStore, { smtp })
  await worker.caughtUp()
  t.same(smtp.recipients(), [emailOf(id), 'new@example.com', 'new@example.com'].sort())
  t.same([...new Set(asked)], [String(id)], 'no other key was needed')
})
