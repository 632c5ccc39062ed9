/**
 * A connection to Redis that answers or fails within a second: nothing is queued while it is away, a server that stays
 * silent is given up, and it connects again by itself, for as long as it is open.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { createClient, createCluster, createSentinel, ErrorReply } from 'redis'
import { type BackOff, waitAfter } from '../../runtime/back-off.ts'
import { ReadModelUnavailable } from '../read-model.ts'
import { type ScriptCommands, scriptCommands } from './scripts.ts'
import { slotOf, tagOfEachSlot } from './slots.ts'
import { parseRedisUrl, type RedisAddress } from './url.ts'

/** The commands that the read model uses. */
export interface RedisCommands extends ScriptCommands {
  get(key: string): Promise<string | null>
}

export interface RedisConnection {
  readonly kind: RedisAddress['kind']
  /** Where keys with the hash tag lie; undefined as long as it is not known. */
  serverOf(tag: string): string | undefined
  /** A hash tag of each server's, for commands that each of them is to run. @throws ReadModelUnavailable */
  tagOfEachServer(): Promise<readonly string[]>
  /**
   * Runs commands, which are sent at once.
   * @param tag the hash tag of the keys, where all have the same
   * @throws ReadModelUnavailable
   */
  call<T>(work: (commands: RedisCommands) => Promise<T>, tag?: string): Promise<T>
  /** The keys that match, some of one server at a time; a key may come twice. @throws ReadModelUnavailable */
  scan(pattern: string): AsyncGenerator<string[]>
  /** Has each server write its files on disk anew, without what was overwritten or removed. @throws ReadModelUnavailable */
  scrub(): Promise<void>
  /** Finishes the calls under way. Calling it again does nothing. */
  close(): Promise<void>
}

/** How long a call may take, waiting for the first connection included. */
const DEADLINE_MS = 900
const CONNECT_TIMEOUT_MS = 2_000
const PING_MS = 2_000
/** A connection on which nothing moves for so long, though it is pinged, is dead. */
const SILENCE_MS = 5_000
const BACK_OFF: BackOff = { firstMs: 50, mostMs: 1_000 }
const SCAN_COUNT = 1_000

/** @throws TypeError for a URL that can't be used */
export function connectRedis(url: string): RedisConnection {
  const address = parseRedisUrl(url)
  const driver = createDriver(address)
  const commands: RedisCommands = {
    get: (key) => driver.send(key, ['GET', key]) as Promise<string | null>,
    ...scriptCommands(driver.send),
  }
  let closing: Promise<void> | undefined
  /** Why there was no connection last. */
  let failure: unknown
  const underWay = new Set<Promise<unknown>>()
  /** The servers that did not answer a call in time, and have not answered it since. */
  const silent = new Set<string>()

  driver.onError((error) => {
    failure = error
  })
  const connected = connect()

  async function connect(): Promise<void> {
    for (let failures = 1; !closing; failures++) {
      try {
        return await driver.connect()
      } catch (error) {
        failure = error
        await delay(waitAfter(BACK_OFF, failures), undefined, { ref: false })
      }
    }
  }

  /** Throws at once where it is known that there is no connection; waits for the first one otherwise. */
  async function ready(): Promise<void> {
    if (driver.isReady()) return
    if (failure !== undefined) throw failure
    await connected
  }

  async function call<T>(work: (commands: RedisCommands) => Promise<T>, tag?: string): Promise<T> {
    if (closing) throw new ReadModelUnavailable('The read model is closed.')
    const server = driver.serverOf(tag)
    if (server !== undefined && silent.has(server)) throw unavailable('no answer')
    const answer = limited(work, server)
    underWay.add(answer)
    try {
      return await answer
    } catch (error) {
      throw unavailable(reason(error))
    } finally {
      underWay.delete(answer)
    }
  }

  function limited<T>(work: (commands: RedisCommands) => Promise<T>, server: string | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      let late = false
      const timer = setTimeout(() => {
        late = true
        if (server !== undefined) silent.add(server)
        reject((!driver.isReady() && failure) || new Error('no answer'))
      }, DEADLINE_MS)
      const start = async () => {
        await ready()
        if (late) throw new Error('too late')
        return work(commands)
      }
      start()
        .then(resolve, reject)
        .finally(() => {
          clearTimeout(timer)
          if (late && server !== undefined) silent.delete(server)
        })
    })
  }

  return {
    kind: address.kind,
    serverOf: driver.serverOf,
    tagOfEachServer: () => call(async () => driver.tagOfEachServer()),
    call,

    async *scan(pattern) {
      for (const server of await call(() => driver.servers())) {
        let cursor = '0'
        do {
          const page = await call(() => server.scan(cursor, { MATCH: pattern, COUNT: SCAN_COUNT }))
          cursor = page.cursor
          if (page.keys.length > 0) yield page.keys
        } while (cursor !== '0')
      }
    },

    async scrub() {
      for (const server of await call(() => driver.servers())) {
        await scrub((...command) => call(() => server.sendCommand(command).catch(unlessRefused)))
      }
    },

    close() {
      closing ??= (async () => {
        await Promise.resolve() // from here on `closing` is set
        await Promise.allSettled(underWay)
        driver.destroy()
      })()
      return closing
    },
  }
}

