/**
 * The connection to the event store: calls to the current node (current-node.ts), each within a deadline and retried if
 * that is safe.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type BackOff, waitAfter } from '../../../runtime/back-off.ts'
import { startLimit } from '../../../runtime/time-limits.ts'
import { EventStoreUnavailable } from '../../port.ts'
import { failureOf } from '../errors.ts'
import { createCurrentNode } from './current-node.ts'
import { createDiscovery } from './discovery.ts'
import type { Node } from './node.ts'
import { parseKurrentDbUrl } from './url.ts'

/** The deadline of a call, so that callers can answer SERVICE_UNAVAILABLE within 5 s. */
const DEADLINE_MS = 4_000
/** After this time without an answer, the node is checked. */
const SILENCE_MS = 1_000
/** The wait between two attempts of a call; jitter shortens it by up to half. */
const RETRY: BackOff = { firstMs: 50, mostMs: 500 }
/** How long into an outage of a single node calls still wait for it: no other node can replace it. */
const SINGLE_NODE_OUTAGE_MS = 500

export interface Connection {
  /** The time limit of a call in milliseconds, for all of its attempts together. */
  readonly deadline: number
  /** Whether only the leader may serve it; otherwise a node may forward it. */
  readonly requiresLeader: boolean
  /** Whether a later call may go to a node that does not know everything yet that an earlier one has read. */
  readonly mayLag: boolean
  /** The deadline of a call that begins now, by performance.now(). */
  until(): number
  /** The current node, connected. @throws EventStoreUnavailable if none is found in time; then nothing was sent */
  node(until: number): Promise<Node>
  /**
   * Makes a call, and retries it with back-off within its deadline if the node did not accept it. A `repeatable` call
   * is also retried if its outcome is unknown.
   * @throws what the call throws; EventStoreUnavailable at the deadline
   */
  call<T>(work: (node: Node, until: number) => Promise<T>, repeatable: boolean): Promise<T>
  /** Waits for a node's answer. @throws EventStoreUnavailable if there is none by then; the node is checked */
  answered<T>(node: Node, work: Promise<T>, until: number): Promise<T>
  /** What `call` does after a failure, for other kinds of calls: resolves with true once the call may be retried. */
  mayRetry(node: Node, error: unknown, attempt: number, until: number, repeatable: boolean): Promise<boolean>
  /** Handles what a call's failure says about the node. */
  failed(node: Node, error: unknown): void
  /** Calls the listener each time the connection to a node is lost. @returns a function that removes it */
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
    mayLag: url.isCluster || url.nodePreference !== 'leader',
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
          end = startLimit(left - SILENCE_MS, giveUp)
        }
        let end = left > SILENCE_MS ? startLimit(SILENCE_MS, grow) : startLimit(left, giveUp)
        work
          .then((answer) => {
            // What resolves with nothing has ended here: a read that was cancelled, a group that was left.
            if (answer !== null && answer !== false) current.hasAnswered(node)
            resolve(answer)
          }, reject)
          .finally(() => end())
      })
    },

    async mayRetry(node, error, attempt, until, repeatable) {
      connection.failed(node, error)
      const failure = failureOf(error)
      if (failure.kind === 'answered') return false
      const isUnknown = failure.kind === 'broken' || (failure.kind === 'leader' && failure.isOfSeveral)
      if (isUnknown && !repeatable) return false
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
