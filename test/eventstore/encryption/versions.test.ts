/** Both versions of the stored form: logs of the release before, logs with both, and what must not be taken for an event. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { eraseCustomer } from '../../../audit/erase.ts'
import { verifyLog } from '../../../audit/proof/verify.ts'
import { encode, isEncrypted } from '../../../eventstore/codec.ts'
import { type OpenedLog, openEventStore, openLog } from '../../../eventstore/open-event-store.ts'
import type { EventStore, Json, NewEvent, RecordedEvent } from '../../../eventstore/port.ts'
import { foldCustomer } from '../../../projections/fold.ts'
import { openReadModel } from '../../../projections/open-read-model.ts'
import { compareGenerations, startFilling } from '../../../projections/rebuild.ts'
import { startProjection } from '../../../projections/worker/worker.ts'
import { loadConfiguration } from '../../../runtime/configuration.ts'
import { SILENT } from '../../../runtime/log.ts'
import type { DomainEvent } from '../../../schema/events.ts'
import { streamOf } from '../../../schema/streams.ts'
import { temporaryFolder } from '../../support/graph.ts'
import older from '../../support/log-of-version-1.json' with { type: 'json' }
import { registered } from '../../support/registered.ts'
import { type Env, KINDS_OF_LOGS } from './kinds-of-logs.ts'

const AES = { CIPHER: 'aes-256-gcm' }

async function open(t: Test, env: Env): Promise<OpenedLog> {
  const log = await openLog(loadConfiguration(env))
  t.teardown(() => log.eventStore.close())
  return log
}

/** Puts the events that the release before has stored into an empty store, as they are. */
async function load(url: string, events: readonly (NewEvent & { readonly stream: string })[]): Promise<void> {
  const eventStore = await openEventStore(url)
  for (const { stream, ...event } of events) await eventStore.append(stream, [event], { expected: 'any' })
  await eventStore.close()
}

async function loadOlder(env: Env): Promise<void> {
  const { EVENTSTORE_URL = '', KEYS_URL = EVENTSTORE_URL.replace('.db', '-keys.db') } = env
  await load(EVENTSTORE_URL, older.log.events as never)
  await load(KEYS_URL, older.keys.events as never)
}

async function all(events: AsyncIterable<RecordedEvent>): Promise<RecordedEvent[]> {
  const found: RecordedEvent[] = []
  for await (const event of events) found.push(event)
  return found
}

async function append(eventStore: EventStore, stream: string, event: DomainEvent) {
  const id = crypto.randomUUID()
  const metadata = { $correlationId: id, $causationId: id, actor: 'test', at: '2026-01-02T03:04:05.000Z' }
  return eventStore.append(stream, [encode(event, id, metadata)], { expected: 'any' })
}

const sealedIn = ({ data }: RecordedEvent) => Buffer.from((data as { encrypted: string }).encrypted, 'base64')
const versionsIn = async (stored: EventStore, stream: string) =>
  (await all(stored.readStream(stream))).filter(isEncrypted).map((event) => sealedIn(event)[0])
const dataIn = async (eventStore: EventStore, stream: string) =>
  (await all(eventStore.readStream(stream))).map(({ data }) => data)

const personal = { filter: { streamPrefixes: ['customer-', 'newsletterSubscriber-'] } }
const zora = { firstname: 'Zora', gender: 1 }
const nell = { firstname: 'Nell' }
const moll = { lastname: 'Moll' }

/** Whether the read model, filled, and filled anew beside it, has what the stream says. */
async function checkDocuments(t: Test, eventStore: EventStore, url: string, ids: readonly number[]): Promise<void> {
  const live = await openReadModel(url)
  const next = await openReadModel(url, { generation: 2 })
  t.teardown(() => Promise.all([live.close(), next.close()]))
  const projection = startProjection({ eventStore, readModel: live })
  await projection.caughtUp()
  for (const [index, document] of (await live.documents(ids)).entries()) {
    t.same(document, await foldCustomer(eventStore, ids[index] as number), 'projected')
  }
  const filling = startFilling({ eventStore, readModel: next, log: SILENT, report() {} })
  await filling.complete
  for await (const difference of compareGenerations(next, live, { report() {} })) t.fail('rebuilt', { difference })
  await filling.stop()
  await projection.stop()
}