/** In the place of an answer: the server refuses the command. */
export const REFUSED = Symbol('refused')

export function unlessRefused(error: unknown): typeof REFUSED {
  if (error instanceof ErrorReply) return REFUSED
  throw error
}

/** How long a server may take to write its files anew. */
const SCRUB_LIMIT_MS = 60_000
const LOOK_AGAIN_MS = 50

/** @param send a command that a server refuses gives REFUSED: then it is left to whoever runs the server */
async function scrub(send: (...command: string[]) => Promise<unknown>): Promise<void> {
  const started = Date.now()
  const idle = async () => {
    for (;;) {
      const info = String(await send('INFO', 'persistence'))
      if (!/^(aof_rewrite_in_progress|aof_rewrite_scheduled|rdb_bgsave_in_progress):1/m.test(info)) return info
      if (Date.now() - started > SCRUB_LIMIT_MS) throw unavailable('it is still writing its files')
      await delay(LOOK_AGAIN_MS)
    }
  }
  if (/^aof_enabled:1/m.test(await idle())) {
    await send('BGREWRITEAOF')
    await idle()
  }
  // Not where there are none: there must be no snapshot because of us.
  const setting = (await send('CONFIG', 'GET', 'save')) as { readonly save?: string } | readonly string[]
  const saving = Array.isArray(setting) ? setting[1] : (setting as { readonly save?: string }).save
  if (!saving && !/^rdb_saves:[1-9]/m.test(await idle())) return
  await send('BGSAVE')
  await idle()
}

const unavailable = (why: string) => new ReadModelUnavailable(`The read model can't be reached: ${why}.`)

/** Of a failure its kind only: a message of the server's may quote what was sent. */
function reason(error: unknown): string {
  if (error instanceof ErrorReply) return error.message.split(' ', 1)[0] ?? 'refused'
  const { code, name, message } = error as Partial<NodeJS.ErrnoException>
  if (message === 'no answer') return message
  return code ?? (name === 'Error' ? (error as object).constructor.name : name) ?? 'error'
}

/** One server. */
interface Server {
  scan(cursor: string, options: object): Promise<{ readonly cursor: string; readonly keys: string[] }>
  sendCommand(command: string[]): Promise<unknown>
}

/** What differs between a server, a Sentinel group and a Cluster. */
interface Driver {
  /** Sends one command to where its key lies. */
  send(key: string, command: string[]): Promise<unknown>
  connect(): Promise<void>
  isReady(): boolean
  /** Errors of the connection: each call meets them itself. */
  onError(listener: (error: unknown) => void): void
  /** Where keys with the tag lie; undefined where it is not known, or not one server. */
  serverOf(tag: string | undefined): string | undefined
  /** A hash tag of each server's. */
  tagOfEachServer(): readonly string[]
  servers(): Promise<readonly Server[]>
  destroy(): void
}

/** The hash tag of keys that stand for the whole of one server. */
export const ALL = 'all'

function createDriver(address: RedisAddress): Driver {
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
  // node-redis makes an AbortSignal for each command's timeout and gives it up once the command is sent: ours is better.
  const commandOptions = { timeout: 0 }

  if (kind === 'cluster') {
    const cluster = createCluster({
      rootNodes: nodes.map((each) => ({ socket: { ...socket, ...each } as typeof socket })),
      defaults: { ...node, socket },
      commandOptions,
      minimizeConnections: true, // else a node that is away keeps all others waiting
      topologyRefreshOnReconnectionAttemptStrategy: 1_000,
    })
    cluster.on('node-error', () => {}) // the others go on
    return {
      send: (key, command) => cluster.sendCommand(key, false, command, commandOptions),
      connect: async () => void (await cluster.connect()),
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
      servers: () =>
        Promise.all(cluster.masters.map(async (master) => (await cluster.nodeClient(master)) as unknown as Server)),
      destroy: () => cluster.destroy(),
    }
  }
  if (kind === 'sentinel') {
    const sentinel = createSentinel({
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
      servers: async () => [
        {
          scan: (cursor, options) => sentinel.scan(cursor, options),
          sendCommand: (command) => sentinel.sendCommand(false, command, commandOptions),
        },
      ],
      destroy: () => void sentinel.destroy(),
    }
  }
  const client = createClient({ ...node, socket: { ...socket, ...nodes[0] }, database, commandOptions })
  return {
    send: (_, command) => client.sendCommand(command, commandOptions),
    connect: async () => void (await client.connect()),
    isReady: () => client.isReady,
    onError: (listener) => void client.on('error', listener),
    serverOf: () => 'server',
    tagOfEachServer: () => [ALL],
    servers: async () => [client as unknown as Server],
    destroy: () => client.destroy(),
  }
}
