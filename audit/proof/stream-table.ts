/**
 * The newest event of each stream, for a walk over logs with any number of streams. A stream takes at most 32 bytes: an
 * entry of 24 bytes in pages that never move, and a 4-byte value in an index that is half to four fifths full.
 *
 * Of names and hashes 64 bits are stored, and 32 bits of the hash before. Each process chooses anew which bits, so
 * nobody can construct a name or an event that is mistaken for another one.
 */
import { hash, randomBytes, randomInt } from 'node:crypto'

/** Of a stream's newest event so far. */
export interface StreamState {
  readonly revision: number
  /** Whether it has a hash of its own. */
  readonly hashed: boolean
  /** {@link shortHash} of its hash. */
  readonly hash: string
  /** The first {@link PREVIOUS_BYTES} bytes of {@link shortHash} of the hash that it links to; '' for none. */
  readonly previous: string
}

export interface StreamTable {
  readonly size: number
  /** The memory that it takes, in bytes. */
  readonly bytes: number
  get(stream: string): StreamState | undefined
  /** @throws RangeError beyond 134 million streams */
  set(stream: string, state: StreamState): void
}

/** The 32-bit words of an entry: the name (2), the hash (2), the hash before (1), the revision and a flag (1). */
const WIDTH = 6
const HASH_BYTES = 8
export const PREVIOUS_BYTES = 4
const HASHED = 0x8000_0000
/** Entries in a page. */
const PAGE = 1 << 10
/**
 * A value of the index is the entry's number plus one, so that 0 is free. Above it are some bits of the name, which
 * tell most other entries apart.
 */
const NUMBER_BITS = 27
const NUMBERS = 2 ** NUMBER_BITS
const TAGS = 2 ** (32 - NUMBER_BITS)
const FULLEST = 0.8
const GROWTH = 1.5

/** The indexes of the bytes of a hash that are stored. */
const STORED_BYTES = pickBytes()
/** Prepended to names before they are hashed. */
const NAME_KEY = randomBytes(16).toString('hex')

function pickBytes(): readonly number[] {
  const all = Array.from({ length: 32 }, (_, index) => index)
  return Array.from({ length: HASH_BYTES }, () => all.splice(randomInt(all.length), 1)[0] as number)
}

/** The part of a hash that the table stores. */
export function shortHash(base64url: string): string {
  const bytes = Buffer.from(base64url, 'base64url')
  return String.fromCharCode(...STORED_BYTES.map((at) => bytes[at] ?? 0))
}

/** @param firstCapacity the first capacity of the index */
export function createStreamTable(firstCapacity = 1 << 12): StreamTable {
  const pages: { readonly words: Uint32Array; readonly bytes: Buffer }[] = []
  let index = new Uint32Array(firstCapacity)
  let size = 0
  const name = new Uint32Array(2)
  const nameBytes = Buffer.from(name.buffer)
  /** The last stream that was looked up: `get` is usually followed by `set`. */
  let last: string | undefined
  /** Its slot in the index, and its entry; -1: none yet. */
  let slot = 0
  let entry = -1

  const slotOf = (first: number) => Math.floor((first / 2 ** 32) * index.length)
  const pageOf = (number: number) => pages[Math.floor(number / PAGE)] as (typeof pages)[number]
  const wordOf = (number: number) => (number % PAGE) * WIDTH
  const tagOf = (second: number) => second % TAGS

  function look(stream: string): void {
    if (stream === last) return
    last = stream
    nameBytes.write(hash('sha256', NAME_KEY + stream, 'binary'), 0, nameBytes.length, 'latin1')
    const [first, second] = name as unknown as [number, number]
    const tag = tagOf(second)
    for (slot = slotOf(first); ; slot = slot + 1 === index.length ? 0 : slot + 1) {
      const value = index[slot] as number
      entry = (value % NUMBERS) - 1
      if (value === 0) return
      if (Math.floor(value / NUMBERS) !== tag) continue
      const { words } = pageOf(entry)
      const at = wordOf(entry)
      if (words[at] === first && words[at + 1] === second) return
    }
  }

  function grow(): void {
    index = new Uint32Array(Math.ceil(index.length * GROWTH))
    last = undefined
    for (let number = 0; number < size; number++) {
      const { words } = pageOf(number)
      const at = wordOf(number)
      let free = slotOf(words[at] as number)
      while (index[free] !== 0) free = free + 1 === index.length ? 0 : free + 1
      index[free] = tagOf(words[at + 1] as number) * NUMBERS + number + 1
    }
  }

  function add(stream: string): void {
    if (size + 1 >= NUMBERS) throw new RangeError(`There are more than ${NUMBERS} streams.`)
    if (size + 1 > index.length * FULLEST) {
      grow()
      look(stream)
    }
    if (size % PAGE === 0) {
      const words = new Uint32Array(PAGE * WIDTH)
      pages.push({ words, bytes: Buffer.from(words.buffer) })
    }
    entry = size++
    index[slot] = tagOf(name[1] as number) * NUMBERS + entry + 1
    pageOf(entry).words.set(name, wordOf(entry))
  }

  return {
    get size() {
      return size
    },

    get bytes() {
      return pages.length * PAGE * WIDTH * 4 + index.length * 4
    },

    get(stream) {
      look(stream)
      if (entry === -1) return undefined
      const { words, bytes } = pageOf(entry)
      const at = wordOf(entry)
      const stored = words[at + WIDTH - 1] as number
      const hashAt = (at + 2) * 4
      const previousAt = hashAt + HASH_BYTES
      return {
        revision: stored % HASHED,
        hashed: stored >= HASHED,
        hash: bytes.toString('latin1', hashAt, previousAt),
        previous: words[at + 4] === 0 ? '' : bytes.toString('latin1', previousAt, previousAt + PREVIOUS_BYTES),
      }
    },

    set(stream, { revision, hashed, hash, previous }) {
      look(stream)
      if (entry === -1) add(stream)
      const { words, bytes } = pageOf(entry)
      const at = wordOf(entry)
      words[at + WIDTH - 1] = revision + (hashed ? HASHED : 0)
      const hashAt = (at + 2) * 4
      bytes.write(hash, hashAt, HASH_BYTES, 'latin1')
      if (previous === '') words[at + 4] = 0
      else bytes.write(previous, hashAt + HASH_BYTES, PREVIOUS_BYTES, 'latin1')
    },
  }
}
