/**
 * A connection to Redis whose calls answer or fail within a second. Nothing is queued while the server is unavailable,
 * a silent connection is dropped, and it reconnects by itself for as long as it is open.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { ClientOfflineError } from 'redis'
import { waitAfter } from '../../runtime/back-off.ts'
import { BACK_OFF, createDriver, type Driver } from '../../runtime/redis/driver.ts'
import { reasonOf } from '../../runtime/redis/reasons.ts'
import { parseRedisUrl, type RedisAddress } from '../../runtime/redis/url.ts'
import { startLimit } from '../../runtime/time-limits.ts'
import { ReadModelUnavailable } from '../read-model.ts'
import { REFUSED, unavailable, unlessRefused } from './errors.ts'
import { rewriteFiles } from './persistence-files.ts'
import { type ScriptCommands, scriptCommands } from './scripts.ts'

/** The commands that the read model uses. */
export interface RedisCommands extends ScriptCommands {
  get(key: string): Promise<string | null>
  /** What the key and its value take, in bytes, as the server estimates it. */
  memoryUsage(key: string): Promise<number | null>
}

export interface RedisConnection {
  readonly kind: RedisAddress['kind']
  /** The number of the database on the server. */
  readonly database: number
  /** The server of the keys with the hash tag; undefined if it is not known yet. */
  serverOf(tag: string): string | undefined
  /** A hash tag for each server, for commands that every server has to run. @throws ReadModelUnavailable */
  tagOfEachServer(): Promise<readonly string[]>
  /**
   * Runs commands, which are pipelined.
   * @param tag the hash tag of the keys, if all have the same
   * @throws ReadModelUnavailable
   */
  call<T>(work: (commands: RedisCommands) => Promise<T>, tag?: string): Promise<T>
  /** The matching keys, in batches from one server at a time; a key may occur twice. @throws ReadModelUnavailable */
  scan(pattern: string): AsyncGenerator<string[]>
  /** What each server reports about its memory (INFO); undefined if it refuses to. @throws ReadModelUnavailable */
  memory(): Promise<readonly (string | undefined)[]>
  /** What each server reports about itself (INFO); undefined if it refuses to. @throws ReadModelUnavailable */
  info(): Promise<readonly (string | undefined)[]>
  /**
   * Makes each server rewrite its files on disk, without data that was overwritten or removed. @throws
   * ReadModelUnavailable
   */
  scrub(): Promise<void>
  /** Waits for the calls under way and closes. Calling it again does nothing. */
  close(): Promise<void>
}

const DEADLINE_MS = 900
const SCAN_COUNT = '1000'

/**
 * @param deadlineMs the time limit of a call, including the wait for the first connection
 * @throws TypeError for a URL that can't be used
 */
export function connectRedis(url: string, deadlineMs: number = DEADLINE_MS): RedisConnection {
  const address = parseRedisUrl(url)
  const driver = createDriver(address)
  const commands: RedisCommands = {
    get: (key) => driver.send(key, ['GET', key]) as Promise<string | null>,
    memoryUsage: (key) => driver.send(key, ['MEMORY', 'USAGE', key]) as Promise<number | null>,
    ...scriptCommands(driver.send),
  }
  let closing: Promise<void> | undefined
  /** Why the last attempt to connect failed. */
  let failure: unknown
  const underWay = new Set<Promise<unknown>>()
  /** The servers with a call that was not answered in time and is still unanswered. */
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

  /** Throws at once if there is known to be no connection; otherwise waits for the first one. */
  async function ready(): Promise<void> {
    if (driver.isReady()) return
    if (failure !== undefined) throw failure
    await connected
  }

  async function call<T>(work: (commands: RedisCommands) => Promise<T>, tag?: string): Promise<T> {
    if (closing) throw new ReadModelUnavailable('The read model is closed.')
    const server = driver.serverOf(tag)
    if (server !== undefined && silent.has(server)) throw unavailable(reasonOf(noAnswer(server)))
    const answer = limited(work, server)
    underWay.add(answer)
    try {
      return await answer
    } catch (error) {
      throw unavailable(reasonOf(error instanceof ClientOfflineError ? noAnswer(server) : error))
    } finally {
      underWay.delete(answer)
    }
  }

  /** Why a call was not answered in time. */
  function noAnswer(server: string | undefined): unknown {
    const ofServer = driver.failureOf?.(server)
    if (ofServer) return ofServer
    return driver.isReady() ? new Error('no answer') : (failure ?? new Error('no connection'))
  }

  function limited<T>(work: (commands: RedisCommands) => Promise<T>, server: string | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      let late = false
      const end = startLimit(deadlineMs, () => {
        late = true
        if (server !== undefined) silent.add(server)
        reject(noAnswer(server))
      })
      const start = async () => {
        await ready()
        if (late) throw new Error('too late')
        return work(commands)
      }
      start()
        .then(resolve, reject)
        .finally(() => {
          end()
          if (late && server !== undefined) silent.delete(server)
        })
    })
  }

  return {
    kind: address.kind,
    database: address.database,
    serverOf: driver.serverOf,
    tagOfEachServer: () => call(async () => driver.tagOfEachServer()),
    call,

    scan: (pattern) => scanServers(driver, call, pattern),
    scrub: () => scrubServers(driver, call),
    memory: () => readInfo(driver, call, 'memory'),

    info: () => readInfo(driver, call),

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

type Call = RedisConnection['call']

/**
 * The cursor of a scan means nothing to a server that was restarted or took over: there the scan begins anew. So each page
 * comes with the server's incarnation.
 */
async function* scanServers(driver: Driver, call: Call, pattern: string): AsyncGenerator<string[]> {
  for (const server of await call(() => driver.servers())) {
    let cursor: string | undefined = '0'
    let begunOn: string | undefined
    while (cursor !== undefined) {
      const command = ['SCAN', cursor, 'MATCH', pattern, 'COUNT', SCAN_COUNT]
      const [info, page] = await call(() =>
        Promise.all([server.sendCommand(['INFO', 'replication']).catch(unlessRefused), server.sendCommand(command)]),
      )
      const incarnation = /^master_replid:(\w+)/m.exec(String(info))?.[1]
      begunOn ??= incarnation
      if (incarnation !== begunOn) {
        cursor = '0'
        begunOn = undefined
        continue
      }
      const [next, keys] = page as [string, string[]]
      cursor = next === '0' ? undefined : next
      if (keys.length > 0) yield keys
    }
  }
}

async function readInfo(driver: Driver, call: Call, ...sections: string[]): Promise<(string | undefined)[]> {
  const servers = await call(() => driver.servers())
  return Promise.all(
    servers.map(async (server) => {
      const answer = await call(() => server.sendCommand(['INFO', ...sections]).catch(unlessRefused))
      return answer === REFUSED ? undefined : String(answer)
    }),
  )
}

async function scrubServers(driver: Driver, call: Call): Promise<void> {
  for (const server of await call(() => driver.servers())) {
    await rewriteFiles((...command) => call(() => server.sendCommand(command).catch(unlessRefused)))
  }
}
