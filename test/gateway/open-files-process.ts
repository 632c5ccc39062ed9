/** A gateway that can open no file while its first subscription arrives, and then can again: prints both answers' statuses. */
import { closeSync, openSync } from 'node:fs'
import { buildGateway } from '../../gateway/server.ts'

const app = await buildGateway({ supergraph: process.argv[2] as string })
const ask = () =>
  app.inject({
    method: 'POST',
    url: '/graphql',
    headers: { accept: 'text/event-stream' },
    payload: { query: '{ __typename }' },
  })

await app.inject('/healthz') // what injects is loaded, too
const files: number[] = []
try {
  for (;;) files.push(openSync('/dev/null', 'r'))
} catch {
  // No more may be open.
}
const first = await ask()
for (const file of files) closeSync(file)
const second = await ask()
console.log(JSON.stringify([first.statusCode, second.statusCode, second.body]))
await app.close()
