/**
 * The connection to the event store: one node at a time, replaced whole. Its states:
 *
 *     idle --first call--> searching --found--> connected --lost--> searching …       each --close--> closed
 *
 * Lost is a node whose transport breaks, that says that it is not ready or that another one leads, or that leaves a check
 * unanswered. It is checked every so often, and at once when a call has waited for a while: what a hung node or one that
 * was left alone by its cluster does not tell. Calls wait for a node within their deadline, and the search goes on without
 * them: the service recovers whether or not it is called.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type BackOff, waitAfter } from '../../runtime/back-off.ts'
import { EventStoreUnavailable } from '../port.ts'
import { createDiscovery } from './discovery.ts'
import { detailsOf, failureOf } from './errors.ts'
import type { Node } from './node.ts'
import { type Endpoint, parseKurrentDbUrl } from './url.ts'

/** A call that was not answered by then has failed: its sender says SERVICE_UNAVAILABLE within 5 s. */
const DEADLINE_MS = 4_000
/** After so long without an answer the node is checked. */
const SILENCE_MS = 1_000
const CHECK_EVERY_MS = 2_000
/** As the nodes have for one another: a machine that is busy is not lost. */
const CHECK_MS = 2_500
/** A check that took so much longer than it may says that this process itself stood still. */
const STALL_MS = 500
/** Between two tries of a call; jitter takes up to half of it. */
const RETRY: BackOff = { firstMs: 50, mostMs: 500 }
/** How long an outage of a single node lasts before calls no longer wait for it: no other will take its place. */
const SINGLE_NODE_PATIENCE_MS = 500
/** A node that is lost so soon after it was found is not looked for again at once. */
const FLAPPING_MS = 1_000
const FLAPPING_PAUSE_MS = 200

export interface Connection {
  /** Milliseconds that a call may take, all of its tries together. */
  readonly deadline: number
  /** Whether nobody but the leader will do; else a node may pass on what it is sent. */
  readonly requiresLeader: boolean
  /** When a call that begins now has to end, by performance.now(). */
  until(): number
  /** The node of the moment, connected. @throws EventStoreUnavailable where none is found in time; nothing was sent then */
  node(until: number): Promise<Node>
  /**
   * Makes a call, and again with back-off within its deadline: where the node did not take it, and where it is
   * `repeatable` after a failure of which nobody knows what was done, too.
   * @throws what the call throws; EventStoreUnavailable at the deadline
   */
  call<T>(work: (node: Node, until: number) => Promise<T>, repeatable: boolean): Promise<T>
  /** Waits for a node's answer. @throws EventStoreUnavailable where there is none by then; the node is checked */
  answered<T>(node: Node, work: Promise<T>, until: number): Promise<T>
  /** What `call` does after a failure, for who makes calls of another kind: true once it may be tried again. */
  mayRetry(node: Node, error: unknown, attempt: number, until: number, repeatable: boolean): Promise<boolean>
  /** Draws from a call's failure what it says of the node. */
  failed(node: Node, error: unknown): void
  /** Has the listener called each time that the connection to a node is lost. @returns takes it away */
  onDisconnect(listener: () => void): () => void
  close(): Promise<void>
}

interface Waiting {
  readonly since: number
  resolve(node: Node): void
  reject(error: EventStoreUnavailable): void
}

