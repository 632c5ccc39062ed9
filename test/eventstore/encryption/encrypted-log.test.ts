/** Personal fields in the log: encrypted on their way in, in clear on their way out, and gone with their key. */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { countInClear } from '../../../audit/erase.ts'
import { decode, encode, isEncrypted } from '../../../eventstore/codec.ts'
import { createCustomerKeys } from '../../../eventstore/encryption/customer-keys.ts'
import { encryptedLog } from '../../../eventstore/encryption/encrypted-log.ts'
import { loadMasterKeys, type MasterKey } from '../../../eventstore/encryption/master-key.ts'
import { type OpenedLog, openLog } from '../../../eventstore/open-event-store.ts'
import { type EventStore, type NewEvent, type RecordedEvent, WrongExpectedRevision } from '../../../eventstore/port.ts'
import { loadConfiguration } from '../../../runtime/configuration.ts'
import { type DomainEvent, isErased, PERSONAL_FIELDS } from '../../../schema/events.ts'
import { environment, temporaryFolder } from '../../support/graph.ts'
import { history } from '../../support/histories.ts'
import { registered as registration } from '../../support/registered.ts'
import { until } from '../../support/until.ts'
import { type Env, KINDS_OF_LOGS } from './kinds-of-logs.ts'

async function open(t: Test, env: Env): Promise<OpenedLog> {
  const log = await openLog(loadConfiguration(env))
  t.teardown(() => log.eventStore.close())
  return log
}

const EMAIL = 'zoe.quux@example.com'

const registered = (customerId: number) => registration(customerId, EMAIL)

const encoded = (event: DomainEvent, id: string = crypto.randomUUID()) =>
  encode(event, id, { $correlationId: id, $causationId: id, actor: 'test', at: '2026-01-02T03:04:05.000Z' })

async function append(eventStore: EventStore, stream: string, ...events: DomainEvent[]) {
  return eventStore.append(
    stream,
    events.map((event) => encoded(event)),
    { expected: 'any' },
  )
}

async function all(events: AsyncIterable<RecordedEvent>): Promise<RecordedEvent[]> {
  const found: RecordedEvent[] = []
  for await (const event of events) found.push(event)
  return found
}

const customerEvents = { filter: { streamPrefixes: ['customer-'] } }

