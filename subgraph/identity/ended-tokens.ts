/**
 * The tokens of services that were ended before they expired. Their ids are kept in memory. They are read on from the
 * last event when a service's token is used and the last look at the log is older than the caller accepts: at most a few
 * reads of one small stream each second, and none for requests of customers and guests.
 */
import { type EventStore, EventStoreUnavailable } from '../../eventstore/port.ts'
import { orNone } from '../../eventstore/read.ts'
import { within } from '../../runtime/time-limits.ts'
import { STREAM_NAMES } from '../../schema/streams.ts'

export interface EndedTokens {
  /**
   * Whether a token was ended.
   * @param maxAge how old the knowledge may be, in milliseconds
   * @returns at once, if it is known
   * @throws EventStoreUnavailable (as a rejection) if the log could not be asked for {@link GRACE_MS}
   */
  has(tokenId: string | undefined, maxAge: number): boolean | Promise<boolean>
}

/** While the log can't be read, what was known last counts for so long: nobody can end a token there meanwhile. */
const GRACE_MS = 60_000
/** How long a request waits for the log. */
const MAX_WAIT_MS = 1_000

/** @param now milliseconds of a steady clock */
export function createEndedTokens(eventStore: EventStore, now: () => number = () => performance.now()): EndedTokens {
  const ended = new Set<string>()
  let next = 0
  let asked = Number.NEGATIVE_INFINITY
  let reading: Promise<void> | undefined
  // The server may come back with another log. What was ended stays so.
  eventStore.onDisconnect?.(() => {
    next = 0
  })

  async function read(): Promise<void> {
    const begun = now()
    const from = next
    let revision = from - 1
    for await (const event of orNone(eventStore.readStream(STREAM_NAMES.serviceTokens, { from }))) {
      const { jti } = (event.data ?? {}) as { readonly jti?: unknown }
      if (event.type === 'ServiceTokenEnded' && typeof jti === 'string') ended.add(jti)
      revision = event.revision
    }
    // Not if the connection was lost meanwhile.
    if (next === from) next = revision + 1
    asked = begun
  }

  function refresh(): Promise<void> {
    reading ??= read().finally(() => {
      reading = undefined
    })
    return reading
  }

  async function lookUp(tokenId: string): Promise<boolean> {
    try {
      await within(MAX_WAIT_MS, refresh())
    } catch (error) {
      if (now() - asked > GRACE_MS) {
        throw error instanceof EventStoreUnavailable ? error : new EventStoreUnavailable((error as Error).message)
      }
    }
    return ended.has(tokenId)
  }

  return {
    has(tokenId, maxAge) {
      if (tokenId === undefined) return false
      if (ended.has(tokenId)) return true
      return now() - asked <= maxAge ? false : lookUp(tokenId)
    },
  }
}
