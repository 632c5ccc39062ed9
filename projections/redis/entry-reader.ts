/**
 * What queries read: document and mark of each customer. Reads that come in one turn of the event loop, from whichever
 * requests, go to Redis as one call; in a Cluster as one for each slot.
 */
import { endOfTurn } from '../../runtime/end-of-turn.ts'
import { createDocumentCache } from '../document-cache.ts'
import { type ReadModelEntry, UNKNOWN } from '../read-model.ts'
import { readNumber } from '../stored-values.ts'
import type { RedisConnection } from './connection.ts'
import type { Handle } from './generations.ts'
import { incarnationIn } from './incarnations.ts'
import type { SharedKeys } from './key-names.ts'
import type { Seals } from './seals.ts'
import { parseDocument } from './values.ts'

/** Customers that one call reads: Redis does nothing else meanwhile, and an answer has a bounded size. */
const MOST = 64

/** What is stored of a customer, and in which incarnation of the server. */
interface Found {
  readonly document: string | null
  readonly mark: string | null
  readonly incarnation: string
}

interface Batch {
  /** For each customer document and mark. */
  readonly keys: string[]
  readonly found: Promise<readonly Found[]>
}

/** Makes `get` of the port. */
export function createEntryReader(
  redis: RedisConnection,
  handle: Handle,
  shared: SharedKeys,
  seals: Seals,
): (ids: readonly number[], trusted?: ReadonlySet<string>) => Promise<readonly ReadModelEntry[]> {
  const documents = createDocumentCache()
  /** The batches of this turn that are not full, by the seal. */
  const open = new Map<string, Batch>()

  /** @param tag a hash tag in the seal's slot */
  function batchFor(seal: string, tag: string): Batch {
    const batch = open.get(seal)
    if (batch && batch.keys.length < 2 * MOST) return batch
    const keys: string[] = []
    const found = endOfTurn().then(() => {
      if (open.get(seal)?.keys === keys) open.delete(seal)
      return send(seal, tag, keys)
    })
    const begun = { keys, found }
    open.set(seal, begun)
    return begun
  }

  async function send(seal: string, tag: string, keys: readonly string[]): Promise<readonly Found[]> {
    const [run, ...values] = await redis.call((commands) => commands.readCustomers(seal, ...keys), tag)
    const incarnation = incarnationIn(redis, run)
    const found: Found[] = []
    for (let i = 0; i < values.length; i += 2) {
      found.push({ document: values[i] as string | null, mark: values[i + 1] as string | null, incarnation })
    }
    return found
  }

  async function read(id: number, trusted: ReadonlySet<string> | undefined): Promise<ReadModelEntry> {
    const tag = String(id)
    const { keys, found } = batchFor(seals.of(tag), tag)
    const index = keys.push(handle.keys.document(id), shared.mark(id)) / 2 - 1
    const { document, mark, incarnation } = (await found)[index] as Found
    if (trusted && !trusted.has(incarnation)) return UNKNOWN
    const acknowledged = mark === null ? -1 : readNumber(mark)
    // Without its mark nobody knows whether a document is behind.
    if (acknowledged === undefined || document === null) return { document: null, acknowledged: acknowledged ?? -1 }
    return { document: documents.read(id, document, parseDocument), acknowledged }
  }

  return async (ids, trusted) => {
    const [first, ...others] = ids
    if (first !== undefined && others.length === 0) return [await read(first, trusted)]
    return Promise.all(ids.map((id) => read(id, trusted)))
  }
}
