/**
 * Changes of customers, for subscriptions: one subscription to the log serves all customers that somebody follows here,
 * and exists as long as somebody does.
 */
import type { EventStore, Subscription } from '../../eventstore/port.ts'
import { absentCustomer, type CustomerDocument } from '../../projections/customer.ts'
import { CUSTOMER_STREAMS, customerOf } from '../../projections/fold.ts'
import { refusal, serviceUnavailable } from '../errors.ts'
import type { Customers } from './customers.ts'

/**
 * The customer after each change. Changes that come faster than they are taken are one. It fails when the log is
 * replaced or can't be read, and when the service is stopped.
 */
interface FollowedCustomer extends AsyncGenerator<CustomerDocument, undefined, undefined> {
  /** The customer before the first change. */
  readonly present: CustomerDocument
}

export interface CustomerChanges {
  /**
   * Follows a customer.
   * @returns once no later change can be missed
   * @throws CustomerError (TOO_MANY_SUBSCRIPTIONS, SERVICE_UNAVAILABLE once they are closed); EventStoreUnavailable
   */
  follow(id: number): Promise<FollowedCustomer>
  /** Ends all with SERVICE_UNAVAILABLE, and refuses later ones: a stream that just completes would tell clients that no change is to come. */
  close(): Promise<void>
}

/** How many may be followed at once, in all and of one customer: each device of a customer follows for itself. */
const MOST_IN_ALL = 10_000
const MOST_OF_CUSTOMER = 100

/** One subscription to the log. */
interface Feed {
  readonly subscription: Subscription
  /** Resolves once it delivers every later event. */
  readonly begun: Promise<void>
}

export function createCustomerChanges(
  eventStore: EventStore,
  customers: Pick<Customers, 'load'>,
  log: { warn(details: object, message: string): void },
): CustomerChanges {
  const followers = new Map<number, Set<Follower>>()
  let count = 0
  let feed: Feed | undefined
  let isClosed = false

  const all = () => [...followers.values()].flatMap((same) => [...same])

  function begin(): Feed {
    const subscription = eventStore.subscribeToAll({ from: 'end', filter: { streamPrefixes: [CUSTOMER_STREAMS] } })
    const { promise: begun, resolve, reject } = Promise.withResolvers<void>()
    const next: Feed = { subscription, begun }
    const end = (error: unknown) => {
      reject(serviceUnavailable())
      if (feed !== next) return
      feed = undefined
      if (error)
        log.warn({ reason: (error as Error).message }, 'The subscriptions to customers have ended with the log')
      for (const each of all()) each.fail()
    }
    begun.catch(() => {})
    run(subscription, resolve).then(() => end(undefined), end)
    return next
  }

  async function run(subscription: Subscription, begun: () => void): Promise<void> {
    for await (const { events } of subscription) {
      begun()
      for (const { stream } of events) {
        for (const follower of followers.get(customerOf(stream) ?? 0) ?? []) follower.changed()
      }
    }
  }

  function leave(follower: Follower): void {
    const same = followers.get(follower.id)
    if (!same?.delete(follower)) return
    if (same.size === 0) followers.delete(follower.id)
    count--
    if (count > 0 || feed === undefined) return
    const { subscription } = feed
    feed = undefined
    void subscription.unsubscribe()
  }

  return {
    async follow(id) {
      // A request that had begun by then: nobody would end it, and the service could not be stopped.
      if (isClosed) throw serviceUnavailable()
      const same = followers.get(id) ?? new Set()
      if (count >= MOST_IN_ALL || same.size >= MOST_OF_CUSTOMER) throw refusal('TOO_MANY_SUBSCRIPTIONS')
      const follower = new Follower(id, () => customers.load(id), leave)
      followers.set(id, same.add(follower))
      count++
      feed ??= begin()
      try {
        await feed.begun
        await follower.start()
        return follower
      } catch (error) {
        await follower.return()
        throw error
      }
    },

    async close() {
      isClosed = true
      for (const each of all()) each.fail()
    },
  }
}

/** Unlike the language's own generators it ends at once when it is told to. */
class Follower implements FollowedCustomer {
  readonly id: number
  present: CustomerDocument
  readonly #load: () => Promise<CustomerDocument>
  readonly #leave: (follower: Follower) => void
  #revision = -1
  #isChanged = false
  #isFailed = false
  #isOver = false
  #wake: (() => void) | undefined

  constructor(id: number, load: () => Promise<CustomerDocument>, leave: (follower: Follower) => void) {
    this.id = id
    this.present = absentCustomer(id)
    this.#load = load
    this.#leave = leave
  }

  /** Later changes are those after the customer's present state. */
  async start(): Promise<void> {
    this.present = await this.#load()
    this.#revision = this.present.revision
  }

  changed(): void {
    this.#isChanged = true
    this.#wake?.()
  }

  fail(): void {
    this.#isFailed = true
    this.#wake?.()
    this.#leave(this)
  }

  async next(): Promise<IteratorResult<CustomerDocument, undefined>> {
    while (!this.#isOver) {
      if (this.#isFailed) {
        await this.return()
        throw serviceUnavailable()
      }
      if (this.#isChanged) {
        this.#isChanged = false
        const document = await this.#load()
        if (this.#isOver || document.revision <= this.#revision) continue
        this.#revision = document.revision
        return { done: false, value: document }
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return { done: true, value: undefined }
  }

  async return(): Promise<{ done: true; value: undefined }> {
    this.#isOver = true
    this.#wake?.()
    this.#leave(this)
    return { done: true, value: undefined }
  }

  async throw(error: unknown): Promise<never> {
    await this.return()
    throw error
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }
}
