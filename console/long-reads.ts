/** How many long reads of the log run at once: what a person leaves open must not slow the service, or keep others out. */
import type { ServerResponse } from 'node:http'
import { Refused } from './errors.ts'

const MOST = 12
const MOST_OF_PERSON = 4

export interface LongReads {
  /** Counts a read until its answer is sent, or its reader has gone away. @throws Refused 429 for one too many */
  begin(person: string, answer: ServerResponse): void
}

export function createLongReads(): LongReads {
  const running = new Map<string, number>()
  let all = 0
  const add = (person: string, change: 1 | -1) => {
    const left = (running.get(person) ?? 0) + change
    if (left > 0) running.set(person, left)
    else running.delete(person)
    all += change
  }
  return {
    begin(person, answer) {
      if ((running.get(person) ?? 0) >= MOST_OF_PERSON) {
        throw new Refused(
          429,
          `You have ${MOST_OF_PERSON} long reads of the log under way, such as searches. Stop one, or wait for it.`,
        )
      }
      if (all >= MOST) throw new Refused(429, 'Others search the log at this moment. Try again in a moment.')
      if (answer.destroyed) return // It would never be counted out.
      add(person, 1)
      answer.once('close', () => add(person, -1))
    },
  }
}
