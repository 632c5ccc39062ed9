/** Rotates the master key: all blocks of keys are rewrapped. No customer's key changes, and no event. */
import { AT_ONCE, inBatches } from '../../runtime/in-batches.ts'
import { WrongExpectedRevision } from '../port.ts'
import type { BlockData, Blocks } from './blocks.ts'
import { type KeyStorePair, setMasterKey } from './key-store-identity.ts'

/**
 * Rewraps all blocks of other master keys with the current one.
 * @param report called now and then with the number of blocks that are done
 * @returns how many blocks there are, and how many were rewrapped
 * @throws EventStoreUnavailable; ConfigurationError for a block that none of the master keys unwraps
 */
export async function rotateMasterKey(
  pair: KeyStorePair,
  blocks: Blocks,
  report: (done: number) => void,
): Promise<{ readonly blocks: number; readonly rewrapped: number }> {
  const { id } = pair.masterKeys[0]
  const seen = new Set<string>()
  let rewrapped = 0
  let pending: string[] = []
  const finish = async () => {
    const done = await inBatches(pending, (stream) => rewrap(blocks, id, stream))
    rewrapped += done.filter(Boolean).length
    pending = []
    report(seen.size)
  }
  for await (const { stream } of blocks.all()) {
    if (seen.has(stream)) continue
    seen.add(stream)
    pending.push(stream)
    if (pending.length === AT_ONCE) await finish()
  }
  await finish()
  await setMasterKey(pair)
  return { blocks: seen.size, rewrapped }
}

/** @returns whether it was wrapped by another master key */
async function rewrap(blocks: Blocks, masterKeyId: string, stream: string): Promise<boolean> {
  for (;;) {
    const block = await blocks.read(stream)
    if (block === undefined) return false
    if (block.masterKeyId === masterKeyId) {
      await blocks.cutOff(stream, block) // an earlier rotation may have been cut short here
      return false
    }
    try {
      await blocks.cutOff(stream, await blocks.write(stream, block.revision, await blocks.unwrap(stream, block), block))
      return true
    } catch (error) {
      if (!(error instanceof WrongExpectedRevision)) throw error
    }
  }
}

/**
 * How many blocks each master key has wrapped, by its id, and how many keys were destroyed. @throws
 * EventStoreUnavailable
 */
export async function statusOf(
  blocks: Blocks,
): Promise<{ readonly blocks: ReadonlyMap<string, number>; readonly destroyed: number }> {
  const found = new Map<string, { masterKeyId: string; destroyed: number }>()
  for await (const event of blocks.all()) {
    const { masterKeyId, destroyed } = event.data as unknown as BlockData
    found.set(event.stream, { masterKeyId, destroyed: destroyed.length })
  }
  const counts = new Map<string, number>()
  let destroyed = 0
  for (const block of found.values()) {
    counts.set(block.masterKeyId, (counts.get(block.masterKeyId) ?? 0) + 1)
    destroyed += block.destroyed
  }
  return { blocks: counts, destroyed }
}
