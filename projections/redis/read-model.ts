/**
 * The read model in Redis: a server, a Sentinel group or a Cluster, which other programs may use too.
 *
 * `customer:{generation}`    which generation is live (a hash: `live`, and a field for each one there is)
 * `customer:{owed-scrubs}`   scrubs that are pending (a hash, a field for each) `customer:{ID}:revision`   the mark:
 * the newest revision that was acknowledged `customer:{ID}`            the revision, a blank, the document as JSON
 * `customer:{checkpoint}`    the checkpoint, and the epoch of the filling that it belongs to `customer:{newest}`
 * the newest event that a document may reflect `customer:{parked}`        events that can't be applied (a hash by
 * customer) `customer:probe:{TAG}`     for a minute: a server took a write `customer:seal:{TAG}`      whether queries
 * may see the slot's documents: one for each slot; without a Cluster one for all
 *
 * Documents, checkpoint, newest event, parked events and seals are the first generation's; of generation N they begin
 * with `customer:N:`.
 *
 * A lost mark must not make an old document look new. A flush loses all marks of a server; a start from an older
 * snapshot, or a replica that takes over, loses the newest. The remaining keys do not show what was lost. So each slot
 * has a seal, `complete:RUN`, where RUN is the server's incarnation: a master's `master_replid`, which changes with
 * each start and each promotion. A query reads document, mark and seal by one script in one slot, and ignores the
 * document unless the seal exists and belongs to the answering server. So from the moment of a loss, queries fold the
 * stream, and no instance has to be notified.
 *
 * The seal is restored when the worker has reached the end of the log again: by then the documents contain everything
 * that was acknowledged before the loss. The first checkpoint, or the one after a loss, begins an epoch:
 * `filling:EPOCH:RUN` in each slot that has no whole seal. The first complete checkpoint turns these into
 * `complete:RUN`; if one is missing, the slot suffered another loss, and it begins again. `getCheckpoint` is where a
 * loss is noticed (the worker calls it every second): if the seal is broken, the stored checkpoint is reported as
 * incomplete. All keys of one server are from the same moment, so the worker continues from the remaining checkpoint.
 * In a Cluster a node may have lost what the checkpoint on another one counts as done: there the checkpoint is dropped
 * and all events are applied again, while queries use the intact slots. (A slot that is moved to another node counts as
 * lost too.)
 *
 * Older keys that are put in the place of the present ones, seals and all, while the server runs, break no seal. Then
 * the place of the newest event has gone back, which the workers notice (newest-place.ts).
 *
 * An epoch lasts at least two seconds, because an instance of the subgraph that has not reconnected after a restart
 * keeps its marks for that long.
 *
 * Anything may stand in these keys: what can't be read counts as missing (stored-values.ts), and is overwritten.
 *
 * Redis must not evict keys (`maxmemory-policy noeviction`, the default) and the user needs the command INFO.
 */
import type { ReadModel } from '../read-model.ts'
import { readParked } from '../stored-values.ts'
import { dropMatching, each, readHash, select } from './batches.ts'
import { createCheckpoints } from './checkpoints.ts'
import { connectRedis, type RedisConnection } from './connection.ts'
import { customerIds, forgetDocuments, writeDocuments } from './documents.ts'
import { createEntryReader } from './entry-reader.ts'
import { describeRedis } from './facts.ts'
import { createHandle, dropGeneration, type Handle, listGenerations, liveGeneration } from './generations.ts'
import { incarnationIn } from './incarnations.ts'
import { generationKeys, type SharedKeys, sharedKeys } from './key-names.ts'
import { createNewestPlace, type NewestPlace } from './newest-place.ts'
import { createSeals, type Seals } from './seals.ts'
import { measureSpace } from './space.ts'
import { parseDocument, readText } from './values.ts'

/**
 * After a restart of Redis an instance of the subgraph may take a second to connect again, and its marks wait until
 * then: the documents must not count as complete before. Milliseconds; longer than the longest back-off of a
 * connection.
 */
const SETTLE_MS = 2_000

const PROBE_KEPT_MS = 60_000

/** The shared context of the operations below. */
interface Parts {
  readonly redis: RedisConnection
  readonly prefix: string
  readonly shared: SharedKeys
  readonly handle: Handle
  readonly seals: Seals
  readonly newest: NewestPlace
  /** Makes an operation wait until the handle's generation is known. */
  readonly begun: <A extends unknown[], R>(work: (...values: A) => Promise<R>) => (...values: A) => Promise<R>
}

