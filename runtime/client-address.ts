/** Client addresses: how much of one may be stored, and which part identifies a client. */
import { isIP } from 'node:net'

/**
 * @param keep `network`: an IPv4 address's first 24 bits, an IPv6 address's first 48
 * @returns undefined if nothing is to be kept, or if the text is not an address
 */
export function keptAddress(address: string | undefined, keep: 'none' | 'network' | 'full'): string | undefined {
  if (address === undefined || keep === 'none') return undefined
  const plain = unmapped(withoutPort(address.trim()))
  const version = isIP(plain)
  if (version === 0) return undefined
  if (keep === 'full') return plain
  return version === 4
    ? `${plain.split('.').slice(0, 3).join('.')}.0/24`
    : `${ipv6Groups(plain).slice(0, 3).join(':')}::/48`
}

/**
 * What identifies a client: an IPv4 address, or the first 64 bits of an IPv6 address, because a client usually owns the
 * whole /64. An IPv4-mapped IPv6 address counts as IPv4. A port, which some proxies append, is ignored.
 * @returns the text unchanged if it is not an address
 */
export function clientKey(address: string): string {
  if (!address.includes(':')) return address
  const plain = unmapped(withoutPort(address))
  return isIP(plain) === 6 ? `${ipv6Groups(plain).slice(0, 4).join(':')}::/64` : plain
}

/**
 * Whether a text is an address or a network (10.0.0.0/8) of proxies to trust. Not everybody (`/0`): then anybody could say
 * what only the proxy may say.
 */
export function isNetwork(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const version = isIP(address)
  if (version === 0 || rest.length > 0) return false
  return bits === undefined || (/^[1-9]\d{0,2}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
}

/** An address without the port that some proxies append, and without the brackets of IPv6. Other text is unchanged. */
export function withoutPort(address: string): string {
  if (!address.includes(':')) return address
  return /^\[([^\]]+)\](?::\d+)?$/.exec(address)?.[1] ?? /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(address)?.[1] ?? address
}

/**
 * Turns an IPv4-mapped IPv6 address (`::ffff:192.0.2.1`, as a dual-stack socket reports it) into plain IPv4, however it
 * is spelled.
 */
function unmapped(address: string): string {
  if (isIP(address) !== 6) return address
  const groups = ipv6Groups(address)
  if (groups.slice(0, 5).some((group) => group !== '0') || groups[5] !== 'ffff') return address
  const [high = 0, low = 0] = groups.slice(6).map((group) => Number.parseInt(group, 16))
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

/** The eight groups of an IPv6 address, without leading zeros. */
function ipv6Groups(address: string): string[] {
  // The URL parser writes an IPv4 tail in groups; a zone (`%eth0`) is not part of the network.
  const { hostname } = new URL(`http://[${address.split('%')[0]}]`)
  const [head = '', tail] = hostname.slice(1, -1).split('::')
  const groups = (text: string | undefined) => (text ? text.split(':') : [])
  const [first, last] = [groups(head), groups(tail)]
  return [...first, ...Array<string>(8 - first.length - last.length).fill('0'), ...last]
}