for (const [kind, environmentOf] of Object.entries(KINDS_OF_LOGS)) {
  t.test(kind, async (t) => {
    const folder = await temporaryFolder(t)
    const env = await environmentOf(t, folder)
    const { eventStore, stored, keys } = await open(t, env)

    t.test('what is read is what was appended, however it is read', async (t) => {
      const data = registered(7).data
      await append(eventStore, 'customer-7', registered(7))
      const [event] = await all(eventStore.readStream('customer-7'))
      t.same(event?.data, data)
      t.equal(JSON.stringify(event?.data), JSON.stringify(data), 'in the same order')
      t.same((await all(eventStore.readAll(customerEvents)))[0]?.data, data)
      t.same((await all(eventStore.readStream('customer-7', { direction: 'backwards', maxCount: 1 })))[0]?.data, data)
      for (const subscription of [
        eventStore.subscribeToAll({ from: 'start', ...customerEvents }),
        eventStore.subscribeToAll({ from: 'start' }),
        eventStore.subscribeToStream('customer-7', { from: 'start' }),
      ]) {
        const found: RecordedEvent[] = []
        for await (const batch of subscription) {
          found.push(...batch.events)
          if (batch.caughtUp) break
        }
        t.same(found.find(({ stream }) => stream === 'customer-7')?.data, data)
      }
      const another = await open(t, env)
      t.same((await all(another.eventStore.readStream('customer-7')))[0]?.data, data, 'by another process')
    })

    t.test('appends that are made at once keep their order, while the first waits for its key', async (t) => {
      const appends = [registered(900), { type: 'CustomerTokensRevoked', data: {} } as const, registered(900)]
      await Promise.all(
        appends.map((event, index) =>
          eventStore.append('customer-900', [encoded(event)], { expected: index === 0 ? 'no_stream' : index - 1 }),
        ),
      )
      const types = (await all(eventStore.readStream('customer-900'))).map(({ type }) => type)
      t.same(types, ['CustomerRegistered', 'CustomerTokensRevoked', 'CustomerRegistered'])
    })

    t.test('what is stored has nothing personal in it, and its names', async (t) => {
      const [event] = await all(stored.readStream('customer-7'))
      t.ok(event && isEncrypted(event))
      const text = JSON.stringify([event?.data, event?.metadata])
      for (const each of ['quux', 'Zoë', '1901', 'tax-77', 'wool']) t.notMatch(text, each)
      t.match(event?.data, { customerId: 7, groupId: 1, firstname: null, email: null, customAttributes: null })
      t.throws(() => decode(event as RecordedEvent), { message: 'Event "CustomerRegistered" can\'t be decrypted.' })
    })

    t.test(
      'a stream or an event that the table of streams does not have is refused, and nothing is stored',
      async (t) => {
        const guest = { type: 'GuestSubscribed', data: { email: EMAIL } } as const
        const refused: Record<string, readonly [string, readonly NewEvent[]]> = {
          'a personal event in an unknown family': ['customerNotes-7', [encoded(registered(7))]],
          'a personal event in a family without personal fields': ['customerEmail-abc', [encoded(guest)]],
          'a personal event in another personal family': ['customer-20', [encoded(guest)]],
          'after one that belongs there': ['customer-20', [encoded(registered(20)), encoded(guest)]],
          'nobody’s stream': ['customer-020', [encoded(registered(20))]],
          'an unknown stream': ['notes', [encoded({ type: 'CustomerTokensRevoked', data: {} })]],
          'an unknown type': ['customer-20', [{ id: crypto.randomUUID(), type: 'CustomerKnighted', data: {} }]],
          'a text as data': ['customer-20', [{ id: crypto.randomUUID(), type: 'CustomerRegistered', data: EMAIL }]],
          'a list as data': ['customer-20', [{ id: crypto.randomUUID(), type: 'CustomerRegistered', data: [EMAIL] }]],
          'bytes as data': [
            'customer-20',
            [{ id: crypto.randomUUID(), type: 'CustomerRegistered', data: Buffer.from(EMAIL) }],
          ],
        }
        for (const [name, [stream, events]] of Object.entries(refused)) {
          for (const expected of ['any', 'no_stream'] as const) {
            const error = await eventStore.append(stream, events, { expected }).then(
              () => new Error('written'),
              (reason: Error) => reason,
            )
            t.match(error, { name: 'InvalidArgument' }, `${name}: ${error.message}`)
            t.notMatch(error.message, /quux/, 'without what is personal')
          }
          await t.rejects(all(stored.readStream(stream)), { name: 'StreamNotFound' }, name)
        }
      },
    )

    t.test('the same twice is not the same stored', async (t) => {
      await append(eventStore, 'customer-8', registered(8))
      await append(eventStore, 'customer-9', registered(9))
      const texts = await Promise.all([8, 9].map(async (id) => all(stored.readStream(`customer-${id}`))))
      const [a, b] = texts.map(([event]) => (event as { data: { encrypted: string } } | undefined)?.data.encrypted)
      t.not(a, b)
    })

    t.test('a ciphertext in another event’s place is refused', async (t) => {
      const [event] = await all(stored.readStream('customer-8'))
      const moved = {
        id: crypto.randomUUID(),
        type: 'CustomerRegistered',
        data: event?.data ?? null,
        metadata: event?.metadata ?? null,
      }
      await stored.append('customer-10', [moved], { expected: 'no_stream' })
      await append(eventStore, 'customer-11', registered(11)) // whose block the key is in
      const [read] = await all(eventStore.readStream('customer-10'))
      t.throws(() => decode(read as RecordedEvent), { message: 'Event "CustomerRegistered" can\'t be decrypted.' })
    })

    t.test('repeated with other content, the first counts', async (t) => {
      const id = crypto.randomUUID()
      const first = await eventStore.append('customer-12', [encoded(registered(12), id)], { expected: 'no_stream' })
      const again = await eventStore.append('customer-12', [encoded(registered(12), id)], { expected: 'no_stream' })
      t.equal(again.revision, first.revision)
      t.equal((await all(eventStore.readStream('customer-12'))).length, 1)
    })

    t.test('without the key there are placeholders, everywhere and for good', async (t) => {
      const other = await open(t, env)
      await all(other.eventStore.readStream('customer-7')) // has the key in memory
      await append(eventStore, 'customer-7', { type: 'CustomerDetailsChanged', data: { firstname: 'Zora', gender: 1 } })
      t.equal(await keys.destroy('7'), true)
      t.equal(await keys.destroy('7'), false, 'once')
      const expected = [
        {
          customerId: 7,
          groupId: 1,
          email: '[erased:0]',
          customAttributes: {},
          gender: null,
          createdAt: '2026-01-02T03:04:05.000Z',
        },
        { firstname: '[erased:1]', gender: null },
      ]
      const check = async (t: Test, { eventStore }: { readonly eventStore: EventStore }) => {
        const events = await all(eventStore.readStream('customer-7'))
        t.match(
          events.map(({ data }) => data),
          expected,
        )
        for (const event of events) decode(event)
        const ofAll = (await all(eventStore.readAll(customerEvents))).filter(({ stream }) => stream === 'customer-7')
        t.match(
          ofAll.map(({ data }) => data),
          expected,
        )
      }
      await check(t, { eventStore })
      await check(t, await open(t, env))
      t.same((await all(eventStore.readStream('customer-8')))[0]?.data, registered(8).data, 'of the same block')
      await new Promise((resolve) => setTimeout(resolve, 1_000))
      await check(t, other)
      await t.rejects(
        append(eventStore, 'customer-7', { type: 'CustomerDetailsChanged', data: { lastname: 'Q' } }),
        WrongExpectedRevision,
      )
      await append(eventStore, 'customer-7', { type: 'CustomerTokensRevoked', data: {} })
    })

    t.test('a guest’s key comes anew, and opens nothing of before', async (t) => {
      const stream = 'newsletterSubscriber-abc'
      await append(eventStore, stream, { type: 'GuestSubscribed', data: { email: EMAIL } })
      t.equal(await keys.destroy('abc'), true)
      await append(eventStore, stream, { type: 'GuestConfirmationRequested', data: { email: 'new@example.com' } })
      for (const log of [eventStore, (await open(t, env)).eventStore]) {
        const emails = (await all(log.readStream(stream))).map(({ data }) => (data as { email: string }).email)
        t.same(emails, ['[erased:0]', 'new@example.com'])
      }
    })

    t.test('a guest’s key that another process has destroyed encrypts nothing any more', async (t) => {
      const stream = 'newsletterSubscriber-def'
      await append(eventStore, stream, { type: 'GuestSubscribed', data: { email: EMAIL } })
      const elsewhere = await open(t, env)
      t.equal(await elsewhere.keys.destroy('def'), true)
      await append(eventStore, stream, { type: 'GuestConfirmationRequested', data: { email: 'new@example.com' } })
      for (const log of [eventStore, elsewhere.eventStore, (await open(t, env)).eventStore]) {
        const emails = (await all(log.readStream(stream))).map(({ data }) => (data as { email: string }).email)
        t.same(emails, ['[erased:0]', 'new@example.com'])
      }
    })

    t.test('a guest’s key that is destroyed between its use and the append', async (t) => {
      const { keys: elsewhere } = await open(t, env)
      let isDestroyed = false
      const raced = await openLog(loadConfiguration(env), {}, (store) => ({
        ...store,
        async append(stream, events, options) {
          if (stream === 'newsletterSubscriber-raced' && !isDestroyed) isDestroyed = await elsewhere.destroy('raced')
          return store.append(stream, events, options)
        },
      }))
      t.teardown(() => raced.eventStore.close())
      const stream = 'newsletterSubscriber-raced'
      await append(eventStore, stream, { type: 'GuestConfirmationRequested', data: { email: EMAIL } })
      const subscribed = () => [encoded({ type: 'GuestSubscribed', data: { email: EMAIL } })]
      await t.rejects(raced.eventStore.append(stream, subscribed(), { expected: 0 }), WrongExpectedRevision)
      t.equal(isDestroyed, true)
      await raced.eventStore.append(stream, subscribed(), { expected: 1 })
      const { eventStore: later } = await open(t, env)
      const emails = (await all(later.readStream(stream))).map(({ data }) => (data as { email: string }).email)
      t.same(emails, ['[erased:0]', '[erased:1]', EMAIL], 'decided again, it can be read')
    })

    t.test('events in clear, of before there was encryption, are read as they are', async (t) => {
      await stored.append('customer-13', [encoded(registered(13))], { expected: 'no_stream' })
      t.same((await all(eventStore.readStream('customer-13')))[0]?.data, registered(13).data)
      t.equal(await countInClear(keys, 'customer-13'), 1)
      t.equal(await countInClear(keys, 'customer-8'), 0)
      t.equal(await countInClear(keys, 'customer-404'), 0)
    })

    t.test('another master key', async (t) => {
      const next = { ...env, MASTER_KEY: randomBytes(32).toString('base64') }
      await t.rejects(openLog(loadConfiguration(next)), {
        name: 'ConfigurationError',
        message: /^MASTER_KEY: the keys are wrapped by the master key [0-9a-f]{16}, which is not configured/,
      })
      const both = { ...next, MASTER_KEY_PREVIOUS: env.MASTER_KEY as string }
      const before = await all(stored.readAll({ filter: { streamPrefixes: ['customer-', 'newsletter'] } }))
      const rotated = await open(t, both)
      const { blocks, rewrapped } = await rotated.keys.rotate()
      t.ok(blocks >= 2)
      t.equal(rewrapped, blocks)
      t.same(await rotated.keys.rotate(), { blocks, rewrapped: 0 })
      t.equal((await rotated.keys.status()).blocks.size, 1)
      t.same(
        await all(stored.readAll({ filter: { streamPrefixes: ['customer-', 'newsletter'] } })),
        before,
        'no event is rewritten',
      )
      const after = await open(t, next)
      t.same((await all(after.eventStore.readStream('customer-8')))[0]?.data, registered(8).data)
      t.match((await all(after.eventStore.readStream('customer-7')))[0]?.data, { email: '[erased:0]' })
      await t.rejects(
        openLog(loadConfiguration(env)),
        { name: 'ConfigurationError', message: /^MASTER_KEY: / },
        'the old one alone',
      )
    })
  })
}

