/** `npm run keys -- rotate` on a server: it outlives an outage, and stopped, it goes on where it was. */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { encode } from '../../../eventstore/codec.ts'
import { openLog } from '../../../eventstore/open-event-store.ts'
import { loadConfiguration } from '../../../runtime/configuration.ts'
import { streamOf } from '../../../schema/streams.ts'
import { runCommand } from '../../support/commands.ts'
import { awayAfterReads, builtIn, startEventStoreServer } from '../../support/eventstore-server/server.ts'
import { environment, openTestLog, temporaryFolder } from '../../support/graph.ts'
import { KEYS } from '../../support/keys.ts'
import { registered } from '../../support/registered.ts'

/** More blocks than are rewrapped at once. */
const BLOCKS = 70

t.test('a rotation of the master key', builtIn('calls'), async (t) => {
  const [server, folder] = await Promise.all([startEventStoreServer(t), temporaryFolder(t)])
  const env = { EVENTSTORE_URL: server.url }
  const log = await openTestLog(t, folder, env)
  for (let block = 0; block < BLOCKS; block++) {
    const customerId = 1 + 64 * block
    const id = crypto.randomUUID()
    const metadata = { $correlationId: id, $causationId: id, actor: 'test', at: '2026-01-02T03:04:05.000Z' }
    const event = encode(registered(customerId, `zoe${customerId}@example.com`), id, metadata)
    await log.append(streamOf.customer(customerId), [event], { expected: 'no_stream' })
  }
  const next = { ...env, MASTER_KEY: randomBytes(32).toString('hex'), MASTER_KEY_PREVIOUS: KEYS.MASTER_KEY }

  await t.test('stopped, it goes on where it was', async (t) => {
    const { keys, eventStore } = await openLog(loadConfiguration({ ...environment(folder), ...next }))
    t.teardown(() => eventStore.close())
    const stopping = new AbortController()
    const stopped = new Error('stopped')
    await t.rejects(
      keys.rotate(() => stopping.abort(stopped), stopping.signal),
      stopped,
    )
    const { blocks } = await keys.status()
    t.equal(blocks.size, 2, 'some are rewrapped, and some are not')
  })

  await t.test('it waits for a server that is away', async (t) => {
    const isBack = awayAfterReads(server, BLOCKS)
    const { code, output } = await runCommand(folder, ['keys', 'rotate'], next)
    await isBack
    t.equal(code, 0, output)
    t.match(output, /^The event store does not answer: .* Waiting for it\.$/m)
    t.match(output, new RegExp(`^\\d+ of ${BLOCKS} blocks of keys rewrapped; all now use the master key `, 'm'))
  })
})
