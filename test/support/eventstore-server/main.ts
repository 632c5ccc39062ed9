/** The test server as a process of its own, for benches and by hand: prints its connection string. `--port N` */
import { parseArgs } from 'node:util'
import { openEventStoreServer } from './server.ts'

const { values } = parseArgs({ options: { port: { type: 'string' } } })
const server = await openEventStoreServer(values.port === undefined ? {} : { port: Number(values.port) })
console.log(server.url)
process.on('disconnect', () => process.exit())
