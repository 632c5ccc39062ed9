/** Events that can't be applied: which customers are stuck at one, and which events are parked in the read model. */
import type { RecordedEvent } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../customer.ts'
import type { ParkedEvent, ReadModel } from '../read-model.ts'

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
  /** The customer is stuck no more. */
  release(id: number): void
  /** Whether it is known which events are parked. */
  isKnown(): boolean
  /** Reads which events are parked. @throws ReadModelUnavailable */
  load(): Promise<unknown>
  /** Whether the document has got past its customer's parked event. */
  isPassed(document: CustomerDocument): boolean
  /** @throws ReadModelUnavailable */
  unpark(id: number): Promise<void>
  /**
   * Call it each time a customer's stream was read and lacks an event that was delivered. True once that has gone on for so
   * long that the customer is to be parked.
   * @param revision the first one that is missing
   */
  hasWaited(id: number, revision: number): boolean
  /** Whether this revision is parked because it is missing from its stream. @throws ReadModelUnavailable */
  isParkedAsMissing(id: number, revision: number): Promise<boolean>
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
  /**
   * Since when a customer's stream has been too short, and when that was seen last (performance.now); the newest revision
   * that was missing.
   */
  const waiting = new Map<number, { readonly since: number; readonly last: number; readonly revision: number }>()
  /** The parked events by customer, as read last. */
  let parked: Map<number, ParkedEvent> | undefined

  async function load(): Promise<Map<number, ParkedEvent>> {
    parked = new Map((await readModel.parked()).map((event) => [event.customerId, event]))
    return parked
  }

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

    release: (id) => void stuck.delete(id),

    isKnown: () => parked !== undefined,

    load,

    isPassed: ({ id, revision }) => revision >= (parked?.get(id)?.revision ?? Number.POSITIVE_INFINITY),

    async unpark(id) {
      await readModel.unpark(id)
      parked?.delete(id)
    },

    hasWaited(id, revision) {
      const now = performance.now()
      // Who was not seen waiting for as long has got past it.
      for (const [other, { last }] of waiting) if (now - last > patienceMs) waiting.delete(other)
      const before = waiting.get(id)
      // An older one may be missing from another node, which is further behind. A newer one is waited for anew.
      const isSame = before !== undefined && revision <= before.revision
      const since = isSame ? before.since : now
      waiting.set(id, { since, last: now, revision: isSame ? before.revision : revision })
      return now - since >= patienceMs
    },

    async isParkedAsMissing(id, revision) {
      const event = (parked ?? (await load())).get(id)
      return event?.revision === revision && event.type === ''
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
