/**
 * The read model in Redis: a server, a Sentinel group or a Cluster, which other programs may use too.
 *
 * `customer:{generation}`    which generation is live (a hash: `live`, and a field for each one there is)
 * `customer:{owed-scrubs}`   scrubs that are owed (a hash, a field for each)
 * `customer:{ID}:revision`   the mark: the newest revision that was acknowledged
 * `customer:{ID}`            the revision, a blank, the document as JSON
 * `customer:{checkpoint}`    the checkpoint, and the epoch of the filling that it belongs to
 * `customer:{newest}`        the newest event that a document may reflect
 * `customer:{parked}`        events that can't be applied (a hash by customer)
 * `customer:probe:{TAG}`     for a minute: a server took a write
 * `customer:seal:{TAG}`      whether queries may see the slot's documents: one for each slot; without a Cluster one for all
 *
 * Documents, checkpoint, newest event, parked events and seals are the first generation's; of generation N they begin with
 * `customer:N:`.
 *
 * A mark that is lost must not make an old document look new. A flush loses all marks of a server; a start from an
 * older snapshot, or a replica that takes over, loses the newest. What was lost can't be seen in the keys that are left,
 * so each slot has a seal, `complete:RUN`, where RUN is the server's incarnation: a master's `master_replid`, another one
 * after each start and each promotion. A query reads document, mark and seal by one script in one slot, and has no document unless the seal is there
 * and of the server that answers. So from the very moment of a loss queries fold the stream; no instance has to be notified.
 *
 * The seal comes back when the worker has reached the end of the log once more: by then the documents hold everything
 * that was acknowledged before the loss. The first checkpoint, or the one after a loss, begins an epoch: `filling:EPOCH:RUN`
 * in each slot that has no whole seal. The first complete checkpoint turns these into `complete:RUN`; where one is no
 * longer there, the slot suffered a loss meanwhile, and it begins again. `getCheckpoint` is where a loss is noticed
 * (the worker calls it every two seconds): if the seal is broken, what is stored is called incomplete. One server's keys
 * are all of the same moment, so the worker goes on from the checkpoint that is left. In a Cluster a node may have lost
 * what the checkpoint on another one counts as done: there the checkpoint is dropped and all events are applied again,
 * while queries go on from the slots that are whole. (A slot that is moved to another node counts as lost too.)
 *
 * An epoch lasts two seconds at least: an instance of the subgraph that has not connected again after a restart keeps its
 * marks to itself that long.
 *
 * Anything may stand in these keys: what can't be read counts as not there (stored.ts), and gives way to what is written.
 *
 * Redis must not evict keys (`maxmemory-policy noeviction`, the default) and the user needs the command INFO.
 */
import type { ReadModel } from '../read-model.ts'
import { readParked } from '../stored.ts'
import { dropMatching, each, readHash, select } from './batches.ts'
import { createCheckpoints } from './checkpoints.ts'
import { connectRedis, type RedisConnection } from './connection.ts'
import { createEntryReader, customerIds, forgetDocuments, writeDocuments } from './documents.ts'
import { createHandle, dropGeneration, type Handle, listGenerations, liveGeneration } from './generations.ts'
import { generationKeys, type SharedKeys, sharedKeys } from './keys.ts'
import { createSeals, type Seals } from './seals.ts'
import { measureSpace } from './space.ts'
import { formatPlace, parseDocument, parsePlace, readText } from './values.ts'

/**
 * After a restart of Redis an instance of the subgraph may take a second to connect again, and its marks wait until then:
 * the documents may not be called complete before. Milliseconds; longer than the longest back-off of a connection.
 */
const SETTLE_MS = 2_000

const PROBE_KEPT_MS = 60_000

/** What the groups of operations below work with. */
interface Parts {
  readonly redis: RedisConnection
  readonly prefix: string
  readonly shared: SharedKeys
  readonly handle: Handle
  readonly seals: Seals
  /** Makes an operation on the handle's generation wait until that is known. */
  readonly begun: <A extends unknown[], R>(work: (...values: A) => Promise<R>) => (...values: A) => Promise<R>
}

/**
 * @param url see url.ts; the connection is made in the background and again after each loss
 * @param options.generation the one to work on; default: the live one, as of the first use and of each `follow`
 * @param options.prefix what all keys begin with; default `customer`
 * @param options.settleMs how long an epoch lasts at least; default {@link SETTLE_MS}
 * @throws TypeError for a URL or a prefix that can't be used
 */
export function openRedisReadModel(
  url: string,
  {
    generation,
    prefix = 'customer',
    settleMs = SETTLE_MS,
  }: { readonly generation?: number | undefined; readonly prefix?: string; readonly settleMs?: number } = {},
): ReadModel {
  if (!/^[\w.:-]+$/.test(prefix)) throw new TypeError('A key prefix consists of letters, digits and _ . : -')
  const redis = connectRedis(url)
  const shared = sharedKeys(prefix)
  const handle = createHandle({ redis, prefix, shared, fixed: generation, onSwitch: () => checkpoints.forget() })
  const seals = createSeals(redis, handle)
  const checkpoints = createCheckpoints(redis, handle, seals, settleMs)
  const begun: Parts['begun'] =
    (work) =>
    async (...values) => {
      if (!handle.isReady) await handle.begin()
      return work(...values)
    }
  const parts: Parts = { redis, prefix, shared, handle, seals, begun }
  return {
    ...generationOperations(parts),
    ...documentOperations(parts),
    ...parkedOperations(parts),
    ...markOperations(parts),
    ...scrubOperations(parts),
    getCheckpoint: begun(checkpoints.get),
    setCheckpoint: begun(checkpoints.set),
    ping: begun(async () => {
      await checkpoints.read()
    }),
    close: redis.close,
  }
}

