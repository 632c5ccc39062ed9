/** The generation that a handle of the read model works on, and operations on whole generations. */
import type { Generation } from '../read-model.ts'
import { readNumber } from '../stored-values.ts'
import { dropMatching, readHash } from './batches.ts'
import type { RedisConnection } from './connection.ts'
import { type GenerationKeys, generationKeys, type SharedKeys } from './key-names.ts'
import { liveIn, readText, toCheckpoint } from './values.ts'

/** The generation that a handle works on. */
export interface Handle {
  /** 0 if it is not known yet. */
  readonly number: number
  /** Its keys; use them only after `begin`. */
  readonly keys: GenerationKeys
  /** Whether `begin` has something to do. */
  readonly isReady: boolean
  /** Call it before the first use of a key whose name depends on the generation. @throws ReadModelUnavailable */
  begin(): Promise<void>
  /**
   * Switches to the generation that is live now, unless the handle was opened for a fixed one. @throws
   * ReadModelUnavailable
   */
  follow(): Promise<number>
  /** The generation that `follow` would switch to. @throws ReadModelUnavailable */
  wanted(): Promise<number>
}

export interface HandleOptions {
  readonly redis: RedisConnection
  readonly prefix: string
  readonly shared: SharedKeys
  /** The generation that the handle is opened for; undefined: the live one. */
  readonly fixed: number | undefined
  /** Called when the handle has switched to another generation. */
  readonly onSwitch: () => void
}

/**
 * The states: a handle that follows the live generation is `unknown`, then `ready`. One that was opened for a fixed
 * generation is `unregistered` while that generation may be missing from the list of all, then `ready`.
 */
export function createHandle({ redis, prefix, shared, fixed, onSwitch }: HandleOptions): Handle {
  let state: 'unknown' | 'unregistered' | 'ready' = fixed === undefined ? 'unknown' : 'unregistered'
  let current = fixed ?? 0
  let keys = generationKeys(prefix, current)

  function goOver(to: number): number {
    if (to !== current) {
      current = to
      keys = generationKeys(prefix, to)
      state = 'ready'
      onSwitch()
    }
    return current
  }

  async function begin(): Promise<void> {
    if (state === 'unknown') goOver(await liveGeneration(redis, shared))
    else if (state === 'unregistered') {
      // Before it holds anything: who is deleted is forgotten by all that are known.
      await redis.call((commands) => commands.setField(shared.generations, String(current), ''))
      state = 'ready'
    }
  }

  return {
    get number() {
      return current
    },
    get keys() {
      return keys
    },
    get isReady() {
      return state === 'ready'
    },
    begin,
    async follow() {
      if (fixed === undefined) return goOver(await liveGeneration(redis, shared))
      state = 'unregistered' // it may have been dropped under its worker, who fills it again then
      await begin()
      return fixed
    },
    wanted: async () => fixed ?? (await liveGeneration(redis, shared)),
  }
}

/** @throws ReadModelUnavailable */
export async function liveGeneration(redis: RedisConnection, shared: SharedKeys): Promise<number> {
  return liveIn(await readHash(redis, shared.generations))
}

/** All generations, oldest first. @throws ReadModelUnavailable */
export async function listGenerations(
  redis: RedisConnection,
  prefix: string,
  shared: SharedKeys,
): Promise<readonly Generation[]> {
  const known = await readHash(redis, shared.generations)
  const live = liveIn(known)
  const numbers = new Set([...known.keys()].flatMap((field) => readNumber(field) || [])).add(live)
  const found: Generation[] = []
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const stored = await redis.call((commands) => readText(commands, generationKeys(prefix, number).checkpoint))
    found.push({ number, live: number === live, checkpoint: toCheckpoint(stored ?? '') })
  }
  return found
}

/** Removes a generation, but not the marks. @throws RangeError for the live one | ReadModelUnavailable */
export async function dropGeneration(
  redis: RedisConnection,
  prefix: string,
  shared: SharedKeys,
  number: number,
): Promise<void> {
  if (number === (await liveGeneration(redis, shared))) {
    throw new RangeError(`Generation ${number} is live; it can't be dropped.`)
  }
  const gone = generationKeys(prefix, number)
  // The checkpoint first, so that a half-removed generation does not count as complete.
  await redis.call((commands) => commands.dropKeys(gone.checkpoint, gone.checkpoint))
  await dropMatching(redis, `${gone.sealBeginning}*`, () => true)
  await dropMatching(redis, `${gone.ownBeginning}*`, (key) => !shared.has(key))
  await redis.call((commands) => commands.dropField(shared.generations, String(number)))
}
