/**
 * A connection to Redis that answers or fails within a second: nothing is queued while it is away, a server that stays
 * silent is given up, and it connects again by itself, for as long as it is open.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { waitAfter } from '../../runtime/back-off.ts'
import { ReadModelUnavailable } from '../read-model.ts'
import { BACK_OFF, createDriver, type Driver } from './driver.ts'
import { REFUSED, reasonOf, unavailable, unlessRefused } from './errors.ts'
import { rewriteFiles } from './files.ts'
import { type ScriptCommands, scriptCommands } from './scripts.ts'
import { parseRedisUrl, type RedisAddress } from './url.ts'

/** The commands that the read model uses. */
export interface RedisCommands extends ScriptCommands {
  get(key: string): Promise<string | null>
  /** What the key and its value take, in bytes, estimated by the server. */
  memoryUsage(key: string): Promise<number | null>
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
  /** What each server says of its memory (INFO); undefined of one that does not tell us. @throws ReadModelUnavailable */
  memory(): Promise<readonly (string | undefined)[]>
  /** Has each server write its files on disk anew, without what was overwritten or removed. @throws ReadModelUnavailable */
  scrub(): Promise<void>
  /** Finishes the calls under way. Calling it again does nothing. */
  close(): Promise<void>
}

/** How long a call may take, waiting for the first connection included. */
const DEADLINE_MS = 900
const SCAN_COUNT = 1_000

/** @throws TypeError for a URL that can't be used */
export function connectRedis(url: string): RedisConnection {
  const address = parseRedisUrl(url)
  const driver = createDriver(address)
  const commands: RedisCommands = {
    get: (key) => driver.send(key, ['GET', key]) as Promise<string | null>,
    memoryUsage: (key) => driver.send(key, ['MEMORY', 'USAGE', key]) as Promise<number | null>,
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
      throw unavailable(reasonOf(error))
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

    scan: (pattern) => scanServers(driver, call, pattern),
    scrub: () => scrubServers(driver, call),
    memory: () => readMemory(driver, call),

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

async function* scanServers(driver: Driver, call: Call, pattern: string): AsyncGenerator<string[]> {
  for (const server of await call(() => driver.servers())) {
    let cursor = '0'
    do {
      const page = await call(() => server.scan(cursor, { MATCH: pattern, COUNT: SCAN_COUNT }))
      cursor = page.cursor
      if (page.keys.length > 0) yield page.keys
    } while (cursor !== '0')
  }
}

async function readMemory(driver: Driver, call: Call): Promise<(string | undefined)[]> {
  const servers = await call(() => driver.servers())
  return Promise.all(
    servers.map(async (server) => {
      const answer = await call(() => server.sendCommand(['INFO', 'memory']).catch(unlessRefused))
      return answer === REFUSED ? undefined : String(answer)
    }),
  )
}

async function scrubServers(driver: Driver, call: Call): Promise<void> {
  for (const server of await call(() => driver.servers())) {
    await rewriteFiles((...command) => call(() => server.sendCommand(command).catch(unlessRefused)))
  }
}
