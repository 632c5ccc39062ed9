/** A client's address, as far as it may be kept. */
import { isIP } from 'node:net'

/**
 * @param keep `network`: an IPv4 address's first 24 bits, an IPv6 address's first 48
 * @returns undefined where nothing is to be kept, or the text is no address
 */
export function keptAddress(address: string | undefined, keep: 'none' | 'network' | 'full'): string | undefined {
  if (address === undefined || keep === 'none') return undefined
  // IPv4 as a socket that listens on both gives it.
  const plain = address.trim().replace(/^::ffff:(?=\d+\.)/i, '')
  const version = isIP(plain)
  if (version === 0) return undefined
  if (keep === 'full') return plain
  return version === 4
    ? `${plain.split('.').slice(0, 3).join('.')}.0/24`
    : `${ipv6Groups(plain).slice(0, 3).join(':')}::/48`
}

/** The eight groups of an IPv6 address, without leading zeros. */
function ipv6Groups(address: string): string[] {
  // The URL parser writes an IPv4 tail in groups; a zone (`%eth0`) is of no network.
  const { hostname } = new URL(`http://[${address.split('%')[0]}]`)
  const [head = '', tail] = hostname.slice(1, -1).split('::')
  const groups = (text: string | undefined) => (text ? text.split(':') : [])
  const [first, last] = [groups(head), groups(tail)]
  return [...first, ...Array<string>(8 - first.length - last.length).fill('0'), ...last]
}
