/** A key store that was restored from an older backup than its log: nothing is written in the place of what it lacks. */
import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { openLog } from '../../eventstore/open-event-store.ts'
import { loadConfiguration } from '../../runtime/configuration.ts'
import { createIds } from '../../subgraph/streams/ids.ts'
import { environment, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { startProcess } from '../support/processes.ts'

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

  const accept = async () => {
    const process = startProcess(t, 'keys', folder, keysIn('backup.db'), ['accept', 'store'])
    return { code: await process.ended, output: process.output() }
  }
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
