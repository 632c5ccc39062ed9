/**
 * What services and operators did with a customer's account: Magento's `admin_assistance_actions`, which its
 * storefronts show to the customer. It comes from the log: events in the customer's stream that a service or an
 * operator caused, operators' decisions about it, and disclosures of the customer's personal data. Reasons and the
 * names of operators are never shown.
 *
 * Pages ask for it on every visit, so the places of those events are cached, and each stream is read on from there.
 */

import { metadataOf } from '../../audit/criteria.ts'
import { REVEALS_STREAM } from '../../audit/reveals.ts'
import { streamsOf } from '../../audit/timeline.ts'
import { comparePositions, type EventStore, type Position, type RecordedEvent } from '../../eventstore/port.ts'
import { orNone } from '../../eventstore/read.ts'
import { boundedCache } from '../../runtime/bounded-cache.ts'
import { refusal } from '../errors.ts'

export interface Page {
  readonly currentPage?: number | null
  readonly pageSize?: number | null
}

/** AdminAssistanceActions of the schema. */
interface AssistanceActions {
  readonly items: readonly { readonly action: string; readonly date: string; readonly details: string }[]
  readonly page_info: { readonly current_page: number; readonly page_size: number; readonly total_pages: number }
  readonly total_count: number
}

/**
 * A page of what was done with the customer's account, the newest first. @throws CustomerError (graphql-input);
 * EventStoreUnavailable
 */
export type Assistance = (customerId: number, page: Page) => Promise<AssistanceActions>

/** Where an event stands. */
interface Place {
  readonly stream: string
  readonly revision: number
  readonly position: Position
}

/** The places of the relevant events of one stream, as far as it has been read. */
interface Index {
  next: number
  readonly places: Place[]
}

/** Magento's default. */
const PAGE_SIZE = 20
const MOST = 100
const CACHED_CUSTOMERS = 10_000

const isStaffs = (event: RecordedEvent): boolean => /^(service|operator):/.test(metadataOf(event).actor ?? '')

export function createAssistance(eventStore: EventStore): Assistance {
  const ofCustomers = boundedCache<number, Promise<Index>>(CACHED_CUSTOMERS)
  let reveals = newReveals()
  // The next read may be from another log.
  eventStore.onDisconnect?.(() => {
    ofCustomers.clear()
    reveals = newReveals()
  })

  function newReveals() {
    return { index: { next: 0 }, byCustomer: new Map<number, Place[]>(), reading: Promise.resolve() }
  }

  /** Continues reading the stream. */
  async function readOn(stream: string, from: { next: number }, found: (event: RecordedEvent) => void): Promise<void> {
    for await (const event of orNone(eventStore.readStream(stream, { from: from.next }))) {
      found(event)
      from.next = event.revision + 1
    }
  }

  async function placesIn(customerId: number): Promise<readonly Place[]> {
    const reading = (ofCustomers.get(customerId) ?? Promise.resolve({ next: 0, places: [] })).then(async (index) => {
      await readOn(streamsOf(customerId).customer, index, (event) => {
        if (isStaffs(event)) index.places.push(placeOf(event))
      })
      return index
    })
    ofCustomers.set(customerId, reading)
    try {
      return (await reading).places
    } catch (error) {
      if (ofCustomers.peek(customerId) === reading) ofCustomers.delete(customerId)
      throw error
    }
  }

  async function skips(customerId: number): Promise<readonly Place[]> {
    const places: Place[] = []
    await readOn(streamsOf(customerId).skips, { next: 0 }, (event) => places.push(placeOf(event)))
    return places
  }

  /** One stream for all customers, read once and continued from there. */
  async function revealsOf(customerId: number): Promise<readonly Place[]> {
    const { index, byCustomer, reading } = reveals
    const read = () =>
      readOn(REVEALS_STREAM, index, (event) => {
        const { customerId: whose } = (event.data ?? {}) as { customerId?: unknown }
        if (typeof whose !== 'number') return // of more customers than one
        const places = byCustomer.get(whose)
        if (places) places.push(placeOf(event))
        else byCustomer.set(whose, [placeOf(event)])
      })
    reveals.reading = reading.then(read, read)
    await reveals.reading
    return byCustomer.get(customerId) ?? []
  }

  async function actionAt({ stream, revision }: Place) {
    for await (const event of eventStore.readStream(stream, { from: revision, maxCount: 1 })) return toAction(event)
    throw new Error('An event that was there is gone from its stream.')
  }

  return async (customerId, { currentPage, pageSize }) => {
    const size = pageSize ?? PAGE_SIZE
    const page = currentPage ?? 1
    if (size < 1) throw refusal('VALUE_NOT_POSITIVE', { name: 'pageSize' })
    if (page < 1) throw refusal('VALUE_NOT_POSITIVE', { name: 'currentPage' })
    if (size > MOST) throw refusal('PAGE_TOO_LARGE', { most: MOST })
    const sources = await Promise.all([placesIn(customerId), skips(customerId), revealsOf(customerId)])
    const places = sources.flat().sort((a, b) => comparePositions(b.position, a.position))
    return {
      items: await Promise.all(places.slice((page - 1) * size, page * size).map(actionAt)),
      page_info: { current_page: page, page_size: size, total_pages: Math.ceil(places.length / size) },
      total_count: places.length,
    }
  }
}

const placeOf = ({ stream, revision, position }: RecordedEvent): Place => ({ stream, revision, position })

function toAction(event: RecordedEvent) {
  const { actor = '', at = '' } = metadataOf(event)
  const who = actor.startsWith('service:') ? `Service ${actor.slice('service:'.length)}` : 'Staff'
  const { command } = (event.data ?? {}) as { command?: unknown }
  return {
    action: event.type.replace(/(?<!^)[A-Z]/g, '_$&').toLowerCase(),
    date: at.slice(0, 19).replace('T', ' '),
    details: event.stream === REVEALS_STREAM && typeof command === 'string' ? `${who}: ${command}` : who,
  }
}
