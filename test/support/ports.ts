/** The ports of the tests. */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** None that systems give to connections, or to servers that ask for no port of their own. */
export const ALL_PORTS = { first: 10_000, last: 32_767 }
/**
 * The ports of this process. The test run gives each of its processes some of its own: a server that a test has stopped
 * for a while would find another test's server in its place, and its clients would talk to that one.
 */
const [FIRST_PORT = ALL_PORTS.first, LAST_PORT = ALL_PORTS.last] = process.env.TEST_PORTS?.split('-').map(Number) ?? []
let lastPort = randomInt(FIRST_PORT, LAST_PORT + 1)

/** A port that was free a moment ago; the same one comes again only when all others were given. */
export async function freePort(): Promise<number> {
  for (;;) {
    lastPort = lastPort < LAST_PORT ? lastPort + 1 : FIRST_PORT
    const port = lastPort
    const server = createServer().listen(port, '127.0.0.1')
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    )
    if (!isFree) continue
    server.close()
    await once(server, 'close')
    return port
  }
}
