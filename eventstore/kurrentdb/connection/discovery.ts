/**
 * Searches for a node to use until there is one. All known nodes are asked concurrently, so a hanging one blocks
 * nothing, and a node is used only if it says itself that it meets the requirements.
 */
import { lookup } from 'node:dns/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { EventStoreUnavailable } from '../../port.ts'
import { addressOf, createNode, type Member, type Node } from './node.ts'
import type { Endpoint, KurrentDbUrl, NodePreference } from './url.ts'

const INTERVAL_MS = 100
const LONGEST_INTERVAL_MS = 500
/**
 * The time limit for a node's answer. It is doubled for the next attempt, because on an overloaded machine all nodes
 * may be slow. A single node gets the longest limit at once, because there is no other to try.
 */
const ANSWER_MS = { first: 1_500, most: 4_000 }

/** The states in which a node serves reads, in the order of preference. */
const SERVING = ['LEADER', 'FOLLOWER', 'READONLYREPLICA', 'PREREADONLYREPLICA', 'READONLYLEADERLESS']
const PREFERRED: Readonly<Record<NodePreference, readonly string[]>> = {
  leader: ['LEADER'],
  follower: ['FOLLOWER'],
  random: [],
  readonlyreplica: ['READONLYREPLICA', 'PREREADONLYREPLICA', 'READONLYLEADERLESS'],
}

interface SearchOptions {
  /** The leader's endpoint according to a node; it is tried first. */
  readonly leader?: Endpoint | undefined
  readonly signal: AbortSignal
  /** Called for each failed attempt with its error, the address that was asked, and its start by performance.now(). */
  onFailure(error: unknown, address: string, since: number): void
}

export interface Discovery {
  /** The addresses that are asked first. */
  readonly seeds: readonly string[]
  /** Resolves with a connected node, and rejects only if it is aborted. */
  search(options: SearchOptions): Promise<Node>
  /**
   * Asks a node whether it still meets the requirements.
   * @param limit milliseconds
   * @throws the gRPC error; EventStoreUnavailable if it is not
   */
  check(node: Node, limit: number): Promise<void>
}

export function createDiscovery(url: KurrentDbUrl): Discovery {
  const requiresLeader = url.nodePreference === 'leader'
  const preferred = PREFERRED[url.nodePreference]
  const looksFor = requiresLeader ? 'leader at the moment' : 'node that serves reads at the moment'
  /** The members of the cluster as last seen. They are asked too, so the seeds may be gone. */
  let known: readonly Endpoint[] = []

  /** The usable members, the best first. */
  function candidatesAmong(members: readonly Member[]): readonly Endpoint[] {
    const alive = members.filter(({ isAlive }) => isAlive)
    if (alive.length > 0) known = alive.map(({ endpoint }) => endpoint)
    const serving = alive.filter(({ state }) => isServing(state))
    const rank = ({ state }: Member) => (preferred.includes(state) ? 0 : 1)
    return shuffled(serving)
      .sort((a, b) => rank(a) - rank(b))
      .map(({ endpoint }) => endpoint)
  }
  const isServing = (state: string) => (requiresLeader ? state === 'LEADER' : SERVING.includes(state))

  async function check(node: Node, limit: number): Promise<void> {
    if (!url.isCluster) return node.features(limit)
    const members = await node.members(limit)
    candidatesAmong(members)
    const itself = members.find(({ endpoint }) => addressOf(endpoint) === addressOf(node.endpoint))
    if (itself && !isServing(itself.state)) {
      throw new EventStoreUnavailable(`its node ${addressOf(node.endpoint)} is ${itself.state}`)
    }
  }

  async function connected(endpoint: Endpoint, limit: number): Promise<Node> {
    const node = createNode(url, endpoint, requiresLeader)
    try {
      await check(node, limit)
      if (url.isCluster) await node.features(limit)
      return node
    } catch (error) {
      void node.close()
      throw error
    }
  }

  async function membersFrom(seed: Endpoint, limit: number): Promise<readonly Member[]> {
    const addresses = await lookup(seed.host, { all: true })
    const ask = async ({ address }: { readonly address: string }) => {
      const node = createNode(
        url,
        { host: address, port: seed.port },
        false,
        address === seed.host ? undefined : seed.host,
      )
      try {
        return await node.members(limit)
      } finally {
        void node.close()
      }
    }
    return Promise.any(addresses.map(ask))
  }

  /** The nodes that a seed names, the best first; the seed itself without a cluster. @throws the gRPC error */
  const candidatesFrom = async (seed: Endpoint, limit: number): Promise<readonly Endpoint[]> =>
    url.isCluster ? candidatesAmong(await membersFrom(seed, limit)) : [seed]

  return {
    seeds: url.seeds.map(addressOf),
    check,
    search: (options) => startSearch({ url, looksFor, known: () => known, candidatesFrom, connected }, options),
  }
}

