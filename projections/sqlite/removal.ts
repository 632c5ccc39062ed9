/**
 * Removes whole generations. A million documents in one transaction would block all other writes for seconds. So they
 * are removed in ranges, with a pause after each in which others get the lock. The checkpoint is removed first, and the
 * place of the newest event last, so that a partly removed generation never counts as complete.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Access } from './access.ts'
import { liveGeneration } from './rows.ts'
import type { Statements } from './schema.ts'

/** The rows in a range: a few milliseconds of work. */
export const RANGE = 500
/** The shortest pause after a range. A process that waits for the lock tries again within 30 ms. */
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
    dropRest(sql, number)
    sql.dropGeneration.run(number)
  })
}

/** Removes the contents of the generation, and all marks if it is the live one. @throws ReadModelUnavailable */
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
  // Removes the checkpoint again: another worker may have set one meanwhile, although documents are missing.
  await write(() => dropRest(sql, number))
}

function dropRest(sql: Statements, number: number): void {
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
 * Removes rows in the order of their ids, one range in each transaction.
 * @param rangeAfter returns a row with the last id of the range that starts after an id; null if there is none
 * @param remove removes the rows after the first id, up to and including the second
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
