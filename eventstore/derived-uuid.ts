/** UUIDs that are derived from names. */
import { hash } from 'node:crypto'

/**
 * A UUID (version 8) that is always the same for the same name. A guess of the name can be checked against it, so the
 * name must not contain secrets.
 */
export function uuidOf(name: string): string {
  return toUuid(hash('sha256', name, 'buffer'))
}

/** A UUID (version 8) from the first 16 bytes, which are changed. */
export function toUuid(bytes: Buffer): string {
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`
}