function generationOperations({ redis, prefix, shared, handle, seals, begun }: Parts) {
  return {
    generation: begun(async () => handle.number),
    wanted: handle.wanted,
    follow: handle.follow,
    generations: begun(() => listGenerations(redis, prefix, shared)),

    async switchGeneration(from, to) {
      const switched = await redis.call((commands) =>
        commands.switchGeneration(shared.generations, String(from), String(to)),
      )
      return switched === 1
    },

    dropGeneration: (number) => dropGeneration(redis, prefix, shared, number),

    distrust: begun(seals.drop),

    reset: begun(async () => {
      const isLive = handle.number === (await liveGeneration(redis, shared))
      const { checkpoint, newest, ownBeginning } = handle.keys
      // The checkpoint and the seals first: a document must not outlive its mark where queries see it. And once more at
      // the end: what another worker has filled in meanwhile may have lost documents here, so it has to begin again.
      const dropCheckpoint = async () => {
        await redis.call((commands) => commands.dropKeys(checkpoint, checkpoint))
        await seals.drop()
      }
      await dropCheckpoint()
      await dropMatching(redis, `${ownBeginning}*`, (key) => !shared.has(key) && key !== newest)
      if (isLive) await dropMatching(redis, shared.marks, () => true)
      await dropCheckpoint()
      // Last: where this is cut short, the documents that are left are still known to be another log's.
      await redis.call((commands) => commands.dropKeys(newest, newest))
    }),
  } satisfies Partial<ReadModel>
}

function documentOperations({ redis, prefix, shared, handle, seals, begun }: Parts) {
  return {
    customers: () => customerIds(redis, handle),
    space: () => measureSpace(redis, handle),

    differing: begun((ids: readonly number[], generation: number) =>
      select(redis, ids, (commands, chunk) => {
        const other = generationKeys(prefix, generation)
        const pairs = chunk.flatMap((id) => [handle.keys.document(id), other.document(id)])
        return commands.compareDocuments(pairs[0] as string, ...pairs)
      }),
    ),

    lacking: begun((ids: readonly number[]) =>
      select(redis, ids, (commands, chunk) => {
        const keys = chunk.map(handle.keys.document)
        return commands.missingDocuments(keys[0] as string, ...keys)
      }),
    ),

    get: begun(createEntryReader(redis, handle, shared, seals)),

    documents: begun(async (ids: readonly number[]) => {
      const values = await each(redis, ids, (commands, id) => readText(commands, handle.keys.document(id)))
      return values.map((value, index) => parseDocument(value, ids[index] as number))
    }),

    put: begun(async (writes, newest) => {
      // Sent first, without waiting for the answer: on one server it is stored before the documents are.
      const raising = newest && redis.call((commands) => commands.raisePlace(handle.keys.newest, formatPlace(newest)))
      raising?.catch(() => {}) // awaited below, unless the documents fail too
      const revisions = await writeDocuments(redis, handle, writes)
      await raising
      return revisions
    }) satisfies ReadModel['put'],

    newest: begun(async () =>
      parsePlace(await redis.call((commands) => readText(commands, handle.keys.newest), 'newest')),
    ),

    forget: begun(async (ids: readonly number[]) => {
      const generations = await listGenerations(redis, prefix, shared)
      const others = generations.filter(({ number }) => number !== handle.number)
      const keys = others.map(({ number }) => generationKeys(prefix, number))
      await forgetDocuments(
        redis,
        keys.flatMap(({ document }) => ids.map((id) => ({ id, key: document(id) }))),
      )
    }),
  } satisfies Partial<ReadModel>
}

function parkedOperations({ redis, handle, begun }: Parts) {
  return {
    park: begun(async (event) => {
      const field = String(event.customerId)
      await redis.call((commands) => commands.setField(handle.keys.parked, field, JSON.stringify(event)))
    }) satisfies ReadModel['park'],

    unpark: begun(async (customerId: number) => {
      await redis.call((commands) => commands.dropField(handle.keys.parked, String(customerId)))
    }),

    parked: begun(async () => {
      const events = [...(await readHash(redis, handle.keys.parked)).values()].flatMap(readParked)
      return events.sort((a, b) => a.customerId - b.customerId)
    }),
  } satisfies Partial<ReadModel>
}

/** Marks are of no generation. */
function markOperations({ redis, shared }: Parts) {
  return {
    acknowledge: (id, revision) =>
      redis.call((commands) => commands.raiseMark(shared.mark(id), String(revision)), String(id)),

    async incarnations() {
      const tags = await redis.tagOfEachServer()
      const answers = await Promise.allSettled(
        tags.map((tag) => redis.call((commands) => commands.incarnation(shared.probe(tag)), tag)),
      )
      const reached = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
      const [first] = answers
      if (reached.length === 0 && first?.status === 'rejected') throw first.reason
      return { reached, isWhole: reached.length === answers.length }
    },

    async probe() {
      const tags = await redis.tagOfEachServer()
      return Promise.all(
        tags.map((tag) => redis.call((commands) => commands.probe(shared.probe(tag), String(PROBE_KEPT_MS)), tag)),
      )
    },
  } satisfies Partial<ReadModel>
}

function scrubOperations({ redis, shared }: Parts) {
  return {
    async oweScrub() {
      await redis.call((commands) => commands.setField(shared.owedScrubs, crypto.randomUUID(), ''))
    },

    isScrubOwed: async () => (await readHash(redis, shared.owedScrubs)).size > 0,

    async scrub() {
      const owed = [...(await readHash(redis, shared.owedScrubs)).keys()]
      await redis.scrub()
      await each(redis, owed, (commands, id) => commands.dropField(shared.owedScrubs, id))
    },
  } satisfies Partial<ReadModel>
}
