/** Rotates the master key: all blocks of keys are rewrapped. Neither customers' keys nor events change. */
import { AT_ONCE, inBatches } from '../../runtime/in-batches.ts'
import { WrongExpectedRevision } from '../port.ts'
import type { BlockId, Blocks } from './blocks.ts'
import { type KeyStorePair, setMasterKey } from './key-store-identity.ts'

/**
 * Rewraps with the current master key all blocks that another one has wrapped.
 * @param options.report called now and then with the number of blocks that are done
 * @returns how many blocks there are, and how many of them were rewrapped
 * @throws EventStoreUnavailable; ConfigurationError if a block's master key is not configured; the signal's reason once it
 * is aborted. The next rotation does the rest.
 */
export async function rotateMasterKey(
  pair: KeyStorePair,
  blocks: Blocks,
  { report, signal }: { readonly report: (done: number) => void; readonly signal: AbortSignal | undefined },
): Promise<{ readonly blocks: number; readonly rewrapped: number }> {
  const { id } = pair.masterKeys[0]
  const seen = new Set<BlockId>()
  let rewrapped = 0
  let pending: BlockId[] = []
  const finish = async () => {
    const done = await inBatches(pending, (block) => rewrap(blocks, id, block))
    rewrapped += done.filter(Boolean).length
    pending = []
    report(seen.size)
    signal?.throwIfAborted()
  }
  for await (const { id } of blocks.all()) {
    if (seen.has(id)) continue
    seen.add(id)
    pending.push(id)
    if (pending.length === AT_ONCE) await finish()
  }
  await finish()
  await setMasterKey(pair)
  return { blocks: seen.size, rewrapped }
}

/** @returns whether it was wrapped by another master key */
async function rewrap(blocks: Blocks, masterKeyId: string, id: BlockId): Promise<boolean> {
  for (;;) {
    const block = await blocks.read(id)
    if (block === undefined) return false
    if (block.masterKeyId === masterKeyId) {
      await blocks.cutOff(block) // an earlier rotation may have been interrupted before this
      return false
    }
    try {
      await blocks.cutOff(await blocks.write(id, block.revision, await blocks.unwrap(block), block))
      return true
    } catch (error) {
      if (!(error instanceof WrongExpectedRevision)) throw error
    }
  }
}

/** How many blocks each master key has wrapped, by its id, and how many keys were destroyed. @throws EventStoreUnavailable */
export async function statusOf(
  blocks: Blocks,
): Promise<{ readonly blocks: ReadonlyMap<string, number>; readonly destroyed: number }> {
  const found = new Map<BlockId, { masterKeyId: string; destroyed: number }>()
  for await (const { id, data } of blocks.all()) {
    const { masterKeyId, destroyed } = data
    found.set(id, { masterKeyId, destroyed: destroyed.length })
  }
  const counts = new Map<string, number>()
  let destroyed = 0
  for (const block of found.values()) {
    counts.set(block.masterKeyId, (counts.get(block.masterKeyId) ?? 0) + 1)
    destroyed += block.destroyed
  }
  return { blocks: counts, destroyed }
}
