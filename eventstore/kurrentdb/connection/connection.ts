/**
 * The connection to the event store: calls to the node of the moment (current-node.ts), each within a deadline and again
 * where that does no harm.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type BackOff, waitAfter } from '../../../runtime/back-off.ts'
import { EventStoreUnavailable } from '../../port.ts'
import { failureOf } from '../errors.ts'
import { createCurrentNode } from './current-node.ts'
import { createDiscovery } from './discovery.ts'
import type { Node } from './node.ts'
import { parseKurrentDbUrl } from './url.ts'

/** A call that was not answered by then has failed: its sender says SERVICE_UNAVAILABLE within 5 s. */
const DEADLINE_MS = 4_000
/** After so long without an answer the node is checked. */
const SILENCE_MS = 1_000
/** Between two tries of a call; jitter takes up to half of it. */
const RETRY: BackOff = { firstMs: 50, mostMs: 500 }
/** How long an outage of a single node lasts before calls no longer wait for it: no other will take its place. */
const SINGLE_NODE_OUTAGE_MS = 500

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
  /** What `call` does after a failure, for calls of another kind: true once it may be tried again. */
  mayRetry(node: Node, error: unknown, attempt: number, until: number, repeatable: boolean): Promise<boolean>
  /** Draws from a call's failure what it means for the node. */
  failed(node: Node, error: unknown): void
  /** Has the listener called each time that the connection to a node is lost. @returns takes it away */
  onDisconnect(listener: () => void): () => void
  close(): Promise<void>
}

/** @throws TypeError for a connection string that can't be used */
export function connectKurrentDb(connectionString: string): Connection {
  const url = parseKurrentDbUrl(connectionString)
  const deadline = Math.min(url.defaultDeadline ?? DEADLINE_MS, DEADLINE_MS)
  const maxOutageMs = url.isCluster ? deadline : Math.min(deadline, SINGLE_NODE_OUTAGE_MS)
  const current = createCurrentNode(createDiscovery(url), maxOutageMs)

  const connection: Connection = {
    deadline,
    requiresLeader: url.nodePreference === 'leader',
    until: () => performance.now() + deadline,
    node: current.get,

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
          current.suspect(node)
          reject(new EventStoreUnavailable(`The event store has not answered for ${Math.round(left)} ms.`))
        }
        const grow = () => {
          current.suspect(node)
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
      if (failure.kind === 'leader') current.lose(node, failure.leader)
      else if (failure.kind === 'notReady' || !node.isConnected()) current.lose(node)
    },

    onDisconnect: current.onDisconnect,
    close: current.close,
  }
  return connection
}
