/** A server that loads the console with its first request: until then it costs a listening socket. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { endingConnections } from '../runtime/ending-connections.ts'
import { lazily } from '../runtime/lazily.ts'
import type { Running } from '../runtime/process.ts'

export interface LazyConsole extends Running {
  /** @returns the URL */
  listen(options: { readonly port: number; readonly host: string }): Promise<string>
}

/** @param build makes the console; a failure is not kept, so the next request tries again */
export function createLazyConsole(
  build: () => Promise<FastifyInstance>,
  onFault: (error: unknown) => void,
): LazyConsole {
  let built = lazily(ready)
  /** The one that is built, or is being built. */
  let begun: Promise<FastifyInstance> | undefined
  let isClosing = false
  function ready(): Promise<FastifyInstance> {
    begun = begin()
    return begun
  }
  async function begin(): Promise<FastifyInstance> {
    if (isClosing) throw new Error('The console is closing.')
    const console = await build()
    await console.ready()
    return console
  }
  const server = createServer((request, response) => {
    built().then(
      (app) => app.routing(request, response),
      (error: unknown) => {
        built = lazily(ready)
        onFault(error)
        response
          .writeHead(503, { 'content-type': 'text/plain' })
          .end('The console could not be started; see the log.\n')
      },
    )
  })
  const endConnections = endingConnections(server)
  return {
    listen: ({ port, host }) =>
      new Promise((resolve, reject) => {
        server.once('error', reject).listen({ port, host }, () => {
          const { address, family, port } = server.address() as AddressInfo
          resolve(`http://${family === 'IPv6' ? `[${address}]` : address}:${port}`)
        })
      }),
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      isClosing = true
      endConnections()
      // Ends what is under way, so that the connections become idle.
      await (await begun?.catch(() => undefined))?.close()
      server.closeIdleConnections()
      await closed
    },
  }
}
