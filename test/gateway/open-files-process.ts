/**
 * A gateway that can open no file while its first subscription arrives and its supergraph is replaced, and then can again.
 * Prints both answers' statuses, and then that the new supergraph is served.
 */
import { closeSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { buildGateway } from '../../gateway/server.ts'
import { until } from '../support/until.ts'

const supergraph = process.argv[2] as string
let failures = 0
const logger = {
  stream: {
    write: (line: string) => {
      if (line.includes('The changed supergraph cannot be served')) failures++
    },
  },
}
const app = await buildGateway({ supergraph, logger, watchIntervalMs: 20 })
const ask = () =>
  app.inject({
    method: 'POST',
    url: '/graphql',
    headers: { accept: 'text/event-stream' },
    payload: { query: '{ __typename }' },
  })
const served = async () => (await app.inject('/readyz')).json().supergraph

const before = await served() // what injects is loaded, too
writeFileSync(`${supergraph}.new`, readFileSync(supergraph, 'utf8').replace(':9/', ':8/'))
const files: number[] = []
const openAll = () => {
  try {
    for (;;) files.push(openSync('/dev/null', 'r'))
  } catch {
    // No more may be open.
  }
}
openAll()
await delay(100) // what had a file open has closed it
openAll()
renameSync(`${supergraph}.new`, supergraph)
await until('the new supergraph can not be read', () => failures > 0)
const first = await ask()
for (const file of files) closeSync(file)
const second = await ask()
await until('the new supergraph is served', async () => (await served()) !== before)
console.log(JSON.stringify([first.statusCode, second.statusCode, second.body, failures]))
await app.close()
