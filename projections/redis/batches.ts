/** Bulk operations: commands sent in batches, scripts over many keys, and scans. */
import { partsOf } from '../../runtime/in-batches.ts'
import type { RedisCommands, RedisConnection } from './connection.ts'

/**
 * The most that is sent before the answers are awaited. A process that is busy otherwise sends it piece by piece, and all
 * of it has to be answered within the deadline of a call.
 */
const BATCH = { commands: 1_000, characters: 250_000 }
/** How many documents one script reads or writes. */
export const CHUNK = 100

/**
 * Runs one command for each item, in batches.
 * @param items taken as their batch is sent, so that what is made for a command is not kept for long
 * @param size the approximate length of an item's command, in characters
 * @returns the answers in the order of the items
 * @throws ReadModelUnavailable
 */
export async function each<T, R>(
  redis: RedisConnection,
  items: Iterable<T>,
  command: (commands: RedisCommands, item: T) => Promise<R>,
  size: (item: T) => number = () => 0,
): Promise<R[]> {
  const answers: R[] = []
  let batch: T[] = []
  let total = 0
  const send = async () => {
    const sent = batch
    batch = []
    total = 0
    answers.push(...(await redis.call((commands) => Promise.all(sent.map((item) => command(commands, item))))))
  }
  for (const item of items) {
    batch.push(item)
    total += size(item)
    if (batch.length === BATCH.commands || total >= BATCH.characters) await send()
  }
  if (batch.length > 0) await send()
  return answers
}

/**
 * The ids that a script selects, queried in chunks.
 * @param ask returns the indexes of the selected ids of a chunk
 * @throws ReadModelUnavailable
 */
export async function select(
  redis: RedisConnection,
  ids: readonly number[],
  ask: (commands: RedisCommands, chunk: readonly number[]) => Promise<number[]>,
): Promise<number[]> {
  const size = redis.kind === 'cluster' ? 1 : CHUNK // in a Cluster the keys of several customers are not on one server
  const answers = await each(redis, partsOf(ids, size), ask)
  return answers.flatMap((numbers, chunk) => numbers.map((number) => ids[chunk * size + number] as number))
}

/** Removes the keys that match the pattern and the condition. @throws ReadModelUnavailable */
export async function dropMatching(
  redis: RedisConnection,
  pattern: string,
  isOurs: (key: string) => boolean,
): Promise<void> {
  for await (const keys of redis.scan(pattern)) {
    const ours = keys.filter(isOurs)
    if (ours.length > 0) await redis.call((commands) => commands.dropKeys(ours[0] as string, ...ours))
  }
}

/** A hash as a map by field; empty if there is none. @throws ReadModelUnavailable */
export async function readHash(redis: RedisConnection, key: string): Promise<Map<string, string>> {
  const flat = await redis.call((commands) => commands.readHash(key))
  return new Map(
    Array.from({ length: flat.length / 2 }, (_, index) => [flat[2 * index] ?? '', flat[2 * index + 1] ?? '']),
  )
}
