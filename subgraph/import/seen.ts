/**
 * Customers of a run's rows, by the keys of their addresses, in some 30 bytes each: of a key 96 bits are kept, which nobody who
 * does not have the service's e-mail key can choose. The newest million or two are remembered.
 */

/** A customer that the run has registered. */
interface SeenCustomer {
  readonly id: number
  readonly revision: number
}

export interface Seen {
  /** `there`: the row was met, and its customer has to be read. */
  get(key: string): SeenCustomer | 'there' | undefined
  has(key: string): boolean
  /** @param key hexadecimal, as `emailKeyOf` gives it */
  set(key: string, value: SeenCustomer | 'there'): void
  delete(key: string): void
}

/** Numbers of 32 bits of an entry: the key (3), the id (1), what is above it and the revision (1). */
const WIDTH = 5
const FULLEST = 0.8
const GROWTH = 1.5
/** The last number: the revision two up (0: a free entry; 1: `there`, or deleted where the bits above are set), above it the id's high bits. */
const REVISION_BITS = 10
const REVISIONS = 2 ** REVISION_BITS
const THERE = 1
const DELETED = THERE + REVISIONS
const WORD = 2 ** 32
const FIRST_CAPACITY = 1 << 10

/** @param most entries of a generation; when it is full, the one before it is forgotten */
export function createSeen(most = 1_000_000): Seen {
  let young = createTable()
  let old = createTable()
  return {
    get: (key) => young.get(key) ?? old.get(key),
    has: (key) => young.get(key) !== undefined || old.get(key) !== undefined,
    set(key, value) {
      if (young.size >= most) {
        old = young
        young = createTable()
      }
      young.set(key, value)
    },
    delete(key) {
      young.delete(key)
      old.delete(key)
    },
  }
}

function createTable() {
  let capacity = FIRST_CAPACITY
  let words = new Uint32Array(capacity * WIDTH)
  let size = 0

  /** The entry of a key, or the free one where it would go. */
  function find(first: number, second: number, third: number): number {
    for (let slot = Math.floor((first / WORD) * capacity); ; slot = slot + 1 === capacity ? 0 : slot + 1) {
      const at = slot * WIDTH
      if (words[at + 4] === 0) return at
      if (words[at] === first && words[at + 1] === second && words[at + 2] === third) return at
    }
  }

  const part = (key: string, index: number) => Number.parseInt(key.slice(8 * index, 8 * index + 8), 16)
  const look = (key: string) => find(part(key, 0), part(key, 1), part(key, 2))

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
      if (size >= capacity * FULLEST) grow()
      const at = look(key)
      if (words[at + 4] === 0) size++
      for (let index = 0; index < 3; index++) words[at + index] = part(key, index)
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
