/** How much memory the documents of a generation take in Redis, and how much is free. */
import { createIdSet } from '../id-set.ts'
import type { Space } from '../read-model.ts'
import { each } from './batches.ts'
import type { RedisConnection } from './connection.ts'
import { customerIds } from './documents.ts'
import { REFUSED, unlessRefused } from './errors.ts'
import type { Handle } from './generations.ts'

/** How many documents of each page of keys are measured. */
const SAMPLE = 8
/** What a key takes beside its value, in bytes, if the server refuses MEMORY USAGE. */
const OVERHEAD = 120

/** @throws ReadModelUnavailable */
export async function measureSpace(redis: RedisConnection, handle: Handle): Promise<Space> {
  const ids = createIdSet()
  let sampled = 0
  let bytes = 0
  for await (const page of customerIds(redis, handle)) {
    const fresh = page.filter(ids.add)
    const keys = fresh.slice(0, SAMPLE).map(handle.keys.document)
    const sizes = await each(redis, keys, async (commands, key) => {
      const size = await commands.memoryUsage(key).catch(unlessRefused)
      return size === REFUSED ? OVERHEAD + ((await commands.get(key))?.length ?? 0) : (size ?? 0)
    })
    sampled += sizes.length
    bytes += sizes.reduce((sum, size) => sum + size, 0)
  }
  const mean = sampled === 0 ? 0 : bytes / sampled
  return { documents: ids.size, bytes: Math.round(mean * ids.size), ...(await roomOf(redis)) }
}

/** Several servers share the documents evenly, so the fullest one decides. @throws ReadModelUnavailable */
async function roomOf(redis: RedisConnection): Promise<Pick<Space, 'free' | 'limit'>> {
  const infos = await redis.memory()
  const servers = infos.map((info) => {
    const field = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info ?? '')?.[1] ?? Number.NaN)
    const [used, most, machine] = [field('used_memory'), field('maxmemory'), field('total_system_memory')]
    // Without maxmemory, the machine's memory is the limit.
    const limit = most > 0 ? most : machine
    return { limit, free: Math.max(0, limit - used), isOwn: most > 0 }
  })
  const free = Math.min(...servers.map((server) => server.free)) * servers.length
  if (!Number.isFinite(free)) return { free: undefined, limit: undefined }
  const limit = servers.reduce((sum, server) => sum + server.limit, 0)
  return { free, limit: { bytes: limit, name: servers.every(({ isOwn }) => isOwn) ? 'maxmemory' : 'its memory' } }
}
