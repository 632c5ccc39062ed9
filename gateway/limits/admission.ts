/**
 * Admission control, so that no client starves the others. New documents are parsed and planned one at a time, with the
 * event loop in between. The concurrency of costly operations is limited, for each client and in total. Waiting
 * requests join their client's queue, and the queues are served round-robin.
 */
import { type Abortable, type Cancellation, Cancelled } from '../cancellation.ts'
import { requestError } from '../errors.ts'

export interface AdmissionOptions {
  /**
   * The total cost of operations that run concurrently for one client. A single operation may always run, whatever it
   * costs.
   */
  readonly costPerClient: number
  /** The same for all clients together. */
  readonly costInAll: number
  /** An operation that costs no more than this never waits. */
  readonly cheap: number
  /** Requests that may wait, for each client and in total. More are refused. */
  readonly waitingPerClient: number
  readonly waitingInAll: number
  /** How long a request may wait, in milliseconds. Then it is refused. */
  readonly maxWaitMs: number
}

export const DEFAULT_ADMISSION = {
  cheap: 100,
  waitingPerClient: 256,
  waitingInAll: 4_096,
  maxWaitMs: 30_000,
} as const

export interface Admission {
  /** Waits for the turn to parse and plan a new document; undefined: no wait. @throws RequestError OVERLOADED */
  readonly turn: (client: string, cancellation: Cancellation) => Promise<void> | undefined
  /**
   * Waits until an operation may be executed; undefined: no wait.
   * @throws RequestError OVERLOADED; Cancelled
   */
  readonly enter: (client: string, cost: number, cancellation: Cancellation) => Promise<void> | undefined
  /** Whether one waits for all clients together, and not for its own client alone. */
  readonly isFull: () => boolean
  /** An operation waits for its own client alone: what it costs is free for other clients. */
  readonly yieldToOthers: (cost: number) => void
  /** Must be called once an admitted operation has ended. @param hasYielded whether `yieldToOthers` was called for it */
  readonly leave: (client: string, cost: number, hasYielded?: boolean) => void
}

/** `all wait`: until there is room for this one. Otherwise cheaper ones would starve a costly one. */
type Decision = 'goes' | 'client waits' | 'all wait'

type Waiting = Abortable & { readonly cost: number; readonly go: () => void }

/** One queue for each client, served round-robin. */
class FairQueue {
  readonly #queues = new Map<string, Waiting[]>()
  readonly #options: AdmissionOptions
  #size = 0

  constructor(options: AdmissionOptions) {
    this.#options = options
  }

  get isEmpty(): boolean {
    return this.#size === 0
  }

  has(client: string): boolean {
    return this.#queues.has(client)
  }

  wait(client: string, cost: number, cancellation: Cancellation): Promise<void> {
    const { waitingPerClient, waitingInAll, maxWaitMs } = this.#options
    const queue = this.#queues.get(client) ?? []
    if (queue.length >= waitingPerClient || this.#size >= waitingInAll) throw overloaded()
    return new Promise((resolve, reject) => {
      const leave = (error: Error) => {
        settle()
        this.#remove(client, waiting)
        reject(error)
      }
      const timer = setTimeout(() => leave(overloaded()), maxWaitMs)
      const settle = () => {
        clearTimeout(timer)
        cancellation.off(waiting)
      }
      const waiting: Waiting = {
        cost,
        abort: () => leave(new Cancelled()),
        go: () => {
          settle()
          resolve()
        },
      }
      queue.push(waiting)
      this.#queues.set(client, queue)
      this.#size++
      cancellation.onCancel(waiting)
    })
  }

  #remove(client: string, waiting: Waiting): void {
    const queue = this.#queues.get(client)
    const index = queue?.indexOf(waiting) ?? -1
    if (!queue || index < 0) return
    queue.splice(index, 1)
    this.#size--
    if (queue.length === 0) this.#queues.delete(client)
  }

  /** Removes the first request that may run, and moves its client's queue behind the others. */
  next(decide: (client: string, cost: number) => Decision): { client: string; waiting: Waiting } | undefined {
    for (const [client, queue] of this.#queues) {
      const [waiting] = queue
      if (!waiting) continue
      const decision = decide(client, waiting.cost)
      if (decision === 'all wait') return undefined
      if (decision === 'client waits') continue
      this.#queues.delete(client)
      queue.shift()
      this.#size--
      if (queue.length > 0) this.#queues.set(client, queue)
      return { client, waiting }
    }
    return undefined
  }
}

export function createAdmission(options: AdmissionOptions): Admission {
  const { costPerClient, costInAll, cheap } = options
  const documents = new FairQueue(options)
  const operations = new FairQueue(options)
  const costs = new Map<string, number>()
  let cost = 0
  let isTurnTaken = false

  function nextTurn(): void {
    const next = documents.next(() => 'goes')
    isTurnTaken = next !== undefined
    if (!next) return
    next.waiting.go()
    setImmediate(nextTurn)
  }

  let isFull = false
  // Whoever had waited for room may have left: then nobody does, and the next one is looked at anew.
  const isAwaited = () => isFull && !operations.isEmpty

  const decide = (client: string, more: number): Decision => {
    const own = costs.get(client) ?? 0
    if (own > 0 && own + more > costPerClient) return 'client waits'
    isFull = cost > 0 && cost + more > costInAll
    return isFull ? 'all wait' : 'goes'
  }

  function reserve(client: string, more: number): void {
    costs.set(client, (costs.get(client) ?? 0) + more)
    cost += more
  }

  function admit(): void {
    isFull = false
    for (let next = operations.next(decide); next; next = operations.next(decide)) {
      reserve(next.client, next.waiting.cost)
      next.waiting.go()
    }
  }

  function free(less: number): void {
    if (less > cheap) cost = Math.max(0, cost - less)
    if (!operations.isEmpty) admit()
  }

  return {
    turn(client, cancellation) {
      if (isTurnTaken) return documents.wait(client, 0, cancellation)
      isTurnTaken = true
      setImmediate(nextTurn)
      return undefined
    },

    enter(client, more, cancellation) {
      if (more <= cheap) return undefined
      if (isAwaited() || operations.has(client) || decide(client, more) !== 'goes') {
        return operations.wait(client, more, cancellation)
      }
      reserve(client, more)
      return undefined
    },

    isFull: isAwaited,

    yieldToOthers: free,

    leave(client, less, hasYielded = false) {
      if (less <= cheap) return
      const left = (costs.get(client) ?? 0) - less
      if (left > 0) costs.set(client, left)
      else costs.delete(client)
      free(hasYielded ? 0 : less)
    },
  }
}

const overloaded = () => requestError('Too many requests wait for their turn. Try again later.', 'OVERLOADED')
