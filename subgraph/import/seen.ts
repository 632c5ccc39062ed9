/**
 * The customers of a run's rows, by the keys of their e-mail addresses. Each takes about 30 bytes: of a key 96 bits are
 * stored, which only somebody with the service's e-mail key could make collide. The newest one to two million customers
 * are remembered.
 */

/** A customer that the run has registered. */
interface SeenCustomer {
  readonly id: number
  readonly revision: number
}

export interface Seen {
  /** `there`: the row was seen, but its customer has to be read. */
  get(key: string): SeenCustomer | 'there' | undefined
  has(key: string): boolean
  /** @param key hexadecimal, from `emailKeyOf` */
  set(key: string, value: SeenCustomer | 'there'): void
  delete(key: string): void
}

/** The 32-bit words of an entry: the key (3), the low bits of the id (1), its high bits and the revision (1). */
const WIDTH = 5
const FULLEST = 0.8
const GROWTH = 1.5
/**
 * The last word has the revision plus two in its low bits, and the high bits of the id above it. 0 marks a free entry. A
 * 1 in the low bits means `there`, or deleted if a bit above is set.
 */
const REVISION_BITS = 10
const REVISIONS = 2 ** REVISION_BITS
const THERE = 1
const DELETED = THERE + REVISIONS
const WORD = 2 ** 32
const FIRST_CAPACITY = 1 << 10

/** @param most the entries of one table; when it is full, a new one is started and the one before it is forgotten */
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

  /** The index of a key's entry, or of the free one where it would be inserted. */
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
