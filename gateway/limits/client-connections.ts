/** A limit for the connections of one client, so that sockets that send slowly do not fill the memory. */
import type { Socket } from 'node:net'
import { BlockList, isIPv6 } from 'node:net'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import { clientKey } from '../../runtime/client-address.ts'

/** The default. A connection whose request is still arriving takes some 50 kB. */
export const CONNECTIONS_PER_CLIENT = 1_000

/** The networks behind the names that Fastify's trustProxy knows. */
const NAMED: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.0/8', '::1/128'],
  linklocal: ['169.254.0.0/16', 'fe80::/10'],
  uniquelocal: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
}

/**
 * Closes each connection that a client opens beyond the limit. Those of trusted proxies are not counted, because they carry
 * the requests of many.
 * @param perClient the most connections of one address (IPv6: one /64 network)
 * @param trustProxy a list of addresses and networks; with anything else that is trusted, nothing is limited
 */
export function limitConnections(
  app: FastifyInstance,
  perClient: number,
  trustProxy: FastifyServerOptions['trustProxy'] = [],
): void {
  // Its client was gone before it was accepted, but what it had sent would still be read, as nobody's request.
  app.server.on('connection', (socket: Socket) => {
    if (socket.remoteAddress === undefined) socket.destroy()
  })
  if (!Array.isArray(trustProxy)) return
  const proxies = networksOf(trustProxy)
  const counts = new Map<string, number>()
  app.server.on('connection', (socket: Socket) => {
    const { remoteAddress } = socket
    if (remoteAddress === undefined || proxies.check(remoteAddress, isIPv6(remoteAddress) ? 'ipv6' : 'ipv4')) return
    const client = clientKey(remoteAddress)
    const others = counts.get(client) ?? 0
    if (others >= perClient) return void socket.destroy()
    counts.set(client, others + 1)
    socket.once('close', () => {
      const left = (counts.get(client) ?? 1) - 1
      if (left > 0) counts.set(client, left)
      else counts.delete(client)
    })
  })
}

function networksOf(names: readonly string[]): BlockList {
  const list = new BlockList()
  for (const network of names.flatMap((name) => NAMED[name] ?? name)) {
    const [address = '', bits] = network.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  return list
}
