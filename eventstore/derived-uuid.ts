/** UUIDs that are derived from names. */
import { hash } from 'node:crypto'

/** The digits that mark the variant (RFC 9562), by the two bits that are kept. */
const VARIANTS = '89ab'

/**
 * A UUID (version 8) that is always the same for the same name. A guess of the name can be checked against it, so the
 * name must not contain secrets.
 */
export function uuidOf(name: string): string {
  // From the text, because a Buffer for each would cost more than the hash.
  const hex = hash('sha256', name, 'hex')
  const variant = VARIANTS[Number.parseInt(hex.charAt(16), 16) & 3]
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

/** A UUID (version 8) from the first 16 bytes, which are changed. */
export function toUuid(bytes: Buffer): string {
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`
}