/**
 * @param url see url.ts; it connects in the background, and reconnects after each loss
 * @param options.generation the generation to work on; default: the live one, as of the first use and of each `follow`
 * @param options.prefix the prefix of all keys; default `customer`
 * @param options.settleMs the minimum duration of an epoch; default {@link SETTLE_MS}
 * @param options.deadlineMs how long a call waits for its answer; default: see connection.ts
 * @throws TypeError for a URL or a prefix that can't be used
 */
export function openRedisReadModel(
  url: string,
  {
    generation,
    prefix = 'customer',
    settleMs = SETTLE_MS,
    deadlineMs,
  }: {
    readonly generation?: number | undefined
    readonly prefix?: string
    readonly settleMs?: number
    readonly deadlineMs?: number
  } = {},
): ReadModel {
  if (!/^[\w.:-]+$/.test(prefix)) throw new TypeError('A key prefix consists of letters, digits and _ . : -')
  const redis = connectRedis(url, deadlineMs)
  const shared = sharedKeys(prefix)
  const handle = createHandle({ redis, prefix, shared, fixed: generation, onSwitch: () => newest.forget() })
  const seals = createSeals(redis, handle)
  const newest = createNewestPlace(redis, handle, seals)
  const checkpoints = createCheckpoints(redis, handle, seals, settleMs)
  const begun: Parts['begun'] =
    (work) =>
    async (...values) => {
      if (!handle.isReady) await handle.begin()
      return work(...values)
    }
  const parts: Parts = { redis, prefix, shared, handle, seals, newest, begun }
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

function generationOperations({ redis, prefix, shared, handle, seals, newest: place, begun }: Parts) {
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
      // The checkpoint and the seals first, so that queries never see a document that has outlived its mark. And once
      // more at the end: a concurrent filling may have lost documents here, so it has to begin again.
      const dropCheckpoint = async () => {
        await redis.call((commands) => commands.dropKeys(checkpoint, checkpoint))
        await seals.drop()
      }
      await dropCheckpoint()
      await dropMatching(redis, `${ownBeginning}*`, (key) => !shared.has(key) && key !== newest)
      if (isLive) await dropMatching(redis, shared.marks, () => true)
      await dropCheckpoint()
      // Last, so that after an interruption the remaining documents are still known to belong to another log.
      await redis.call((commands) => commands.dropKeys(newest, newest))
      place.forget()
    }),
  } satisfies Partial<ReadModel>
}

function documentOperations({ redis, prefix, shared, handle, seals, newest: place, begun }: Parts) {
  return {
    customers: () => customerIds(redis, handle),
    space: () => measureSpace(redis, handle),
    describe: () => describeRedis(redis),

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
      return values.map((value, index) => (value === null ? null : parseDocument(value, ids[index] as number)))
    }),

    put: begun(async (writes, newest) => {
      // Sent first, without waiting for the answer: one server stores it before the documents.
      const raising = newest && place.raise(newest)
      raising?.catch(() => {}) // awaited below, unless the documents fail too
      const revisions = await writeDocuments(redis, handle, writes)
      await raising
      return revisions
    }) satisfies ReadModel['put'],

    newest: begun(place.read),

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

/** Marks belong to no generation. */
function markOperations({ redis, shared }: Parts) {
  return {
    async acknowledge(id, revision) {
      const run = await redis.call((commands) => commands.raiseMark(shared.mark(id), String(revision)), String(id))
      return incarnationIn(redis, run)
    },

    async incarnations() {
      const tags = await redis.tagOfEachServer()
      const answers = await Promise.allSettled(
        tags.map((tag) => redis.call((commands) => commands.incarnation(shared.probe(tag)), tag)),
      )
      const reached = answers.flatMap((answer) =>
        answer.status === 'fulfilled' ? [incarnationIn(redis, answer.value)] : [],
      )
      const [first] = answers
      if (reached.length === 0 && first?.status === 'rejected') throw first.reason
      return { reached, isWhole: reached.length === answers.length }
    },

    async probe() {
      const tags = await redis.tagOfEachServer()
      const runs = await Promise.all(
        tags.map((tag) => redis.call((commands) => commands.probe(shared.probe(tag), String(PROBE_KEPT_MS)), tag)),
      )
      return runs.map((run) => incarnationIn(redis, run))
    },
  } satisfies Partial<ReadModel>
}

function scrubOperations({ redis, shared }: Parts) {
  return {
    async requestScrub() {
      await redis.call((commands) => commands.setField(shared.pendingScrubs, crypto.randomUUID(), ''))
    },

    isScrubPending: async () => (await readHash(redis, shared.pendingScrubs)).size > 0,

    async scrub() {
      const pending = [...(await readHash(redis, shared.pendingScrubs)).keys()]
      await redis.scrub()
      await each(redis, pending, (commands, id) => commands.dropField(shared.pendingScrubs, id))
    },
  } satisfies Partial<ReadModel>
}
