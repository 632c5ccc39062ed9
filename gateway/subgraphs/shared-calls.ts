/**
 * Shares subgraph calls: identical queries of guests that are in flight at the same time become one call. Each client gets
 * its own copy of the answer. The call is cancelled once all of its clients have disconnected.
 */
import { type Abortable, Cancellation } from '../cancellation.ts'
import type { RawAnswer, SubgraphClient } from './client.ts'

/**
 * Which calls count as identical. `same`: everything that is sent is equal, except the ids of the request. `guests`: the
 * client's address and user agent may differ as well. `off`: no calls are shared.
 */
export const SHARING = ['same', 'guests', 'off'] as const
export type Sharing = (typeof SHARING)[number]

/** Headers that identify a request and do not influence its answer. */
const IDS = ['x-correlation-id', 'traceparent']
const ABOUT_CLIENT = ['x-forwarded-for', 'user-agent']
/** Headers that guests do not send. */
const IDENTITY: ReadonlySet<string> = new Set(['authorization', 'cookie'])

export interface SharedCalls {
  /** @param onShared called for each call that was answered by another one */
  share(client: SubgraphClient, onShared: () => void): SubgraphClient
}

export function createSharedCalls(sharing: Sharing): SharedCalls {
  if (sharing === 'off') return { share: (client) => client }
  const ignored: ReadonlySet<string> = new Set(sharing === 'guests' ? [...IDS, ...ABOUT_CLIENT] : IDS)
  /** How many writes were answered. A call that began before one may not show it, so no later call may share it. */
  let writes = 0
  const countWrite = () => {
    writes++
  }

  return {
    share(client, onShared) {
      /** By what is sent. */
      const flights = new Map<string, Flight>()
      return (request) => {
        if (request.mutation) return client(request).finally(countWrite)
        const key = keyOf(request, ignored)
        if (key === undefined) return client(request)
        const before = flights.get(key)
        if (before?.writes === writes) {
          onShared()
          return before.join(request.cancellation)
        }
        const flight: Flight = new Flight(
          writes,
          (cancellation) => client({ ...request, cancellation }),
          () => {
            if (flights.get(key) === flight) flights.delete(key)
          },
        )
        flights.set(key, flight)
        return flight.join(request.cancellation)
      }
    },
  }
}

/** The key under which a call is shared. @returns undefined for a call that can't be shared */
function keyOf(
  { headers, body, sharedBy }: Parameters<SubgraphClient>[0],
  ignored: ReadonlySet<string>,
): string | undefined {
  let key = sharedBy === undefined ? body : `${body}\n${sharedBy}`
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string
    if (IDENTITY.has(name)) return undefined
    if (!ignored.has(name)) key += `\n${name}:${headers[at + 1]}`
  }
  return key
}

/** A call that several clients wait for. */
class Flight implements Abortable {
  /** How many writes had been answered when it began. */
  readonly writes: number
  readonly #call = new Cancellation()
  /** Those who can go away. One of them may wait several times: a batch has the same query twice. */
  readonly #clients = new Set<Cancellation>()
  readonly #answer: Promise<RawAnswer>
  readonly #onEnd: () => void
  #waiting = 0

  /** @param onEnd called once no other client can join */
  constructor(writes: number, call: (cancellation: Cancellation) => Promise<RawAnswer>, onEnd: () => void) {
    this.writes = writes
    this.#onEnd = onEnd
    this.#answer = call(this.#call)
    const settle = () => {
      onEnd()
      for (const client of this.#clients) client.off(this)
    }
    this.#answer.then(settle, settle)
  }

  /**
   * @param client cancelled when the client disconnects
   * @returns the answer; it may also resolve after the client has disconnected
   */
  join(client: Cancellation | undefined): Promise<RawAnswer> {
    if (client && this.#clients.has(client)) return this.#answer
    this.#waiting++
    if (client) {
      this.#clients.add(client)
      client.onCancel(this)
    }
    return this.#answer
  }

  /** Called when one of the clients disconnects. */
  abort(): void {
    if (--this.#waiting > 0) return
    this.#onEnd()
    this.#call.cancel()
  }
}
