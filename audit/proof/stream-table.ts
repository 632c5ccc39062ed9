/**
 * The newest event of each stream, for a walk over logs with any number of streams: 48 bytes for each in one flat
 * table, 64 to 128 with its free space (10 million streams: about 1 GiB). Names and hashes are stored as their first 96
 * and 128 bits.
 */
import { hash } from 'node:crypto'

/** Of a stream's newest event so far. */
export interface StreamState {
  readonly revision: number
  /** Whether it has a hash of its own. */
  readonly hashed: boolean
  /** {@link shortHash} of its hash, and of the one that it links to. */
  readonly hash: string
  readonly previous: string
}

export interface StreamTable {
  readonly size: number
  get(stream: string): StreamState | undefined
  set(stream: string, state: StreamState): void
}

/** The 32-bit words of an entry: the name (3), the revision and a flag (1), the hashes (4 each). */
const WIDTH = 12
const NAME = 3
const HASH_BYTES = 16
/** The revision is stored plus one, so that 0 marks a free entry. */
const HASHED = 0x8000_0000
const FIRST_CAPACITY = 1 << 12

/** The part of a hash that the table stores. */
export const shortHash = (base64url: string): string =>
  Buffer.from(base64url, 'base64url').toString('latin1', 0, HASH_BYTES)

/** @param firstCapacity a power of two */
export function createStreamTable(firstCapacity = FIRST_CAPACITY): StreamTable {
  let capacity = firstCapacity
  let words = new Uint32Array(capacity * WIDTH)
  let bytes = Buffer.from(words.buffer)
  let size = 0
  const name = new Uint32Array(NAME)
  const nameBytes = Buffer.from(name.buffer)
  /** The last stream that was looked up, and its entry: `get` is usually followed by `set`. */
  let last: string | undefined
  let lastAt = 0

  /** The index of the entry, or of the free one where it would be inserted. */
  function find(): number {
    for (let slot = (name[0] as number) & (capacity - 1); ; slot = (slot + 1) & (capacity - 1)) {
      const at = slot * WIDTH
      if (words[at + NAME] === 0) return at
      if (words[at] === name[0] && words[at + 1] === name[1] && words[at + 2] === name[2]) return at
    }
  }

  function indexOf(stream: string): number {
    if (stream !== last) {
      nameBytes.write(hash('sha256', stream, 'binary'), 0, NAME * 4, 'latin1')
      lastAt = find()
      last = stream
    }
    return lastAt
  }

  function grow(): void {
    const old = words
    last = undefined
    capacity *= 2
    words = new Uint32Array(capacity * WIDTH)
    bytes = Buffer.from(words.buffer)
    for (let from = 0; from < old.length; from += WIDTH) {
      if (old[from + NAME] === 0) continue
      name.set(old.subarray(from, from + NAME))
      words.set(old.subarray(from, from + WIDTH), find())
    }
  }

  return {
    get size() {
      return size
    },

    get(stream) {
      const at = indexOf(stream)
      const stored = words[at + NAME] as number
      if (stored === 0) return undefined
      const first = (at + NAME + 1) * 4
      return {
        revision: (stored & ~HASHED) - 1,
        hashed: stored >= HASHED,
        hash: bytes.toString('latin1', first, first + HASH_BYTES),
        previous: bytes.toString('latin1', first + HASH_BYTES, first + 2 * HASH_BYTES),
      }
    },

    set(stream, { revision, hashed, hash, previous }) {
      if (size * 4 >= capacity * 3) grow()
      const at = indexOf(stream)
      if (words[at + NAME] === 0) size++
      words.set(name, at)
      words[at + NAME] = ((revision + 1) | (hashed ? HASHED : 0)) >>> 0
      const first = (at + NAME + 1) * 4
      bytes.fill(0, first, first + 2 * HASH_BYTES)
      bytes.write(hash, first, HASH_BYTES, 'latin1')
      bytes.write(previous, first + HASH_BYTES, HASH_BYTES, 'latin1')
    },
  }
}
