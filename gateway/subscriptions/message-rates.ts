/**
 * How fast the messages of a client are read, of all its WebSockets together. A limit for each connection would not do: a
 * client may have a hundred, and what has arrived of one may hold two thousand small messages.
 */
import { boundedCache } from '../../runtime/bounded-cache.ts'

/** In a second, and at once. Each message counts one, and one for each kilobyte: to parse it may take a third of a millisecond. */
const PER_SECOND = 1_000
const CHARACTERS = 1024
/** Of a message: larger ones count as requests, too. */
const MOST_UNITS = 100
/** To read a ping or a pong takes about a microsecond, and 64 KB may hold ten thousand. The answer to a ping counts as a message. */
const FRAMES_PER_UNIT = 64
/** Of a message, which counts one, however many there are. With more the connection is closed. Browsers send 64 KB and more in each. */
export const MAX_FRAGMENTS = 128
/** How often messages that wait are looked at, in milliseconds. */
const TICK_MS = 25
const CLIENTS = 10_000

/** The messages of one connection, in their order. */
export interface MessageQueue {
  /** Reads a message, at once or later. */
  add(text: string): void
  /**
   * Counts a ping or a pong. `answer` is called at once or later, or never if that of a later ping still will be: of
   * pings that wait only the newest needs a pong (RFC 6455, 5.5.3).
   */
  addControl(answer?: () => void): void
  /** Whether something waits: meanwhile nothing more should be taken from the connection. */
  isWaiting(): boolean
  /** Forgets what waits. */
  close(): void
}

interface Client {
  left: number
  at: number
}

/** @returns a function that makes the queue of a connection; `onEmpty` is called when nothing waits any more */
export function createMessageRates(): (
  client: string,
  read: (text: string) => void,
  onEmpty: () => void,
) => MessageQueue {
  const clients = boundedCache<string, Client>(CLIENTS)
  /** Of connections with messages that wait. */
  const reading = new Set<() => void>()
  let timer: NodeJS.Timeout | undefined

  function clientOf(key: string): Client {
    const now = performance.now()
    let client = clients.get(key)
    if (!client) {
      client = { left: PER_SECOND, at: now }
      clients.set(key, client)
    }
    client.left = Math.min(PER_SECOND, client.left + ((now - client.at) * PER_SECOND) / 1_000)
    client.at = now
    return client
  }

  /** What is spent beyond the limit is owed: one large message may always be read. */
  function take(key: string, units: number): boolean {
    const client = clientOf(key)
    if (client.left < 1) return false
    client.left -= units
    return true
  }

  function tick(): void {
    timer = undefined
    for (const next of [...reading]) next()
    schedule()
  }

  function schedule(): void {
    if (reading.size > 0 && timer === undefined) timer = setTimeout(tick, TICK_MS)
  }

  return (client, read, onEmpty) => {
    const waiting: string[] = []
    let answerControl: (() => void) | undefined
    const isWaiting = () => waiting.length > 0 || answerControl !== undefined

    /** Those of a client's connections take turns: the next time another one is the first. */
    function readOn(): void {
      reading.delete(readOn)
      for (let text = waiting[0]; text !== undefined && take(client, unitsOf(text)); text = waiting[0]) {
        waiting.shift()
        read(text)
      }
      const answer = answerControl
      if (answer && take(client, unitsOfAnswer(answer))) {
        answerControl = undefined
        answer()
      }
      if (isWaiting()) reading.add(readOn)
      else onEmpty()
    }

    return {
      add(text) {
        if (waiting.length === 0 && take(client, unitsOf(text))) return read(text)
        waiting.push(text)
        reading.add(readOn)
        schedule()
      },
      addControl(answer = nothing) {
        // Owed if there is nothing left: it is read already.
        clientOf(client).left -= 1 / FRAMES_PER_UNIT
        if (answerControl === undefined && take(client, unitsOfAnswer(answer))) return answer()
        if (answerControl === undefined || answer !== nothing) answerControl = answer
        reading.add(readOn)
        schedule()
      },
      isWaiting,
      close() {
        waiting.length = 0
        answerControl = undefined
        reading.delete(readOn)
      },
    }
  }
}

function nothing(): void {}

const unitsOfAnswer = (answer: () => void): number => (answer === nothing ? 0 : 1)

const unitsOf = (text: string): number => Math.min(MOST_UNITS, 1 + Math.floor(text.length / CHARACTERS))
