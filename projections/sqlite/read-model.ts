/**
 * The embedded read model: one SQLite file that several processes may share. It can be rebuilt from the log at any
 * time.
 */
import { statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { closeSqliteFile, describeFile, emptyWal, fileWatch } from '../../eventstore/sqlite/file.ts'
import { type ReadModel, sameCheckpoint } from '../read-model.ts'
import { readParked } from '../stored-values.ts'
import { type Access, accessTo } from './access.ts'
import { createEntryReader } from './entry-reader.ts'
import { createMarkWriter, incarnationOf } from './marks.ts'
import { dropGeneration, resetGeneration } from './removal.ts'
import {
  checkpointOf,
  documentAt,
  liveGeneration,
  placeAt,
  raiseNewest,
  writeCheckpoint,
  writeDocument,
} from './rows.ts'
import { openReadModelFile, type Statements } from './schema.ts'

/** How many ids one statement reads. */
const PAGE = 1_000
/** How many documents of each page are measured. */
const SAMPLE = 50

/** The shared context of the operations below. */
interface Parts {
  readonly path: string
  readonly database: DatabaseSync
  readonly sql: Statements
  readonly access: Access
  readonly handle: Handle
}

/** The generation that the read model works on. */
interface Handle {
  /** The fixed generation that it was opened for; undefined: it follows the live one. */
  readonly fixed: number | undefined
  current: number
}

/**
 * Opens the read model, creating the file if it is missing.
 * @param options.generation the generation to work on; default: the live one, as of now and of each `follow`
 * @throws SqliteFileError for a file that is not a read model or can't be opened
 */
export function openSqliteReadModel({
  path,
  generation,
}: {
  readonly path: string
  readonly generation?: number | undefined
}): ReadModel {
  const { database, sql } = openReadModelFile(path)
  if (generation !== undefined) sql.addGeneration.run(generation)
  // The file itself may be another one: then it has another incarnation.
  const watch = fileWatch(database, path, false)
  const access = accessTo(database, watch)
  const incarnation = incarnationOf(database, path)
  const marks = createMarkWriter(access, sql, incarnation)
  const parts: Parts = {
    path,
    database,
    sql,
    access,
    handle: { fixed: generation, current: generation ?? liveGeneration(sql) },
  }
  let closing: Promise<void> | undefined
  return {
    ...generationOperations(parts),
    ...documentOperations(parts, incarnation),
    ...checkpointOperations(parts),
    ...parkedOperations(parts),
    ...scrubOperations(parts),

    acknowledge: marks.acknowledge,

    incarnations: () => access.read(() => ({ reached: [incarnation], isWhole: true })),

    probe: () =>
      access.write(() => {
        sql.touch.run()
        return [incarnation]
      }),

    async ping() {
      await access.read(() => sql.ping.get())
    },

    describe: () => access.read(() => describeFile(database)),

    close() {
      closing ??= (async () => {
        await marks.settled()
        await access.settled()
        closeSqliteFile(database, watch)
      })()
      return closing
    },
  }
}

function generationOperations({ sql, access: { read, write }, handle }: Parts) {
  return {
    generation: () => read(() => handle.current),

    wanted: () => read(() => handle.fixed ?? liveGeneration(sql)),

    follow: () =>
      read(() => {
        handle.current = handle.fixed ?? liveGeneration(sql)
        return handle.current
      }),

    generations: () =>
      read(() => {
        const live = liveGeneration(sql)
        const numbers = new Set((sql.generations.all() as { number: number }[]).map(({ number }) => number)).add(live)
        return [...numbers]
          .sort((a, b) => a - b)
          .map((number) => ({ number, live: number === live, checkpoint: checkpointOf(sql, number) }))
      }),

    switchGeneration: (from, to) =>
      write(() => {
        if (liveGeneration(sql) !== from) return false
        for (const number of [from, to]) sql.addGeneration.run(number)
        sql.switchGeneration.run(to)
        return true
      }),

    dropGeneration: (number) => dropGeneration(sql, write, number),
    reset: () => resetGeneration(sql, write, handle.current),
  } satisfies Partial<ReadModel>
}

/** How many documents one transaction writes. */
const BATCH = 1_000

function documentOperations(parts: Parts, incarnation: string) {
  const { sql, path, handle } = parts
  const { read, write } = parts.access

  async function* customersOf(): AsyncGenerator<readonly number[]> {
    for (let last = 0; ; ) {
      const rows = await read(() => sql.ids.all(handle.current, last, PAGE) as { id: number }[])
      if (rows.length === 0) return
      yield rows.map(({ id }) => id)
      last = rows.at(-1)?.id ?? last
    }
  }

  return {
    customers: customersOf,

    async space() {
      let [documents, sampled, bytes] = [0, 0, 0]
      for await (const ids of customersOf()) {
        documents += ids.length
        const after = (ids[0] as number) - 1
        const sample = await read(
          () => sql.lengths.get(handle.current, after, SAMPLE) as { documents: number; bytes: number },
        )
        sampled += sample.documents
        bytes += sample.bytes
      }
      const { bavail, blocks, bsize } = statfsSync(dirname(path))
      return {
        documents,
        bytes: sampled === 0 ? 0 : Math.round((documents * bytes) / sampled),
        free: bavail * bsize,
        limit: { name: 'the disk', bytes: blocks * bsize },
      }
    },

    differing: (ids, other) =>
      read(() =>
        (sql.differing.all(JSON.stringify(ids), handle.current, other) as { id: number }[]).map(({ id }) => id),
      ),

    lacking: (ids) =>
      read(() => (sql.lacking.all(JSON.stringify(ids), handle.current) as { id: number }[]).map(({ id }) => id)),

    get: createEntryReader(parts, () => handle.current, incarnation),

    documents: (ids) => read(() => ids.map((id) => documentAt(sql, handle.current, id))),

    // In several transactions: one for a whole batch of a rebuild would block other writers for a third of a second.
    async put(writes, newest) {
      const generation = handle.current
      const revisions: number[] = []
      for (let start = 0; start === 0 || start < writes.length; start += BATCH) {
        const batch = writes.slice(start, start + BATCH)
        const stored = await write(() => {
          if (newest && start === 0) raiseNewest(sql, generation, newest)
          return batch.map((each) => writeDocument(sql, generation, each))
        })
        revisions.push(...stored)
      }
      return revisions
    },

    newest: () => read(() => placeAt(sql, handle.current, 'newest')),

    forget: (ids) => write(() => void sql.forget.run(JSON.stringify(ids), handle.current)),
  } satisfies Partial<ReadModel>
}

function checkpointOperations({ sql, access: { read, write }, handle }: Parts) {
  return {
    distrust: () => write(() => void sql.distrust.run(handle.current)),

    getCheckpoint: () => read(() => checkpointOf(sql, handle.current)),

    setCheckpoint: (next, expected) =>
      write(() => {
        const stored = checkpointOf(sql, handle.current)
        if (!sameCheckpoint(stored, expected)) return stored
        writeCheckpoint(sql, handle.current, next)
        return next
      }),
  } satisfies Partial<ReadModel>
}

function parkedOperations({ sql, access: { read, write }, handle }: Parts) {
  return {
    park: (event) => write(() => void sql.park.run(handle.current, event.customerId, JSON.stringify(event))),

    unpark: (customerId) => write(() => void sql.unpark.run(handle.current, customerId)),

    parked: () =>
      read(() => (sql.parked.all(handle.current) as { event: string }[]).flatMap(({ event }) => readParked(event))),
  } satisfies Partial<ReadModel>
}

function scrubOperations({ database, sql, access: { read, write } }: Parts) {
  return {
    requestScrub: () => write(() => void sql.requestScrub.run(crypto.randomUUID())),

    isScrubPending: () => read(() => sql.pendingScrubs.get() !== undefined),

    async scrub() {
      const pending = await read(() => sql.pendingScrubs.all() as { id: string }[])
      await read(() => emptyWal(database))
      if (pending.length > 0) await write(() => pending.forEach(({ id }) => void sql.settleScrub.run(id)))
    },
  } satisfies Partial<ReadModel>
}
