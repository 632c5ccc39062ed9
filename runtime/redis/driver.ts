/** The drivers for a server, a Sentinel group and a Cluster: what differs between node-redis' three clients. */
import { RedisClient, RedisCluster, RedisSentinel, RootNodesUnavailableError } from 'redis'
import { type BackOff, waitAfter } from '../back-off.ts'
import { slotOf, tagOfEachSlot } from './slots.ts'
import type { RedisAddress } from './url.ts'

const CONNECT_TIMEOUT_MS = 2_000
const PING_MS = 2_000
/** A connection without traffic for this long, although it is pinged, is dead. */
const SILENCE_MS = 5_000
/** The wait between two attempts to connect. */
export const BACK_OFF: BackOff = { firstMs: 50, mostMs: 1_000 }

/** A text, or bytes that are sent as they are. */
export type RedisArgument = string | Buffer

/** One server. */
interface Server {
  sendCommand(command: string[]): Promise<unknown>
}

/** What differs between a server, a Sentinel group and a Cluster. */
export interface Driver {
  /** Sends one command to the server of its key. */
  send(key: string, command: RedisArgument[]): Promise<unknown>
  connect(): Promise<void>
  isReady(): boolean
  /**
   * Why the connection to one server of several failed; undefined if it did not, or is well again.
   * @param server undefined: whichever failed last
   */
  failureOf?(server: string | undefined): Error | undefined
  /** Subscribes to connection errors; every call also fails with its own error. */
  onError(listener: (error: unknown) => void): void
  /** The server of the keys with the tag; undefined if it is unknown, or not a single server. */
  serverOf(tag: string | undefined): string | undefined
  /** A hash tag for each server. */
  tagOfEachServer(): readonly string[]
  servers(): Promise<readonly Server[]>
  destroy(): void
}

/** The hash tag of keys that represent a whole server. */
export const ALL = 'all'

/**
 * Makes the driver for an address; it connects later. It uses node-redis' classes directly: `createClient` and its like first
 * make a class with a method for every command of Redis and its modules, which costs a start 60 ms of CPU.
 */
export function createDriver(address: RedisAddress): Driver {
  const { kind, tls, nodes, username, password, database, masterName } = address
  const credentials = { ...(username !== undefined && { username }), ...(password !== undefined && { password }) }
  const socket = {
    ...(tls && { tls: true as const }),
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SILENCE_MS,
    reconnectStrategy: (retries: number) => waitAfter(BACK_OFF, retries + 1),
  }
  const node = {
    ...credentials,
    disableOfflineQueue: true,
    pingInterval: PING_MS,
    maintNotifications: 'disabled' as const,
  }
  // node-redis creates an AbortSignal for each command's timeout and drops it once the command is sent. Our own timeout
  // also covers the answer.
  const commandOptions = { timeout: 0 }

  if (kind === 'cluster') {
    const cluster = new RedisCluster({
      rootNodes: nodes.map((each) => ({ socket: { ...socket, ...each } as typeof socket })),
      defaults: { ...node, socket },
      commandOptions,
      minimizeConnections: true, // otherwise an unavailable node blocks all others
      topologyRefreshOnReconnectionAttemptStrategy: 1_000,
    })
    /** Why nodes can't be reached, by address. The others go on. */
    const failures = new Map<string, Error>()
    const addressOf = ({ host, port }: { host: string; port: number }) => `${host}:${port}`
    cluster.on('node-error', (error: Error, node) => void failures.set(addressOf(node), error))
    cluster.on('node-ready', (node) => void failures.delete(addressOf(node)))
    cluster.on('node-disconnect', (node) => void failures.delete(addressOf(node)))
    return {
      send: (key, command) => cluster.sendCommand(key, false, command, commandOptions),
      async connect() {
        let failure: unknown
        const note = (error: unknown) => {
          failure = error
        }
        cluster.on('error', note)
        try {
          await cluster.connect()
        } catch (error) {
          // It says that none of the nodes could be used, and not why the last one could not.
          throw error instanceof RootNodesUnavailableError ? (failure ?? error) : error
        } finally {
          cluster.off('error', note)
        }
      },
      failureOf: (server) => (server === undefined ? [...failures.values()].at(-1) : failures.get(server)),
      isReady: () => cluster.isReady,
      onError: (listener) => void cluster.on('error', listener),
      serverOf: (tag) => (tag === undefined ? undefined : cluster.slots[slotOf(tag)]?.master.address),
      tagOfEachServer: () => {
        const tags = new Map<string, string>()
        for (const [slot, shard] of cluster.slots.entries()) {
          const address = shard?.master.address
          if (address !== undefined && !tags.has(address)) tags.set(address, tagOfEachSlot()[slot] as string)
        }
        return [...tags.values()]
      },
      servers: () => Promise.all(cluster.masters.map((master) => cluster.nodeClient(master))),
      destroy: () => cluster.destroy(),
    }
  }
  if (kind === 'sentinel') {
    const sentinel = new RedisSentinel({
      name: masterName,
      sentinelRootNodes: nodes.map((each) => ({ ...each })),
      nodeClientOptions: { ...node, socket, database },
      sentinelClientOptions: { ...credentials, socket },
      commandOptions,
      reserveClient: true, // one connection that all calls share
      scanInterval: 1_000,
    })
    return {
      send: (_, command) => sentinel.sendCommand(false, command, commandOptions),
      connect: async () => void (await sentinel.connect()),
      isReady: () => sentinel.isReady,
      onError: (listener) => void sentinel.on('error', listener),
      serverOf: () => masterName,
      tagOfEachServer: () => [ALL],
      servers: async () => [{ sendCommand: (command) => sentinel.sendCommand(false, command, commandOptions) }],
      destroy: () => void sentinel.destroy(),
    }
  }
  const client = new RedisClient({ ...node, socket: { ...socket, ...nodes[0] }, database, commandOptions })
  return {
    send: (_, command) => client.sendCommand(command, commandOptions),
    connect: async () => void (await client.connect()),
    isReady: () => client.isReady,
    onError: (listener) => void client.on('error', listener),
    serverOf: () => 'server',
    tagOfEachServer: () => [ALL],
    servers: async () => [client],
    destroy: () => client.destroy(),
  }
}