/** @throws TypeError for a connection string that can't be used */
export function connectKurrentDb(connectionString: string): Connection {
  const url = parseKurrentDbUrl(connectionString)
  const discovery = createDiscovery(url)
  const deadline = Math.min(url.defaultDeadline ?? DEADLINE_MS, DEADLINE_MS)
  const patience = url.isCluster ? deadline : Math.min(deadline, SINGLE_NODE_PATIENCE_MS)
  const closing = new AbortController()
  const waiting = new Set<Waiting>()
  const listeners = new Set<() => void>()
  let current: Node | undefined
  let foundAt = Number.NEGATIVE_INFINITY
  let isSearching = false
  /** Of a node that has left a call waiting: calls wait for the result. */
  let suspicion: Promise<void> | undefined
  let checks: NodeJS.Timeout | undefined

  function search(leader?: Endpoint): void {
    if (isSearching || closing.signal.aborted) return
    isSearching = true
    const began = performance.now()
    const onFailure = (error: unknown, since: number) => {
      if (performance.now() - began < patience) return
      const cause = error instanceof EventStoreUnavailable ? error : unavailable(detailsOf(error))
      // Whoever came while this was tried waits for the next try: nobody is refused on old news.
      for (const waiter of waiting) if (waiter.since <= since) waiter.reject(cause)
    }
    const flaps = leader === undefined && began - foundAt < FLAPPING_MS
    const pause = flaps ? delay(FLAPPING_PAUSE_MS, undefined, { ref: false }) : undefined
    Promise.resolve(pause)
      .then(() => discovery.search({ leader, signal: closing.signal, onFailure }))
      .then(adopt)
      .catch(() => {}) // closed
  }

  function adopt(node: Node): void {
    isSearching = false
    foundAt = performance.now()
    if (closing.signal.aborted || !node.isConnected()) {
      void node.close()
      search()
      return
    }
    current = node
    node.onDisconnect(() => queueMicrotask(() => lose(node)))
    checks = setInterval(() => void check(node), CHECK_EVERY_MS).unref()
    for (const { resolve } of waiting) resolve(node)
  }

  /** What is open on it ends; those who wait for it try again. */
  function lose(node: Node, leader?: Endpoint): void {
    if (node !== current) return
    current = undefined
    suspicion = undefined
    clearInterval(checks)
    for (const listener of listeners) listener()
    void node.close()
    search(leader)
  }

  async function check(node: Node): Promise<void> {
    while (node === current) {
      const began = performance.now()
      try {
        return await discovery.check(node, CHECK_MS)
      } catch {
        if (performance.now() - began < CHECK_MS + STALL_MS) return lose(node)
      }
    }
  }

  function suspect(node: Node): void {
    if (node !== current || suspicion) return
    const checked = check(node).finally(() => {
      if (suspicion === checked) suspicion = undefined
    })
    suspicion = checked
  }

  function found(until: number): Promise<Node> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer)
        waiting.delete(waiter)
      }
      const waiter: Waiting = {
        since: performance.now(),
        resolve(node) {
          settle()
          resolve(node)
        },
        reject(error) {
          settle()
          reject(error)
        },
      }
      const timer = setTimeout(waiter.reject, until - performance.now(), unavailable('no node was found in time'))
      waiting.add(waiter)
      search()
    })
  }

  const connection: Connection = {
    deadline,
    requiresLeader: url.nodePreference === 'leader',
    until: () => performance.now() + deadline,

    async node(until) {
      if (suspicion) await suspicion
      if (closing.signal.aborted) throw new EventStoreUnavailable('The event store is closed.')
      if (current?.isConnected()) return current
      if (current) lose(current)
      return found(until)
    },

    async call(work, repeatable) {
      const until = connection.until()
      for (let attempt = 1; ; attempt++) {
        const node = await connection.node(until)
        try {
          return await connection.answered(node, work(node, until), until)
        } catch (error) {
          if (!(await connection.mayRetry(node, error, attempt, until, repeatable))) throw error
        }
      }
    },

    answered(node, work, until) {
      return new Promise((resolve, reject) => {
        const left = until - performance.now()
        const giveUp = () => {
          suspect(node)
          reject(new EventStoreUnavailable(`The event store has not answered for ${Math.round(left)} ms.`))
        }
        const grow = () => {
          suspect(node)
          timer = setTimeout(giveUp, left - SILENCE_MS)
        }
        let timer = left > SILENCE_MS ? setTimeout(grow, SILENCE_MS) : setTimeout(giveUp, left)
        work.then(resolve, reject).finally(() => clearTimeout(timer))
      })
    },

    async mayRetry(node, error, attempt, until, repeatable) {
      connection.failed(node, error)
      const { kind } = failureOf(error)
      if (kind === 'answered' || (kind === 'broken' && !repeatable)) return false
      const wait = waitAfter(RETRY, attempt)
      if (performance.now() + wait >= until) return false
      await delay(wait)
      return true
    },

    failed(node, error) {
      const failure = failureOf(error)
      if (failure.kind === 'leader') lose(node, failure.leader)
      else if (failure.kind === 'notReady' || !node.isConnected()) lose(node)
    },

    onDisconnect(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },

    async close() {
      if (closing.signal.aborted) return
      closing.abort()
      clearInterval(checks)
      for (const { reject } of waiting) reject(new EventStoreUnavailable('The event store is closed.'))
      const last = current
      current = undefined
      await last?.close()
    },
  }
  return connection
}

const unavailable = (reason: string) => new EventStoreUnavailable(`The event store does not answer: ${reason}.`)