t.test('a destroyed key is nowhere in the file', async (t) => {
  const folder = await temporaryFolder(t)
  const env = environment(folder)
  const { eventStore, keys } = await open(t, env)
  await append(eventStore, 'customer-7', registered(7))
  const wrapped = async () => {
    for await (const { data } of keys.keyStore.readStream('customerKeys-0', { direction: 'backwards' })) {
      return (data as { wrapped: string }).wrapped
    }
    return ''
  }
  const before = await wrapped()
  const files = async () =>
    Buffer.concat(
      await Promise.all(
        ['events-keys.db', 'events-keys.db-wal'].map((name) => readFile(join(folder, name)).catch(() => Buffer.of())),
      ),
    )
  t.ok((await files()).includes(before))
  await keys.destroy('7')
  t.notOk((await files()).includes(before))
  t.ok((await files()).includes(await wrapped()), 'what is left is there')
})

t.test('without its key store a log does not answer', async (t) => {
  const { eventStore, keys } = await open(t, environment(await temporaryFolder(t)))
  await append(eventStore, 'customer-1', registered(1))
  await eventStore.ping()
  await keys.keyStore.close()
  await t.rejects(eventStore.ping(), { name: 'EventStoreUnavailable' })
  await t.rejects(append(eventStore, 'customer-100', registered(100)), { name: 'EventStoreUnavailable' })
  t.same(
    (await all(eventStore.readStream('customer-1', { from: 0, direction: 'backwards' }))).length,
    1,
    'a key that is in memory',
  )
  await append(eventStore, 'customer-100', { type: 'CustomerTokensRevoked', data: {} })
})

