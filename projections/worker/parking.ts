/** Events that can't be applied: which customers are stuck at one, and which events are parked in the read model. */
import type { RecordedEvent } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../customer.ts'
import type { ReadModel } from '../read-model.ts'

/**
 * An event that can't be applied, or is missing from its stream: its customer's document stays at the revision before
 * it.
 */
export interface Failure {
  readonly stream: string
  /** The revision that would have been the document's next. */
  readonly revision: number
  readonly error: unknown
}

export interface Parking {
  /** The revision at which a stuck customer stops. Events before it are still applied, whenever they arrive. */
  stuckAt(id: number): number | undefined
  /**
   * Parks the document's next event. Its customer is stuck from then on.
   * @param event the one that was to be reached
   * @param type of the event that can't be applied; '' if it is missing from its stream
   * @throws ReadModelUnavailable
   */
  park(document: CustomerDocument, event: Pick<RecordedEvent, 'stream'>, type: string, error: unknown): Promise<void>
  /** Whether it is known which events are parked. */
  isKnown(): boolean
  /** Reads which events are parked. @throws ReadModelUnavailable */
  load(): Promise<void>
  /** Whether the document has got past its customer's parked event. */
  isPassed(document: CustomerDocument): boolean
  /** @throws ReadModelUnavailable */
  unpark(id: number): Promise<void>
  /**
   * Call it each time a customer's stream was read and lacks an event that was delivered. True once that has gone on for so
   * long that the customer is to be parked.
   */
  hasWaited(id: number): boolean
  /** Another process may have parked events, so they have to be read again. */
  forget(): void
  /** The read model may be another one, or empty: who gets stuck in it is parked again. */
  clear(): void
}

/** For how long a stream may lack an event that was delivered, because the node that is read from is behind. */
const PATIENCE_MS = 60_000

/**
 * @param onFailure called once for each customer that gets stuck
 * @param patienceMs how long an event that was delivered may be missing from its stream. Default {@link PATIENCE_MS}
 */
export function createParking(
  readModel: ReadModel,
  onFailure: (failure: Failure) => void,
  patienceMs = PATIENCE_MS,
): Parking {
  const stuck = new Map<number, number>()
  /** Since when a customer's stream has been too short, and when that was seen last (performance.now). */
  const waiting = new Map<number, { readonly since: number; readonly last: number }>()
  /** The revisions of the parked events by customer, as read last. */
  let parked: Map<number, number> | undefined
  return {
    stuckAt: (id) => stuck.get(id),

    async park(document, { stream }, type, error) {
      const { id } = document
      const revision = document.revision + 1
      // Makes queries see that the document is behind, even if the subgraph's own mark was lost.
      await readModel.acknowledge(id, revision)
      const { message } = error as Error // never the event's data: see codec.ts and customer.ts
      const at = new Date().toISOString()
      await readModel.park({ customerId: id, stream, revision, type, reason: message, at })
      stuck.set(id, revision)
      parked = undefined
      onFailure({ stream, revision, error })
    },

    isKnown: () => parked !== undefined,

    async load() {
      parked = new Map((await readModel.parked()).map(({ customerId, revision }) => [customerId, revision]))
    },

    isPassed: ({ id, revision }) => revision >= (parked?.get(id) ?? Number.POSITIVE_INFINITY),

    async unpark(id) {
      await readModel.unpark(id)
      parked?.delete(id)
    },

    hasWaited(id) {
      const now = performance.now()
      // Who was not seen waiting for as long has got past it, and waits for another one now.
      for (const [other, { last }] of waiting) if (now - last > patienceMs) waiting.delete(other)
      const since = waiting.get(id)?.since ?? now
      waiting.set(id, { since, last: now })
      return now - since >= patienceMs
    },

    forget() {
      parked = undefined
    },

    clear() {
      parked = undefined
      stuck.clear()
    },
  }
}
