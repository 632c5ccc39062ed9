/** A key store that was restored from an older backup than its log: nothing is written in the place of what it lacks. */
import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { encode } from '../../eventstore/codec.ts'
import { openLog } from '../../eventstore/open-event-store.ts'
import type { EventStore, RecordedEvent } from '../../eventstore/port.ts'
import { completeGuestErasures, eraseAddress } from '../../projections/erasure.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { STREAM_NAMES, STREAM_PREFIXES } from '../../schema/streams.ts'
import { createIds } from '../../subgraph/streams/ids.ts'
import { runCommand } from '../support/commands.ts'
import { environment, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'

const COMMAND = { id: crypto.randomUUID(), repeatable: false, correlationId: 'c', actor: 'import', at: new Date() }

t.test('a key store that is older than its log', async (t) => {
  const folder = await temporaryFolder(t)
  const keysIn = (name: string) => ({ KEYS_URL: `sqlite:${join(folder, name)}` })
  const serve = (name: string) => startSubgraph(t, { folder, env: keysIn(name), projection: false })
  const emailOf = async ({ send }: Awaited<ReturnType<typeof serve>>, token: string) =>
    send('{ customer { email } }', { token })
  const one = await serve('keys.db')
  const kept = await signUp(one.send)
  for (const end of ['', '-wal']) await copyFile(join(folder, `keys.db${end}`), join(folder, `backup.db${end}`))
  await createIds(one.eventStore).raiseFloor('customer', 100, COMMAND)
  const lost = await signUp((await serve('keys.db')).send)
  t.ok(lost.id > 100, 'its key is of another block')

  const open = (name: string) => openLog(loadConfiguration({ ...environment(folder), ...keysIn(name) }))
  await t.rejects(open('backup.db'), {
    name: 'ConfigurationError',
    message:
      /^KEYS_URL: the key store is older than this log and lacks customerKeys-\d: restore a newer backup of it\./,
  })
  await (await open('keys.db')).eventStore.close()

  const accept = () => runCommand(folder, ['keys', 'accept', 'store'], keysIn('backup.db'))
  t.match(await accept(), {
    code: 0,
    output: /^1 block of keys missing from the key store: their customers count as erased/,
  })
  t.match(await accept(), { code: 0, output: /^The key store lacks no keys of this log\. Nothing was changed/ })
  const after = await serve('backup.db')
  t.equal((await emailOf(after, kept.token)).data.customer.email, kept.email)
  t.match((await emailOf(after, lost.token)).errors, [{ extensions: { code: 'UNAUTHENTICATED' } }])
  const again = await signUp(after.send, lost.email)
  t.ok(Math.floor(again.id / 64) > Math.floor(lost.id / 64), 'who registers once more gets an id that has a key')
  t.equal((await emailOf(after, again.token)).data.customer.email, lost.email)
})

t.test('a key store that lacks keys of guests', async (t) => {
  const folder = await temporaryFolder(t)
  const keysIn = (name: string) => ({ KEYS_URL: `sqlite:${join(folder, name)}` })
  const { send, eventStore } = await startSubgraph(t, { folder, env: keysIn('keys.db'), projection: false })
  const subscribe = async (email: string) => {
    const { data } = await send('mutation($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }', {
      variables: { email },
    })
    t.ok(data?.subscribeEmailToNewsletter, email)
  }
  const open = (name: string) => openLog(loadConfiguration({ ...environment(folder), ...keysIn(name) }))
  /** The newest event of each guest, by stream. */
  const guests = async (log: EventStore) => {
    const found = new Map<string, RecordedEvent>()
    for await (const event of log.readAll({ filter: { streamPrefixes: [STREAM_PREFIXES.subscriber] } })) {
      found.set(event.stream, event)
    }
    return found
  }

  await subscribe('gone@example.com')
  const [gone = ''] = (await guests(eventStore)).keys()
  await subscribe('again@example.com')
  const [, again = ''] = (await guests(eventStore)).keys()
  for (const end of ['', '-wal']) await copyFile(join(folder, `keys.db${end}`), join(folder, `backup.db${end}`))
  const eraser = { actor: 'operator:t', correlationId: 'c', at: new Date() }
  for (const stream of [gone, again]) {
    await eraseAddress(eventStore, stream.slice(STREAM_PREFIXES.subscriber.length), eraser)
  }
  await subscribe('again@example.com')
  await subscribe('new@example.com')
  const [, , added = ''] = (await guests(eventStore)).keys()
  const streams = [again, added].map((stream) => `customerKeys-of-${stream.slice(STREAM_PREFIXES.subscriber.length)}`)

  const refused = await open('backup.db').catch((error: Error) => error.message)
  t.match(refused, /^KEYS_URL: the key store is older than this log and lacks /)
  for (const stream of streams) t.match(refused, stream)
  await (await open('keys.db')).eventStore.close()

  t.comment('where the records do not name them, as in a log of an earlier release')
  const emailKey = again.slice(STREAM_PREFIXES.subscriber.length)
  for (let n = 0; n < 20; n++) {
    const id = crypto.randomUUID()
    const metadata = { $correlationId: id, $causationId: id, actor: 'keys', at: new Date().toISOString() }
    const record = encode({ type: 'AddressKeyBegun', data: { emailKey, generation: 0 } }, id, metadata)
    await eventStore.append(STREAM_NAMES.addressKeys, [record], { expected: 'any' })
  }
  const older = await open('backup.db')
  t.teardown(() => older.eventStore.close())
  for (const stream of [again, added]) {
    const read = async () => {
      for await (const event of older.eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 })) {
        t.fail(`${stream} is read: ${JSON.stringify(event.data)}`)
      }
    }
    await t.rejects(read(), { name: 'EventStoreUnavailable' }, 'it is neither erased nor readable')
    const subject = stream.slice(STREAM_PREFIXES.subscriber.length)
    await older.keys.destroy(subject)
    await t.rejects(older.keys.toWrite(subject), { name: 'EventStoreUnavailable' }, 'no other key takes its place')
  }
  const accepted = await runCommand(folder, ['keys', 'accept', 'store'], keysIn('backup.db'))
  t.equal(accepted.code, 0)
  t.match(accepted.output, '2 keys of guests are missing from the key store: they count as erased from now on.')
  const after = await open('backup.db')
  t.teardown(() => after.eventStore.close())
  for (const [stream, event] of await guests(after.eventStore)) {
    if (stream === gone) continue
    t.match(event.data, { email: /^\[erased:/ }, 'they read as erased')
  }
  t.comment('a guest that was erased after the backup was made')
  const hashOfGone = gone.slice(STREAM_PREFIXES.subscriber.length)
  t.equal(await after.keys.isHeld(hashOfGone), true, 'has a key again')
  await completeGuestErasures(after.eventStore)
  t.equal(await after.keys.isDestroyed(hashOfGone), true)
  for (const stream of [again, added]) t.ok(await after.keys.toWrite(stream.slice(STREAM_PREFIXES.subscriber.length)))
})