t.test('log and keys that do not belong together', async (t) => {
  const [here, there] = [await temporaryFolder(t), await temporaryFolder(t)]
  for (const folder of [here, there]) {
    const { eventStore } = await open(t, environment(folder))
    await append(eventStore, 'customer-1', registered(1))
  }
  const KEYS_URL = (folder: string, name = 'events-keys.db') => `sqlite:${join(folder, name)}`
  await t.rejects(openLog(loadConfiguration({ ...environment(here), KEYS_URL: KEYS_URL(there) })), {
    name: 'ConfigurationError',
    message: 'KEYS_URL: the key store is that of another log.',
  })
  await t.rejects(openLog(loadConfiguration({ ...environment(here), KEYS_URL: KEYS_URL(here, 'empty.db') })), {
    name: 'ConfigurationError',
    message: 'KEYS_URL: the key store is empty, but this log has one with its keys already.',
  })
})

t.test('a block that is missing stops the reading: nobody is taken for erased', async (t) => {
  const { eventStore, keys } = await open(t, environment(await temporaryFolder(t)))
  await append(eventStore, 'customer-1', registered(1))
  await append(eventStore, 'customer-100', registered(100))
  await keys.keyStore.deleteStream('customerKeys-1', { expected: 'any' })
  await t.rejects(keys.load(['100'], 0), {
    name: 'EventStoreUnavailable',
    message: 'The key store has no customerKeys-1: keys are missing.',
  })
  await keys.load(['1'], 0)
})

