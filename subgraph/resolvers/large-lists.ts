/**
 * Large lists of an answer: a few kilobytes of a document can ask for megabytes, by aliases. Such lists are written one in a
 * turn of the event loop, so that other requests are answered in between, and a request has a limit of them.
 */
import { refusal, serviceUnavailable } from '../errors.ts'
import type { RequestContext } from '../http/request-context.ts'

/** A shorter list is written in about a millisecond. */
const FEW = 50
/** Of all large lists of a request. The gateway takes no larger answer, unless it is configured so. */
const MOST_CHARACTERS = 8 * 1024 * 1024
/** What a field's name and punctuation take. */
const FIELD_CHARACTERS = 20

/**
 * Waits for a turn to write a list.
 * @returns the list; a promise if it has to wait
 * @throws CustomerError ANSWER_TOO_LARGE; a service may ask for as much as it wants
 */
export type ShowList = <Item extends object>(
  items: readonly Item[],
  context: Pick<RequestContext, 'service' | 'isGone' | 'listed'>,
) => readonly Item[] | Promise<readonly Item[]>

/** For all requests of a subgraph. */
export function createShowList(): ShowList {
  const waiting: (() => void)[] = []
  let isTaken = false

  function next(): void {
    const go = waiting.shift()
    isTaken = go !== undefined
    if (!go) return
    setImmediate(next)
    go()
  }

  return (items, context) => {
    if (items.length <= FEW) return items
    if (context.service === null) {
      // Beyond the limit lists are not counted any more: a thousand of them would take seconds.
      const listed = context.listed ?? 0
      context.listed = listed > MOST_CHARACTERS ? listed : listed + charactersOf(items)
      if (context.listed > MOST_CHARACTERS) throw refusal('ANSWER_TOO_LARGE', { most: MOST_CHARACTERS })
    }
    if (!isTaken) {
      isTaken = true
      setImmediate(next)
      return items
    }
    return new Promise<void>((go) => waiting.push(go)).then(() => {
      if (context.isGone()) throw serviceUnavailable()
      return items
    })
  }
}

/** With all fields, whichever are asked for. */
function charactersOf(items: readonly object[]): number {
  let characters = 0
  for (const item of items) {
    for (const value of Object.values(item)) {
      characters += FIELD_CHARACTERS
      if (typeof value === 'string') characters += value.length
      else if (Array.isArray(value)) for (const each of value) characters += typeof each === 'string' ? each.length : 0
    }
  }
  return characters
}
