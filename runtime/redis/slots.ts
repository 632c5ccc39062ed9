/** The hash slots of Redis Cluster: a key's slot is that of its hash tag, the part in braces. */

const SLOTS = 16_384

/** The slot of every key with this hash tag (CRC16, XMODEM). */
export function slotOf(tag: string): number {
  let crc = 0
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff
  }
  return crc % SLOTS
}

let tags: string[] | undefined

/** A hash tag for each slot. */
export function tagOfEachSlot(): readonly string[] {
  if (tags) return tags
  const found = new Array<string>(SLOTS)
  for (let number = 0, missing = SLOTS; missing > 0; number++) {
    const slot = slotOf(String(number))
    if (found[slot] !== undefined) continue
    found[slot] = String(number)
    missing--
  }
  tags = found
  return tags
}