t.test('keys that others read while they are unwrapped open what waits for them', async (t) => {
  const env = environment(await temporaryFolder(t))
  const { eventStore } = await open(t, env)
  await append(eventStore, 'customer-1', registered(1))

  // A key management system that answers when it is told to.
  const { stored, keys: own } = await open(t, env)
  const [master] = loadMasterKeys(loadConfiguration(env))
  let asked = 0
  const answers: (() => void)[] = []
  const slow: MasterKey = {
    ...master,
    async unwrap(wrapped, context) {
      asked++
      await new Promise<void>((resolve) => answers.push(resolve))
      return master.unwrap(wrapped, context)
    },
  }
  const listeners: (() => void)[] = []
  const disconnect = () => {
    for (const listener of listeners) listener()
  }
  const disconnecting: EventStore = {
    ...stored,
    onDisconnect(listener) {
      listeners.push(listener)
      return () => {}
    },
  }
  const keys = createCustomerKeys({ log: disconnecting, keyStore: own.keyStore, masterKeys: [slow] })
  const log = encryptedLog(keys, 'xchacha20-poly1305')
  const untilAsked = (count: number) => until(`asked ${count} times`, () => asked >= count)

  const reading = all(log.readStream('customer-1'))
  await untilAsked(1)
  await keys.loadAll() // as a projection that begins does
  answers.shift()?.()
  t.same((await reading)[0]?.data, registered(1).data, 'read again as it was')
  t.equal(asked, 1, 'unwrapped once')

  await append(eventStore, 'customer-70', registered(70))
  await append(eventStore, 'customer-71', registered(71))
  const other = all(log.readStream('customer-70'))
  await untilAsked(2)
  const { keys: elsewhere } = await open(t, env)
  await elsewhere.destroy('71')
  const newest = keys.load(['70'], -1)
  await untilAsked(3)
  answers.shift()?.()
  setTimeout(() => answers.shift()?.(), 50)
  t.same((await other)[0]?.data, registered(70).data, 'a newer block, without another customer')
  await newest

  disconnect()
  const late = all(log.readStream('customer-1'))
  await untilAsked(4)
  disconnect()
  answers.shift()?.()
  await t.rejects(late, { name: 'EventStoreUnavailable' }, 'never as it is stored')
})

t.test('a rebuild looks no key up: they come in the order of their log', async (t) => {
  for (const environmentOf of Object.values(KINDS_OF_LOGS)) {
    const env = await environmentOf(t, await temporaryFolder(t))
    const { eventStore, stored, keys } = await open(t, env)
    // So many that they are decrypted on another thread.
    for (let id = 1; id <= 300; id += 3) await append(eventStore, `customer-${id}`, registered(id))
    await keys.destroy('7')
    const [event] = await all(stored.readStream('customer-10'))
    const forged = { id: crypto.randomUUID(), type: 'CustomerRegistered', data: event?.data ?? null }
    await stored.append('customer-10', [{ ...forged, metadata: event?.metadata ?? null }], { expected: 0 })
    let lookUps = 0
    const again = await open(t, env)
    const { keyStore } = again.keys
    const { readStream } = keyStore
    const counted: EventStore['readStream'] = (stream, options) => {
      if (stream.startsWith('customerKeys-')) lookUps++
      return readStream(stream, options)
    }
    Object.assign(keyStore, { readStream: counted })
    const found = new Map<string, unknown>()
    const refused: string[] = []
    for await (const batch of again.eventStore.subscribeToAll({ from: 'start', ...customerEvents })) {
      for (const event of batch.events) {
        if (isEncrypted(event)) refused.push(`${event.stream} ${event.revision}`)
        else found.set(event.stream, event.data)
      }
      if (batch.caughtUp) break
    }
    t.equal(lookUps, 0)
    t.same(refused, ['customer-10 1'], 'a ciphertext in another event’s place')
    t.equal(found.size, 100)
    for (const [stream, data] of found) {
      if (stream === 'customer-7') t.ok(isErased((data as { email: unknown }).email))
      else t.same(data, registered(Number(stream.slice('customer-'.length))).data)
    }
  }
})

t.test('any event comes back as it was', async (t) => {
  const { eventStore, stored } = await open(t, environment(await temporaryFolder(t)))
  let id = 0
  await fc.assert(
    fc.asyncProperty(history(1), async ({ events }) => {
      const stream = `customer-${++id}`
      await append(eventStore, stream, ...events)
      const read = await all(eventStore.readStream(stream))
      t.same(
        read.map(({ data }) => data),
        events.map(({ data }) => data),
      )
      for (const { type, data } of await all(stored.readStream(stream))) {
        const fields = PERSONAL_FIELDS.get(type)
        const clear = Object.entries(data as object).filter(([name, value]) => fields?.has(name) && value !== null)
        t.same(clear, [])
      }
    }),
    { numRuns: 50 },
  )
})
