import { createServers } from './servers.ts'
import { signInBench } from './tmp-sign-in.ts'
import { table } from './table.ts'
const servers = createServers()
console.log(table(await signInBench(servers, 24)))
await servers.stop()
process.exit()
