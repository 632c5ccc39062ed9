/**
 * A compact map of the customers in the rows of an import run, by the keyed hash of their e-mail address. It remembers the
 * newest one to two million rows in about 30 bytes each. Of a hash it stores only 96 bits. Nobody can provoke a collision
 * without the service's e-mail key.
 */

/** A customer that the run has registered. */
interface SeenCustomer {
  readonly id: number
  readonly revision: number
}

export interface Seen {
  /** `there`: a row has this address, but its customer has to be read from the store. */
  get(key: string): SeenCustomer | 'there' | undefined
  has(key: string): boolean
  /** @param key in hexadecimal, as returned by `emailKeyOf` */
  set(key: string, value: SeenCustomer | 'there'): void
  delete(key: string): void
  /** Whether it no longer has all that it was given. */
  readonly hasForgotten: boolean
}

/** An entry has five 32-bit words: the key (3), the low bits of the id (1), its high bits with the revision (1). */
const WIDTH = 5
const MAX_LOAD = 0.8
const GROWTH = 1.25
/**
 * The last word of an entry has the id's high bits, and in its low bits the revision plus 2. The low bits 0 mean that the
 * entry is free; 1 means `there`, or deleted if a higher bit is set.
 */
const REVISION_BITS = 10
const REVISIONS = 2 ** REVISION_BITS
const THERE = 1
const DELETED = THERE + REVISIONS
const WORD = 2 ** 32
const FIRST_CAPACITY = 1 << 6
/** A generation is divided, by a byte of the key beyond those that are stored, so that it never grows as a whole. */
const TABLES = 256
const AT_BYTE = 12
/** The digits of keys, as codes: `0`, `9`, `a`. */
const ZERO = 48
const NINE = 57
const TEN = 97

/** @param most the entries of a generation; once it is full, a new one begins and the one before it is dropped */
export function createSeen(most = 1_000_000): Seen {
  let young = createGeneration()
  let old = createGeneration()
  let hasForgotten = false
  return {
    get hasForgotten() {
      return hasForgotten
    },
    get: (key) => young.get(key) ?? old.get(key),
    has: (key) => young.get(key) !== undefined || old.get(key) !== undefined,
    set(key, value) {
      if (young.size >= most) {
        hasForgotten ||= old.size > 0
        old = young
        young = createGeneration()
      }
      young.set(key, value)
    },
    delete(key) {
      young.delete(key)
      old.delete(key)
    },
  }
}

export interface Counts {
  /** How often it was called with this key, with this call. @param key in hexadecimal, as returned by `emailKeyOf` */
  next(key: string): number
}

/**
 * Counts by keyed hash, as compact as {@link createSeen}.
 * @param atLeast how many of the newest keys are remembered; at most twice as many are
 */
export function createCounts(atLeast: number): Counts {
  const counts = createSeen(atLeast)
  return {
    next(key) {
      const before = counts.get(key)
      const id = typeof before === 'object' ? before.id + 1 : 1
      counts.set(key, { id, revision: 0 })
      return id
    },
  }
}

function createGeneration() {
  const tables = Array.from({ length: TABLES }, createTable)
  const tableOf = (key: string) => tables[numberIn(key, 2 * AT_BYTE, 2)] as Table
  let size = 0
  return {
    get size() {
      return size
    },
    get: (key: string) => tableOf(key).get(key),
    set(key: string, value: SeenCustomer | 'there'): void {
      const table = tableOf(key)
      const before = table.size
      table.set(key, value)
      size += table.size - before
    },
    delete: (key: string) => tableOf(key).delete(key),
  }
}

type Table = ReturnType<typeof createTable>

/** The number that some digits of a key are. By hand: it runs thirty times for a customer. */
function numberIn(key: string, start: number, digits: number): number {
  let number = 0
  for (let at = start; at < start + digits; at++) {
    const code = key.charCodeAt(at)
    number = 16 * number + (code <= NINE ? code - ZERO : code - TEN + 10)
  }
  return number
}

const wordOf = (key: string, index: number) => numberIn(key, 8 * index, 8)

/** A hash table with open addressing and linear probing. */
function createTable() {
  let capacity = FIRST_CAPACITY
  let words = new Uint32Array(capacity * WIDTH)
  let size = 0

  /** The offset of a key's entry, or of the free one where it belongs. */
  function find(first: number, second: number, third: number): number {
    for (let slot = Math.floor((first / WORD) * capacity); ; slot = slot + 1 === capacity ? 0 : slot + 1) {
      const at = slot * WIDTH
      if (words[at + 4] === 0) return at
      if (words[at] === first && words[at + 1] === second && words[at + 2] === third) return at
    }
  }

  const look = (key: string) => find(wordOf(key, 0), wordOf(key, 1), wordOf(key, 2))

  function grow(): void {
    const before = words
    capacity = Math.ceil(capacity * GROWTH)
    words = new Uint32Array(capacity * WIDTH)
    size = 0
    for (let from = 0; from < before.length; from += WIDTH) {
      const state = before[from + 4]
      if (state === 0 || state === DELETED) continue
      const [first, second, third] = before.subarray(from, from + 3) as unknown as [number, number, number]
      words.set(before.subarray(from, from + WIDTH), find(first, second, third))
      size++
    }
  }

  return {
    get size() {
      return size
    },

    get(key: string): SeenCustomer | 'there' | undefined {
      const at = look(key)
      const state = words[at + 4] as number
      if (state === 0 || state === DELETED) return undefined
      if (state === THERE) return 'there'
      return {
        id: Math.floor(state / REVISIONS) * WORD + (words[at + 3] as number),
        revision: (state % REVISIONS) - 2,
      }
    },

    set(key: string, value: SeenCustomer | 'there'): void {
      if (size >= capacity * MAX_LOAD) grow()
      const at = look(key)
      if (words[at + 4] === 0) size++
      for (let index = 0; index < 3; index++) words[at + index] = wordOf(key, index)
      const isKept = value !== 'there' && value.revision + 2 < REVISIONS
      words[at + 3] = isKept ? value.id % WORD : 0
      words[at + 4] = isKept ? Math.floor(value.id / WORD) * REVISIONS + value.revision + 2 : THERE
    },

    delete(key: string): void {
      const at = look(key)
      if (words[at + 4] !== 0) words[at + 4] = DELETED
    },
  }
}
