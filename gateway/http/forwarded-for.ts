/** `X-Forwarded-For` as proxies write it, tidied for Fastify's `request.ip`. */
import { isIP } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { withoutPort } from '../../runtime/client-address.ts'

/**
 * Fastify compares the header's entries with the trusted proxies as they are. So an entry with a port (as of Azure's
 * gateways) would never be a proxy, and all clients behind it would be one; and any text at all would be a client of its
 * own. Here ports are removed, and what stands left of a text that is no address (`unknown`) is not believed.
 */
export function tidyForwardedFor(app: FastifyInstance): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const { headers } = request.raw
    const header = headers['x-forwarded-for']
    if (header !== undefined) headers['x-forwarded-for'] = addressesIn(String(header)).join(', ')
    done()
  })
}

function addressesIn(header: string): string[] {
  const addresses: string[] = []
  for (const entry of header.split(',').reverse()) {
    const address = withoutPort(entry.trim())
    if (isIP(address) > 0) addresses.unshift(address)
    else if (address !== '') break
  }
  return addresses
}
