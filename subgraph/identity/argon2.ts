/**
 * argon2id, with a limit for the memory of all hashes under way. Those of one sign-in after another would take it for each
 * thread of Node's pool: a hash of Magento's needs 64 MiB, so four of them 256.
 */
import { type Argon2Parameters, argon2 } from 'node:crypto'
import { promisify } from 'node:util'

const derive = promisify<'argon2id', Argon2Parameters, Buffer>(argon2)

/** In KiB: of four hashes of our own, as many as Node's pool has threads; with a larger pool more. */
export const MEMORY_AT_ONCE = 20 * 1024 * Math.max(4, Number(process.env.UV_THREADPOOL_SIZE) || 0)

interface Waiting {
  readonly memory: number
  readonly go: () => void
}

/** In their order: a large one does not wait for ever while small ones pass it. */
const waiting: Waiting[] = []
let used = 0

const hasRoom = (memory: number) => used === 0 || used + memory <= MEMORY_AT_ONCE

/** Computes a hash as soon as there is room for it. A hash that needs more than there is runs alone. */
export async function argon2id(parameters: Argon2Parameters): Promise<Buffer> {
  const { memory } = parameters
  if (waiting.length > 0 || !hasRoom(memory)) await new Promise<void>((go) => waiting.push({ memory, go }))
  else used += memory
  try {
    return await derive('argon2id', parameters)
  } finally {
    used -= memory
    while (waiting[0] && hasRoom(waiting[0].memory)) {
      const next = waiting.shift() as Waiting
      used += next.memory
      next.go()
    }
  }
}
