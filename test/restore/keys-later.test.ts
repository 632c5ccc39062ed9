/** Keys that could not be compared with the log at a process's start, or that a log does not have any more. */
import { join } from 'node:path'
import t from 'tap'
import { EventStoreUnavailable } from '../../eventstore/port.ts'
import { openReadModel } from '../../projections/open-read-model.ts'
import { resume } from '../../projections/worker/worker.ts'
import { builtIn, startEventStoreServer } from '../support/eventstore-server/server.ts'
import { environment, openTestLog, signUp, startSubgraph, temporaryFolder } from '../support/graph.ts'
import { freePort } from '../support/ports.ts'
import { startProcess, untilReady } from '../support/processes.ts'
import { until } from '../support/until.ts'
import { restore } from './support.ts'

t.test('keys that can be compared only later', builtIn('it is empty after a restart'), async (t) => {
  const folder = await temporaryFolder(t)
  const server = await startEventStoreServer(t)
  const KEYS_URL = `sqlite:${join(folder, 'keys.db')}`
  const env = { EVENTSTORE_URL: server.url, KEYS_URL }
  const { send, readModel } = await startSubgraph(t, { folder, env })
  const { id } = await signUp(send)
  await until('it is projected', async () => (await readModel.documents([id]))[0] !== null)
  const scripts = ['subgraph', 'projections', 'mail']
  const variables = ['SUBGRAPH_PORT', 'PROJECTIONS_PORT', 'MAIL_PORT']
  /** Each on its way to the event store, which is away. */
  const start = (different: Record<string, string>) =>
    Promise.all(
      scripts.map(async (script, index) => {
        const port = await freePort()
        const ports = { [variables[index] as string]: String(port) }
        const started = startProcess(t, script, folder, { ...env, LOG_LEVEL: 'silent', ...ports, ...different })
        return { script, started, url: `http://127.0.0.1:${port}` }
      }),
    )
  const untilUp = (started: Awaited<ReturnType<typeof start>>) =>
    Promise.all(started.map((each) => untilReady(each.started, `${each.url}/healthz`)))
  const assertEnded = async (started: Awaited<ReturnType<typeof start>>, message: RegExp) => {
    for (const { script, started: process } of started) {
      t.equal(await process.ended, 1, `${script} ends`)
      t.match(process.output(), message, script)
      t.equal(process.output().trim().split('\n').length, 1, process.output())
    }
  }

  await server.stop()
  const wrong = await start({ MASTER_KEY: 'ab'.repeat(32) })
  await untilUp(wrong)
  await server.start()
  await assertEnded(wrong, /^error: MASTER_KEY: the keys are wrapped by the master key /)

  t.comment('a log that is lost while they run')
  const right = await start({})
  await untilUp(right)
  await restore(server, [])
  await assertEnded(right, /^error: KEYS_URL: the key store has the keys of a log, but this log is new/)
  t.ok((await readModel.documents([id]))[0], 'no document is thrown away for it')
})

t.test('a projection clears nothing for a log that its keys are not of', builtIn('it is empty'), async (t) => {
  const folder = await temporaryFolder(t)
  const server = await startEventStoreServer(t)
  const env = { EVENTSTORE_URL: server.url, KEYS_URL: `sqlite:${join(folder, 'keys.db')}` }
  const { send, readModel, stop } = await startSubgraph(t, { folder, env })
  const { id } = await signUp(send)
  await until('it is projected', async () => (await readModel.get([id]))[0]?.document)
  await stop()
  const kept = await openReadModel(environment(folder).READMODEL_URL as string)
  t.teardown(() => kept.close())
  const eventStore = await openTestLog(t, folder, env)
  await restore(server, [])
  const ended = await until('the server is back', () =>
    resume({ eventStore, readModel: kept }).then(
      () => 'It goes on with the log.',
      (error: Error) => !(error instanceof EventStoreUnavailable) && error.message,
    ),
  )
  t.match(ended, /^KEYS_URL: the key store has the keys of a log/)
  t.match(await kept.get([id]), [{ document: { id } }], 'not even for a moment')
})
