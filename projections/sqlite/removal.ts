/**
 * Removing a whole generation. A million documents in one transaction would hold up every other write for seconds, so they go
 * in ranges, with a pause after each in which others get the lock. What is half gone is never taken for whole: the checkpoint
 * goes first, and the place of the newest event last.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Access } from './access.ts'
import { liveGeneration } from './rows.ts'
import type { Statements } from './schema.ts'

/** The rows of a range: some milliseconds of work. */
export const RANGE = 500
/** The shortest pause after a range. A process that waits for the lock looks again within 30 ms. */
const LEAST_PAUSE_MS = 2

type Write = Access['write']

/** @throws RangeError for the live generation | ReadModelUnavailable */
export async function dropGeneration(sql: Statements, write: Write, number: number): Promise<void> {
  const check = () => {
    if (number === liveGeneration(sql)) throw new RangeError(`Generation ${number} is live; it can't be dropped.`)
  }
  await write(() => {
    check()
    sql.dropCheckpoint.run(number)
  })
  await removeDocuments(sql, write, number, check)
  await write(() => {
    check()
    forgetRest(sql, number)
    sql.dropGeneration.run(number)
  })
}

/** Removes what the generation holds, and all marks where it is the live one. @throws ReadModelUnavailable */
export async function resetGeneration(sql: Statements, write: Write, number: number): Promise<void> {
  const isLive = await write(() => {
    sql.dropCheckpoint.run(number)
    return number === liveGeneration(sql)
  })
  await removeDocuments(sql, write, number)
  if (isLive) {
    await inRanges(
      write,
      (after) => sql.rangeOfMarks.get(after, RANGE),
      (after, last) => sql.dropMarks.run(after, last),
    )
  }
  // The checkpoint once more: what another worker has filled in meanwhile may lack documents, so it has to begin again.
  await write(() => forgetRest(sql, number))
}

function forgetRest(sql: Statements, number: number): void {
  for (const statement of [sql.dropCheckpoint, sql.dropParked, sql.dropPlaces]) statement.run(number)
}

function removeDocuments(sql: Statements, write: Write, number: number, check = () => {}): Promise<void> {
  return inRanges(
    write,
    (after) => sql.rangeOfDocuments.get(number, after, RANGE),
    (after, last) => {
      check()
      sql.dropDocuments.run(number, after, last)
    },
  )
}

/**
 * Removes rows in the order of their ids, a range in each transaction.
 * @param rangeAfter a row with the last id of the range that begins after an id; null in it for none
 * @param remove removes the rows after the one id, up to and with the other
 */
async function inRanges(
  write: Write,
  rangeAfter: (after: number) => unknown,
  remove: (after: number, last: number) => void,
): Promise<void> {
  for (let after = Number.MIN_SAFE_INTEGER; ; ) {
    const began = performance.now()
    const last = await write(() => {
      const range = rangeAfter(after) as { readonly last: number | null }
      if (range.last !== null) remove(after, range.last)
      return range.last
    })
    if (last === null) return
    after = last
    await delay(Math.max(LEAST_PAUSE_MS, performance.now() - began))
  }
}
