/**
 * Limits the answers that a client leaves unread. Some small documents have answers of megabytes (a long alias, once for
 * each item of a list). Those of a client that sends requests and reads nothing would fill the memory.
 */
import { type Abortable, type Cancellation, Cancelled } from '../cancellation.ts'

/** Answers of fewer characters are not counted: a client's connections are limited, too. */
const LARGE = 64 * 1024
/** To make an answer takes about 6 ms for a megabyte. So long, at least, the others have the event loop before the next one. */
const PAUSE_MS_PER_CHARACTER = 8 / (1024 * 1024)

export interface UnreadAnswers {
  /**
   * Waits until the client has taken enough of its earlier answers; undefined: no wait. Call it when an answer can be
   * made, and make it at once.
   * @throws Cancelled
   */
  readonly room: (client: string, cancellation: Cancellation) => Promise<void> | undefined
  /**
   * Counts an answer, as soon as it is made.
   * @returns to be called once the client has taken it, or is gone; undefined for a small answer
   */
  readonly count: (client: string, characters: number) => (() => void) | undefined
}

interface Client {
  characters: number
  /** Of the last answer. */
  last: number
  isWaking: boolean
  readonly waiting: (Abortable & { readonly go: () => void })[]
}

/** @param perClient a client with so many unread characters gets no further answer */
export function createUnreadAnswers(perClient: number): UnreadAnswers {
  const clients = new Map<string, Client>()

  function clientOf(key: string): Client {
    let client = clients.get(key)
    if (!client) {
      client = { characters: 0, last: 0, isWaking: false, waiting: [] }
      clients.set(key, client)
    }
    return client
  }

  /** One answer at a time, with the requests of others in between. */
  function wake(key: string, client: Client): void {
    client.isWaking = false
    client.last = 0
    if (client.characters < perClient) client.waiting.shift()?.go()
    settle(key, client)
  }

  function settle(key: string, client: Client): void {
    const isWoken = client.waiting.length > 0 && client.characters < perClient
    if (isWoken && !client.isWaking) {
      client.isWaking = true
      setTimeout(wake, client.last * PAUSE_MS_PER_CHARACTER, key, client)
    } else if (client.characters === 0 && client.waiting.length === 0 && !client.isWaking) clients.delete(key)
  }

  return {
    room(key, cancellation) {
      const client = clients.get(key)
      if (client === undefined || (client.characters < perClient && client.waiting.length === 0)) return undefined
      return new Promise((resolve, reject) => {
        const waiting = {
          abort() {
            client.waiting.splice(client.waiting.indexOf(waiting), 1)
            settle(key, client)
            reject(new Cancelled())
          },
          go() {
            cancellation.off(waiting)
            resolve()
          },
        }
        client.waiting.push(waiting)
        cancellation.onCancel(waiting)
      })
    },

    count(key, characters) {
      if (characters <= LARGE) return undefined
      const client = clientOf(key)
      client.characters += characters
      client.last = characters
      let isTaken = false
      return () => {
        if (isTaken) return
        isTaken = true
        client.characters -= characters
        settle(key, client)
      }
    },
  }
}
