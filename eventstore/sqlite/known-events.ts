/**
 * The newest events that this process has appended, by their ids: a repeated append is recognised by them.
 *
 * Numbers in typed arrays, because an object and a string for each event would live just long enough to reach the old
 * generation of the heap: collecting 20,000 of them again and again was a tenth of an append.
 */
import type { AppendResult } from '../port.ts'
import { positionOf } from './rows.ts'

/** How many ids are remembered; of a transaction that fails, this many are forgotten at most. A power of two. */
const REMEMBERED = 32_768

export interface KnownEvents {
  /** Call it at the beginning of a transaction: what was added since the last commit is forgotten. */
  begin(): void
  /** Call it when the transaction is committed. */
  commit(): void
  /** @param stream the number of the stream @param id a UUID in lower case */
  add(stream: number, id: string, revision: number, position: number): void
  /** What the append of an event resulted in, if it is known. */
  get(stream: number, id: string): AppendResult | undefined
}

/**
 * Events are numbered as they are added, from 1 on, and kept at their number modulo {@link REMEMBERED}. Those whose ids
 * have the same hash are chained by their numbers, the newest first; a chain ends at a number that was overwritten.
 */
export function createKnownEvents(): KnownEvents {
  const ids = new Uint32Array(4 * REMEMBERED)
  const streams = new Float64Array(REMEMBERED)
  const revisions = new Float64Array(REMEMBERED)
  const positions = new Float64Array(REMEMBERED)
  const before = new Float64Array(REMEMBERED)
  const newest = new Float64Array(REMEMBERED)
  /** The id that is looked at, as numbers. */
  const wanted = new Uint32Array(4)
  let count = 0
  let committed = 0
  /** The last number whose place was taken by another one. */
  let overwritten = 0

  function isWanted(place: number, stream: number): boolean {
    const at = 4 * place
    return (
      ids[at] === wanted[0] &&
      ids[at + 1] === wanted[1] &&
      ids[at + 2] === wanted[2] &&
      ids[at + 3] === wanted[3] &&
      streams[place] === stream
    )
  }

  return {
    begin() {
      for (; count > committed; count--) {
        const place = count % REMEMBERED
        newest[chainOf(ids, 4 * place)] = before[place] as number
      }
    },

    commit() {
      committed = count
    },

    add(stream, id, revision, position) {
      const place = ++count % REMEMBERED
      overwritten = Math.max(overwritten, count - REMEMBERED)
      const at = 4 * place
      writeUuid(id, ids, at)
      streams[place] = stream
      revisions[place] = revision
      positions[place] = position
      const chain = chainOf(ids, at)
      before[place] = newest[chain] as number
      newest[chain] = count
    },

    get(stream, id) {
      writeUuid(id, wanted, 0)
      for (let number = newest[chainOf(wanted, 0)] as number; number > overwritten; ) {
        const place = number % REMEMBERED
        if (isWanted(place, stream)) {
          return { revision: revisions[place] as number, position: positionOf(positions[place] as number) }
        }
        number = before[place] as number
      }
      return undefined
    },
  }
}

/** The chain of the id that stands there as four numbers. */
const chainOf = (numbers: Uint32Array, at: number): number =>
  ((numbers[at] as number) ^ (numbers[at + 1] as number) ^ (numbers[at + 2] as number) ^ (numbers[at + 3] as number)) &
  (REMEMBERED - 1)

const DASH = 45
const NINE = 57
/** From the code of a lower-case letter to the value of its digit. */
const LETTER = 87
const ZERO = 48

/** Writes the 32 digits of a UUID as four numbers. */
function writeUuid(id: string, into: Uint32Array, at: number): void {
  let value = 0
  let digits = 0
  for (let index = 0; index < id.length; index++) {
    const code = id.charCodeAt(index)
    if (code === DASH) continue
    value = (value << 4) | (code > NINE ? code - LETTER : code - ZERO)
    digits++
    if (digits % 8 === 0) into[at + digits / 8 - 1] = value
  }
}
