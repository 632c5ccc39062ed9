/**
 * Sign-in by a proxy in front of the console: it names the person and the roles in headers of each request. A request that did
 * not come from the proxy is nobody's, whatever it says.
 */
import { isUtf8 } from 'node:buffer'
import { timingSafeEqual } from 'node:crypto'
import { BlockList, isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'
import type { ConsoleConfiguration } from '../configuration.ts'
import { html } from '../html.ts'
import { acceptedName, rolesOf } from '../people.ts'
import type { SignIn } from './sign-in.ts'

const SECRET_HEADER = 'x-console-secret'

export function proxySignIn(settings: ConsoleConfiguration, header: string): SignIn {
  const {
    CONSOLE_PROXY_SECRET: secret,
    CONSOLE_TRUST_PROXY: networks,
    CONSOLE_PROXY_ROLES_HEADER: rolesHeader,
  } = settings
  const isTrusted = trustedAddresses(networks)
  const roles = new Map(settings.CONSOLE_ROLES)
  const isFromProxy = ({ raw, headers }: FastifyRequest) => {
    if (networks.length === 0 && secret === undefined) return false
    if (networks.length > 0 && !isTrusted(raw.socket.remoteAddress ?? '')) return false
    return secret === undefined || isSame(secret, headers[SECRET_HEADER])
  }
  return {
    personOf(request) {
      if (!isFromProxy(request)) return undefined
      const name = acceptedName(single(request, header))
      // A list is what a proxy makes that adds to a visitor's header, where it should replace it.
      return name === undefined || name.includes(',')
        ? undefined
        : { name, roles: rolesOf(single(request, rolesHeader) ?? '', roles) }
    },
    page: () => html`<p>People are signed in by the proxy in front of the console, and this request names nobody. Open the
      console through the proxy.</p>`,
  }
}

/**
 * A header's text: in UTF-8, as proxies send it, or else in Latin-1. One that came twice is ambiguous: one of them may be the
 * visitor's own.
 */
function single({ raw: { rawHeaders } }: FastifyRequest, name: string): string | undefined {
  const values = rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === name)
  const [value] = values
  if (value === undefined || values.length > 1) return undefined
  const bytes = Buffer.from(value, 'latin1')
  return isUtf8(bytes) ? bytes.toString() : value
}

function isSame(secret: string, given: string | string[] | undefined): boolean {
  const [wanted, offered] = [Buffer.from(secret), Buffer.from(typeof given === 'string' ? given : '')]
  return wanted.length === offered.length && timingSafeEqual(wanted, offered)
}

function trustedAddresses(networks: readonly string[]): (address: string) => boolean {
  const trusted = new BlockList()
  for (const network of networks) {
    const [address = '', bits] = network.split('/')
    const family = isIP(address) === 4 ? 'ipv4' : 'ipv6'
    if (bits === undefined) trusted.addAddress(address, family)
    else trusted.addSubnet(address, Number(bits), family)
  }
  return (address) => trusted.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6')
}