/** The context of a search. */
interface Searching {
  readonly url: KurrentDbUrl
  /** The required kind of node, for messages. */
  readonly looksFor: string
  /** The members of the cluster as they were seen last. */
  known(): readonly Endpoint[]
  /** The nodes that a seed names, the best first. @throws the gRPC error */
  candidatesFrom(seed: Endpoint, limit: number): Promise<readonly Endpoint[]>
  /** Connects to a node. @throws the gRPC error; EventStoreUnavailable if it is not what is looked for */
  connected(endpoint: Endpoint, limit: number): Promise<Node>
}

function startSearch(
  { url, looksFor, known, candidatesFrom, connected }: Searching,
  { leader, signal, onFailure }: SearchOptions,
): Promise<Node> {
  const limitOf = (tries: number) =>
    url.gossipTimeout ?? (url.isCluster ? Math.min(ANSWER_MS.first * 2 ** tries, ANSWER_MS.most) : ANSWER_MS.most)
  const interval = url.discoveryInterval ?? INTERVAL_MS

  return new Promise((resolve, reject) => {
    const ending = new AbortController()
    const asked = new Set<string>()
    const trying = new Set<string>()
    const abort = () => {
      ending.abort()
      reject(signal.reason)
    }
    signal.addEventListener('abort', abort, { signal: ending.signal })

    async function use(endpoint: Endpoint, limit: number): Promise<void> {
      const address = addressOf(endpoint)
      if (trying.has(address)) return
      trying.add(address)
      try {
        const node = await connected(endpoint, limit)
        if (ending.signal.aborted) return void node.close()
        ending.abort()
        resolve(node)
      } finally {
        trying.delete(address)
      }
    }

    async function ask(seed: Endpoint): Promise<void> {
      if (asked.has(addressOf(seed))) return
      asked.add(addressOf(seed))
      for (let tries = 0; !ending.signal.aborted; tries++) {
        const limit = limitOf(tries)
        const since = performance.now()
        try {
          const candidates = await candidatesFrom(seed, limit)
          for (const endpoint of known()) void ask(endpoint)
          if (candidates.length === 0) throw new EventStoreUnavailable(`it has no ${looksFor}`)
          for (const candidate of candidates) {
            if (!ending.signal.aborted)
              await use(candidate, limit).catch((error: unknown) => fail(error, candidate, since))
          }
        } catch (error) {
          fail(error, seed, since)
        }
        const wait = Math.min(interval * 2 ** tries, LONGEST_INTERVAL_MS)
        await delay(wait, undefined, { signal: ending.signal, ref: false }).catch(() => {})
      }
    }

    const fail = (error: unknown, endpoint: Endpoint, since: number) => {
      if (ending.signal.aborted) return
      onFailure(error instanceof AggregateError ? error.errors[0] : error, addressOf(endpoint), since)
    }
    // After the leader, the seeds are asked in any case.
    const first = leader ? use(leader, ANSWER_MS.first).catch(() => {}) : Promise.resolve()
    void first.then(() => {
      for (const seed of [...url.seeds, ...known()]) void ask(seed)
    })
  })
}

function shuffled<T>(values: readonly T[]): T[] {
  return values
    .map((value) => ({ value, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ value }) => value)
}
