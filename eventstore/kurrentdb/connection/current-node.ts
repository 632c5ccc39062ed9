/**
 * The node that calls are sent to. There is one at a time, and it is replaced as a whole. The states:
 *
 *     idle --first call--> searching --found--> connected --lost--> searching …       each --close--> closed
 *
 * A node is lost if its transport breaks, if it says that it is not ready or that another one leads, or if it does not
 * answer a check. It is checked periodically, and at once when a call has waited for a while, which detects a node that
 * hangs or was cut off from its cluster. A node that answers other calls while the check waits is busy, not lost. Calls
 * wait for a node within their deadline. The search continues without them, so the service recovers even if it gets no
 * calls.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { EventStoreUnavailable } from '../../port.ts'
import { connectFailure, isTimeout } from '../errors.ts'
import type { Discovery } from './discovery.ts'
import type { Node } from './node.ts'
import type { Endpoint } from './url.ts'
import { createWaiters } from './waiters.ts'

const CHECK_EVERY_MS = 2_000
/** The same limit that nodes have for each other, so a busy machine does not count as lost. */
const CHECK_MS = 2_500
/** If a check takes this much longer than its limit, this process itself was paused. */
const STALL_MS = 500
/** If a node is lost this soon after it was found, the next search waits. */
const FLAPPING_MS = 1_000
const FLAPPING_PAUSE_MS = 200

/** How many nodes an error names. */
const NAMED_NODES = 3

type State =
  | { readonly kind: 'idle' }
  | { readonly kind: 'searching' }
  | {
      readonly kind: 'connected'
      readonly node: Node
      readonly checks: NodeJS.Timeout
      /** The check under way. */
      check: Promise<void> | undefined
      /** Of a node that did not answer a call: calls wait until the check has shown that it answers, or it is lost. */
      suspicion: PromiseWithResolvers<void> | undefined
      /** How many calls it has answered. */
      answers: number
    }
  | { readonly kind: 'closed' }

export interface CurrentNode {
  /** The current node, connected. @throws EventStoreUnavailable if none is found in time, or the store is closed */
  get(until: number): Promise<Node>
  /** Checks at once whether a node that did not answer a call still meets the requirements. */
  suspect(node: Node): void
  /** Notes that the node has just answered a call: it may be busy, but it does not hang. */
  hasAnswered(node: Node): void
  /**
   * Drops the node. Open calls on it end, and callers waiting for it retry.
   * @param leader the leader's endpoint, according to the node
   */
  lose(node: Node, leader?: Endpoint): void
  /** Calls the listener each time a node is lost. @returns a function that removes it */
  onDisconnect(listener: () => void): () => void
  close(): Promise<void>
}

/** @param maxOutageMs how long into an outage calls still wait for its end, in milliseconds */
export function createCurrentNode(discovery: Discovery, maxOutageMs: number): CurrentNode {
  const closing = new AbortController()
  const waiters = createWaiters()
  const listeners = new Set<() => void>()
  let state: State = { kind: 'idle' }
  let foundAt = Number.NEGATIVE_INFINITY
  /** By address, why the nodes that the current search has asked can't be used. */
  const failures = new Map<string, string>()

  function search(leader?: Endpoint): void {
    if (state.kind === 'searching' || state.kind === 'closed') return
    state = { kind: 'searching' }
    const began = performance.now()
    failures.clear()
    const onFailure = (error: unknown, address: string, since: number) => {
      failures.set(address, connectFailure(error, address))
      if (performance.now() - began < maxOutageMs) return
      // Calls that came during this attempt wait for the next one, so no call fails because of an earlier result.
      waiters.rejectSince(since, notFound())
    }
    const flaps = leader === undefined && began - foundAt < FLAPPING_MS
    const pause = flaps ? delay(FLAPPING_PAUSE_MS, undefined, { ref: false }) : undefined
    Promise.resolve(pause)
      .then(() => discovery.search({ leader, signal: closing.signal, onFailure }))
      .then(adopt)
      .catch(() => {}) // closed
  }

  function notFound(): EventStoreUnavailable {
    const { seeds } = discovery
    const reasons = failures.size > 0 ? [...failures.values()] : seeds.map((seed) => `no answer came from ${seed}`)
    return unavailable(reasons.slice(0, NAMED_NODES).join('; '))
  }

  function adopt(node: Node): void {
    foundAt = performance.now()
    if (state.kind === 'closed' || !node.isConnected()) {
      void node.close()
      if (state.kind === 'searching') state = { kind: 'idle' }
      search()
      return
    }
    const checks = setInterval(() => void check(node), CHECK_EVERY_MS).unref()
    state = { kind: 'connected', node, checks, check: undefined, suspicion: undefined, answers: 0 }
    node.onDisconnect(() => queueMicrotask(() => lose(node)))
    waiters.resolveAll(node)
  }

  function lose(node: Node, leader?: Endpoint): void {
    if (state.kind !== 'connected' || state.node !== node) return
    clearInterval(state.checks)
    state = { kind: 'idle' }
    for (const listener of listeners) listener()
    void node.close()
    search(leader)
  }

  /** Checks the node and drops it if it fails; one check at a time. */
  function check(node: Node): Promise<void> {
    if (state.kind !== 'connected' || state.node !== node) return Promise.resolve()
    const checked = state
    const endSuspicion = () => {
      checked.suspicion?.resolve()
      checked.suspicion = undefined
    }
    checked.check ??= isUsable(discovery, node, () => checked.answers, endSuspicion)
      .then((usable) => {
        if (!usable) lose(node)
      })
      .finally(() => {
        checked.check = undefined
        endSuspicion()
      })
    return checked.check
  }

  return {
    async get(until) {
      if (state.kind === 'connected' && state.suspicion) await state.suspicion.promise
      if (state.kind === 'closed') throw closed()
      if (state.kind === 'connected') {
        if (state.node.isConnected()) return state.node
        lose(state.node)
      }
      const found = waiters.wait(until, notFound)
      search()
      return found
    },

    suspect(node) {
      if (state.kind !== 'connected' || state.node !== node) return
      state.suspicion ??= Promise.withResolvers()
      void check(node)
    },

    hasAnswered(node) {
      if (state.kind === 'connected' && state.node === node) state.answers++
    },

    lose,

    onDisconnect(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },

    async close() {
      if (state.kind === 'closed') return
      const last = state
      state = { kind: 'closed' }
      closing.abort()
      waiters.rejectSince(Number.POSITIVE_INFINITY, closed())
      if (last.kind !== 'connected') return
      clearInterval(last.checks)
      await last.node.close()
    },
  }
}

/**
 * @param answers how many calls the node has answered by now
 * @param onBusy called when it has answered calls, but not the check, which is repeated
 */
async function isUsable(discovery: Discovery, node: Node, answers: () => number, onBusy: () => void): Promise<boolean> {
  for (;;) {
    const began = performance.now()
    const before = answers()
    try {
      await discovery.check(node, CHECK_MS)
      return true
    } catch (error) {
      const wasPaused = performance.now() - began >= CHECK_MS + STALL_MS
      const isBusy = isTimeout(error) && answers() > before
      if (!wasPaused && !isBusy) return false
      if (isBusy) onBusy()
    }
  }
}

const closed = () => new EventStoreUnavailable('The event store is closed.')
const unavailable = (reason: string) => new EventStoreUnavailable(`The event store does not answer: ${reason}.`)
