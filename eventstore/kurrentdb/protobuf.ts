/** Reads and writes the fields of protobuf messages (https://protobuf.dev/programming-guides/encoding). */

/** Walks the fields of one protobuf message. */
export class Reader {
  readonly #bytes: Buffer
  #at = 0
  #end: number
  #wire = 0
  field = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
    this.#end = bytes.length
  }

  /** Goes to the next field; false at the message's end. */
  next(): boolean {
    if (this.#at >= this.#end) return false
    const tag = this.number()
    this.field = tag >>> 3
    this.#wire = tag & 7
    return true
  }

  /** A varint up to 2^53: revisions, counts. */
  number(): number {
    let value = 0
    let factor = 1
    for (;;) {
      const byte = this.#bytes[this.#at++] as number
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value
      factor *= 128
    }
  }

  /** A varint of 64 bits, unsigned. */
  bigint(): bigint {
    const from = this.#at
    const value = this.number()
    if (this.#at - from <= 7) return BigInt(value) // 49 bits: exact
    let exact = 0n
    for (let at = this.#at - 1; at >= from; at--) exact = (exact << 7n) | BigInt((this.#bytes[at] as number) & 0x7f)
    return BigInt.asUintN(64, exact)
  }

  text(): string {
    const length = this.number()
    const from = this.#at
    this.#at += length
    return this.#bytes.toString('utf8', from, this.#at)
  }

  bytes(): Buffer {
    const length = this.number()
    const from = this.#at
    this.#at += length
    return this.#bytes.subarray(from, this.#at)
  }

  /** A message within the message. */
  message<T>(read: (reader: Reader) => T): T {
    const length = this.number()
    const end = this.#end
    this.#end = this.#at + length
    const value = read(this)
    this.#at = this.#end
    this.#end = end
    return value
  }

  skip(): void {
    switch (this.#wire) {
      case 0:
        while ((this.#bytes[this.#at++] as number) >= 0x80);
        break
      case 1:
        this.#at += 8
        break
      case 2: {
        const length = this.number()
        this.#at += length
        break
      }
      case 5:
        this.#at += 4
        break
      default:
        throw new Error(`The server's answer has a field of an unknown kind (${this.#wire}).`)
    }
  }
}

/** The bytes of a varint. @param value 0 to 2^53 */
function varintSize(value: number): number {
  let size = 1
  for (let left = value; left >= 0x80; left = Math.floor(left / 0x80)) size++
  return size
}

/** The bytes of a field that has a length, as texts, bytes and messages have. Its number is 15 at most. */
export const sizedField = (length: number): number => 1 + varintSize(length) + length

const VARINT = 0
const SIZED = 2

/** Writes fields into a buffer that has the room for them. Field numbers are 15 at most: their tags take one byte. */
export class Writer {
  readonly bytes: Buffer
  at = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  /** @param value 0 to 2^53 */
  varint(field: number, value: number): void {
    this.bytes[this.at++] = (field << 3) | VARINT
    this.#varint(value)
  }

  /** The beginning of a field of `length` bytes, which are to follow. */
  sized(field: number, length: number): void {
    this.bytes[this.at++] = (field << 3) | SIZED
    this.#varint(length)
  }

  /** @param length of the text in UTF-8, or of the bytes */
  content(field: number, value: string | Uint8Array, length: number): void {
    this.sized(field, length)
    if (typeof value === 'string') this.bytes.write(value, this.at)
    else this.bytes.set(value, this.at)
    this.at += length
  }

  #varint(value: number): void {
    let left = value
    for (; left >= 0x80; left = Math.floor(left / 0x80)) this.bytes[this.at++] = (left & 0x7f) | 0x80
    this.bytes[this.at++] = left
  }
}