for (const [kind, environmentOf] of Object.entries(KINDS_OF_LOGS)) {
  t.test(`a log of the release before: ${kind}`, async (t) => {
    const folder = await temporaryFolder(t)
    const env = await environmentOf(t, folder)
    await loadOlder(env)
    const { eventStore, stored } = await open(t, env)

    t.test('is read and verified', async (t) => {
      t.same(await dataIn(eventStore, 'customer-1'), [registered(1, 'customer1@example.com').data, zora])
      t.same(await dataIn(eventStore, 'customer-70'), [registered(70, 'customer70@example.com').data, {}])
      t.match(await dataIn(eventStore, 'customer-2'), [{ customerId: 2, email: '[erased:0]', gender: null }])
      const emails = [{ email: '[erased:0]' }, { email: 'new@example.com' }]
      t.same(await dataIn(eventStore, 'newsletterSubscriber-abc'), emails)
      const batches = eventStore.subscribeToAll({ from: 'start', ...personal })
      for await (const { events, caughtUp } of batches) {
        t.notOk(events.some(isEncrypted), 'followed')
        if (caughtUp) break
      }
      t.same((await verifyLog(stored, { keys: [] })).faults, [])
    })

    t.test('goes on in the newer form, and in the older one where that is configured', async (t) => {
      const before = await all(stored.readAll(personal))
      await append(eventStore, 'customer-1', { type: 'CustomerDetailsChanged', data: nell })
      const withAes = await open(t, { ...env, ...AES })
      await append(withAes.eventStore, 'customer-1', { type: 'CustomerDetailsChanged', data: moll })
      t.same(await versionsIn(stored, 'customer-1'), [1, 1, 2, 1])
      t.same((await all(stored.readAll(personal))).slice(0, before.length), before, 'no event is rewritten')
      for (const log of [eventStore, withAes.eventStore, (await open(t, env)).eventStore]) {
        const expected = [registered(1, 'customer1@example.com').data, zora, nell, moll]
        t.same(await dataIn(log, 'customer-1'), expected)
      }
      t.same((await verifyLog(stored, { keys: [] })).faults, [])
    })

    t.test('is projected and rebuilt', async (t) => {
      await checkDocuments(t, eventStore, `sqlite:${join(folder, 'before.db')}`, [1, 2, 70])
    })

    t.test('is erased, in whichever form it was written', async (t) => {
      const emailHashKey = 'k'.repeat(32)
      const eraser = { actor: 'operator:test', correlationId: crypto.randomUUID(), at: new Date() }
      const texts = (await all(stored.readStream('customer-1'))).filter(isEncrypted).map(({ data }) => data)
      const erased = await eraseCustomer({ eventStore, customerId: 1, emailHashKey, eraser, reason: 'test' })
      t.same(erased, { customer: 'deleted', inClear: 0 })
      for (const log of [eventStore, (await open(t, env)).eventStore, (await open(t, { ...env, ...AES })).eventStore]) {
        t.match(await dataIn(log, 'customer-1'), [
          { email: '[erased:0]', firstname: '[erased:0]' },
          { firstname: '[erased:1]', gender: null },
          { firstname: '[erased:2]' },
          { lastname: '[erased:3]' },
        ])
        t.same((await dataIn(log, 'customer-70'))[0], registered(70, 'customer70@example.com').data, 'nobody else is')
      }
      const left = (await all(stored.readStream('customer-1'))).filter(isEncrypted).map(({ data }) => data)
      t.same(left, texts, 'by the key alone')
      t.same((await verifyLog(stored, { keys: [] })).faults, [])
      await checkDocuments(t, eventStore, `sqlite:${join(folder, 'after.db')}`, [1, 2, 70])
    })
  })

  t.test(`what is authenticated: ${kind}`, async (t) => {
    const env = await environmentOf(t, await temporaryFolder(t))
    const { stored, ...log } = await open(t, env)
    const withAes = await open(t, { ...env, ...AES })
    for (const { eventStore } of [log, withAes]) {
      await append(eventStore, streamOf.customer(5), registered(5, 'zoe.quux@example.com'))
      await append(eventStore, streamOf.customer(5), { type: 'CustomerDetailsChanged', data: nell })
    }
    t.same(await versionsIn(stored, 'customer-5'), [2, 2, 1, 1])
    const [registration, change, olderRegistration] = await all(stored.readStream('customer-5'))
    let id = 100
    /** What is read of an event that somebody with access to the store has made of one of ours. */
    const readOf = async (
      original: RecordedEvent | undefined,
      { stream = `customer-${++id}`, change = (bytes: Buffer) => bytes, ...other }: Forgery,
    ): Promise<RecordedEvent | undefined> => {
      const { type, data, metadata } = original as RecordedEvent
      const encrypted = change(sealedIn(original as RecordedEvent)).toString('base64')
      const forged = { id: crypto.randomUUID(), type, metadata: metadata as Json, ...other }
      await stored.append(stream, [{ ...forged, data: { ...(data as object), encrypted } }], { expected: 'any' })
      return (await all(log.eventStore.readStream(stream))).at(-1)
    }
    const isRefused = async (name: string, original: RecordedEvent | undefined, forgery: Forgery) => {
      const read = await readOf(original, forgery)
      t.ok(read && isEncrypted(read), name)
    }
    await append(log.eventStore, 'customer-101', registered(101, 'a@example.com')) // the block of the forged streams' keys
    // Of the same customer, so with the same key.
    const own = { stream: 'customer-5' }
    for (const event of [registration, olderRegistration]) {
      await isRefused('another id', event, own)
      await isRefused('another customer’s stream', event, { id: event?.id as string })
      await isRefused('another stream with the same key', event, {
        stream: 'customerAccess-5',
        id: event?.id as string,
      })
      await isRefused('another version', event, { ...own, change: (bytes) => flipped(bytes, 0, 3) })
      for (const place of [3, 10, 30, -1, -16]) {
        await isRefused(`another byte at ${place}`, event, { ...own, change: (bytes) => flipped(bytes, place, 1) })
      }
      await isRefused('cut off', event, { ...own, change: (bytes) => bytes.subarray(0, -1) })
      await isRefused('its head alone', event, { ...own, change: (bytes) => bytes.subarray(0, 3) })
      await isRefused('nothing', event, { ...own, change: () => Buffer.of() })
      await isRefused('an unknown version', event, { ...own, change: (bytes) => flipped(bytes, 0, 0x40) })
    }
    await isRefused('another type', change, { ...own, type: 'CustomerRegistered' })
    const generation = await readOf(registration, { ...own, change: (bytes) => flipped(bytes, 2, 1) })
    t.match(generation?.data, { email: /^\[erased:\d+\]$/ }, 'a key that is not there any more')
    t.same((await dataIn(log.eventStore, 'customer-5'))[0], registered(5, 'zoe.quux@example.com').data)
  })
}

interface Forgery {
  readonly stream?: string
  readonly id?: string
  readonly type?: string
  readonly change?: (bytes: Buffer) => Buffer
}

function flipped(bytes: Buffer, place: number, bits: number): Buffer {
  const copy = Buffer.from(bytes)
  const index = place < 0 ? copy.length + place : place
  copy[index] = (copy[index] as number) ^ bits
  return copy
}
