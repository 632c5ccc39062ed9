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
  /** The calls in flight of each subgraph, by what they send. */
  const flights: Map<string, Flight>[] = []
  /** A call that began before a write was answered may not show that write, so no later call may share it. */
  const separate = () => {
    for (const each of flights) each.clear()
  }

  return {
    share(client, onShared) {
      const own = new Map<string, Flight>()
      flights.push(own)
      return (request) => {
        if (request.mutation) return client(request).finally(separate)
        const key = keyOf(request.headers, request.body, ignored)
        if (key === undefined) return client(request)
        const before = own.get(key)
        if (before) {
          onShared()
          return before.join(request.cancellation)
        }
        const flight: Flight = new Flight(
          (cancellation) => client({ ...request, cancellation }),
          () => {
            if (own.get(key) === flight) own.delete(key)
          },
        )
        own.set(key, flight)
        return flight.join(request.cancellation)
      }
    },
  }
}

/** The key under which a call is shared. @returns undefined for a call that can't be shared */
function keyOf(headers: readonly string[], body: string, ignored: ReadonlySet<string>): string | undefined {
  let key = body
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string
    if (IDENTITY.has(name)) return undefined
    if (!ignored.has(name)) key += `\n${name}:${headers[at + 1]}`
  }
  return key
}

/** A call that several clients wait for. */
class Flight implements Abortable {
  readonly #call = new Cancellation()
  readonly #clients: (Cancellation | undefined)[] = []
  readonly #answer: Promise<RawAnswer>
  readonly #onEnd: () => void
  #waiting = 0

  /** @param onEnd called once no other client can join */
  constructor(call: (cancellation: Cancellation) => Promise<RawAnswer>, onEnd: () => void) {
    this.#onEnd = onEnd
    this.#answer = call(this.#call)
    const settle = () => {
      onEnd()
      for (const client of this.#clients) client?.off(this)
    }
    this.#answer.then(settle, settle)
  }

  /**
   * @param client cancelled when the client disconnects
   * @returns the answer; it may also resolve after the client has disconnected
   */
  join(client: Cancellation | undefined): Promise<RawAnswer> {
    this.#waiting++
    this.#clients.push(client)
    client?.onCancel(this)
    return this.#answer
  }

  /** Called when one of the clients disconnects. */
  abort(): void {
    if (--this.#waiting > 0) return
    this.#onEnd()
    this.#call.cancel()
  }
}
