/**
 * The embedded event store: one SQLite file that several processes may share, with EventStoreDB's semantics.
 *
 * Appends made at the same time go into one transaction (group-commit.ts), so that one flush to disk serves all of
 * them. Writers of several processes take turns (BEGIN IMMEDIATE), so positions become visible in order and no gap is
 * ever filled later.
 */
import { realpathSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { checkCount, checkEnd, checkExpectedRevision, checkMetadata, checkStreamName } from '../argument-checks.ts'
import { offerBulkAppends } from '../bulk-appends.ts'
import {
  type EventStore,
  InvalidArgument,
  type Position,
  type ReadAllOptions,
  type ReadStreamOptions,
  type RecordedEvent,
  StreamDeleted,
  type StreamMetadata,
  StreamNotFound,
  type SubscribeToAllOptions,
  type SubscribeToStreamOptions,
  type Subscription,
} from '../port.ts'
import { type Access, accessTo } from './access.ts'
import { createBulkWriter } from './bulk-writer.ts'
import { createChanges, joinStores } from './changes.ts'
import { closeSqliteFile, describeFile, fileWatch } from './file.ts'
import { createGroupCommit } from './group-commit.ts'
import { type Page, pagesOfAll, type ReadPageOfAll, readPage } from './pages.ts'
import { encodeEvents, positionOf, recorded } from './rows.ts'
import {
  DELETED,
  dataVersion,
  type EventRow,
  isDeleted,
  lastPosition,
  metadataOf,
  openLog,
  positionIn,
  revisionIn,
  type SqliteLog,
  streamRow,
} from './schema.ts'
import { createSubscriptions, type Subscriptions } from './subscriptions.ts'
import { createWrites } from './writes.ts'

/** How many events a read fetches at once; also the default batch size of a subscription. */
const PAGE = 500
const BATCH = 500

/** The size of a write that changes a stream's metadata, for its share of a transaction. */
const ONE = { events: 1, bytes: 0 }

/** The context of reads and subscriptions. */
interface Reading {
  readonly log: SqliteLog
  readonly access: Access
  readonly pages: ReturnType<typeof pagesOfAll>
  readonly subscriptions: Subscriptions
}

/**
 * Opens the store, creating the file if it is missing.
 * @param options.isCopy whether it is a copy that nobody writes to, such as a backup: it is only read
 * @throws SqliteFileError for a file that is not an event store or can't be opened
 */
export function openSqliteEventStore({
  path,
  isCopy,
}: {
  readonly path: string
  readonly isCopy?: boolean
}): EventStore {
  const log = openLog(path, isCopy)
  const watch = isCopy ? undefined : fileWatch(log.database, path)
  const access = accessTo(log, watch)
  const changes = createChanges(() => dataVersion(log))
  const siblings = joinStores(realpathSync(path), changes.poll)
  const subscriptions = createSubscriptions(access, changes)
  const reading: Reading = { log, access, pages: pagesOfAll(log), subscriptions }
  const writes = createWrites(log)
  const checkFile = () => watch?.check()
  const commits = createGroupCommit(log.database, {
    onBegin() {
      checkFile()
      writes.begin()
    },
    onCommit() {
      writes.commit()
      announceCommit()
    },
  })
  const announceCommit = () => {
    changes.announce()
    siblings.notifyOthers()
  }
  const bulk = createBulkWriter({ path, log, access, checkFile, onCommit: announceCommit })
  let closing: Promise<void> | undefined

  async function finish(): Promise<void> {
    subscriptions.refuse()
    await Promise.all([commits.close(), bulk.close()])
    await subscriptions.end()
    changes.close()
    siblings.leave()
    closeSqliteFile(log.database, watch)
  }

  const store: EventStore = {
    readsFromAnyPosition: true,

    async append(stream, events, { expected }) {
      checkStreamName(stream)
      checkExpectedRevision(expected)
      if (events.length === 0) {
        const row = await access.read(() => streamRow(log, stream))
        return { revision: isDeleted(row) ? -1 : (row?.revision ?? -1) }
      }
      const { encoded, bytes } = encodeEvents(events)
      return commits.enqueue({ events: events.length, bytes }, () => writes.append(stream, encoded, expected))
    },

    readStream: (stream, options) => readStream(reading, stream, options),
    readAll: (options) => readAll(reading, options),
    subscribeToAll: (options) => subscribeToAll(reading, options),
    subscribeToStream: (stream, options) => subscribeToStream(reading, stream, options),

    async deleteStream(stream, { expected }) {
      checkStreamName(stream)
      checkExpectedRevision(expected)
      await commits.enqueue(ONE, () => writes.delete(stream, expected))
      await access.scrub()
    },

    async tombstoneStream(stream, { expected }) {
      checkStreamName(stream)
      checkExpectedRevision(expected)
      await commits.enqueue(ONE, () => writes.tombstone(stream, expected))
    },

    async setStreamMetadata(stream, metadata) {
      checkStreamName(stream)
      checkMetadata(metadata)
      // Encoded now, and copied: an event that is not JSON must not fail the transaction that others share.
      const wanted = JSON.parse(JSON.stringify(metadata)) as StreamMetadata
      await commits.enqueue(ONE, () => writes.setMetadata(stream, wanted))
      if (metadata.$tb !== undefined) await access.scrub()
    },

    async getStreamMetadata(stream) {
      const row = await access.read(() => streamRow(log, stream))
      if (row?.tombstoned) throw new StreamDeleted(stream)
      return metadataOf(row)
    },

    async ping() {
      await access.read(() => lastPosition(log))
      await access.read(checkFile)
    },

    describe: async () => access.read(() => describeFile(log.database)),

    close() {
      closing ??= finish()
      return closing
    },
  }
  return offerBulkAppends(store, bulk)
}

async function* readStream(
  { log, access }: Reading,
  stream: string,
  { direction = 'forwards', from, maxCount = DELETED }: ReadStreamOptions = {},
): AsyncGenerator<RecordedEvent> {
  const forwards = direction === 'forwards'
  let next = from === undefined ? (forwards ? 0 : DELETED) : from === 'start' ? 0 : from === 'end' ? DELETED : from
  if (!Number.isSafeInteger(next) || next < 0)
    throw new InvalidArgument(`A stream can't be read from revision ${next}.`)
  checkCount(maxCount, 'maxCount')
  for (let left = maxCount; left > 0; ) {
    const { rows, full } = await access.read(() => readPage(log, stream, forwards, next, Math.min(PAGE, left)))
    for (const row of rows) yield recorded(row)
    if (!full) return
    left -= rows.length
    const revision = revisionIn(rows.at(-1) as EventRow)
    next = forwards ? revision + 1 : revision - 1
    if (next < 0) return
    await nextTurn() // a long read lets others have their turn
  }
}

async function* readAll(
  { log, access, pages }: Reading,
  { direction = 'forwards', from, to: end, maxCount = DELETED, filter, systemEvents = false }: ReadAllOptions = {},
): AsyncGenerator<RecordedEvent> {
  const forwards = direction === 'forwards'
  const start = from ?? (forwards ? 'start' : 'end')
  let next = start === 'start' ? 0 : start === 'end' ? DELETED : startOf(log, access, start)
  checkCount(maxCount, 'maxCount')
  checkEnd(end, forwards)
  const readPageOfAll = pages(forwards, filter, systemEvents, end && Number(end.commit))
  for (let left = maxCount; left > 0; ) {
    const { rows, to, more } = await access.read(() => readPageOfAll(next, Math.min(PAGE, left)))
    for (const row of rows) yield recorded(row)
    if (!more) return
    left -= rows.length
    next = forwards ? to + 1 : to - 1
    await nextTurn()
  }
}

/** Where a read of all streams starts; a position without an event is a corrupt checkpoint. */
function startOf(log: SqliteLog, access: Access, { commit, prepare }: Position): number {
  if (commit !== prepare || commit < 0n || commit > BigInt(access.readNow(() => lastPosition(log)))) {
    throw new InvalidArgument(`Position ${commit}/${prepare} is not one of this log.`)
  }
  return Number(commit)
}

function subscribeToAll(
  { log, access, pages, subscriptions }: Reading,
  { from, filter, batchSize = BATCH }: SubscribeToAllOptions,
): Subscription {
  checkCount(batchSize, 'batchSize')
  const readPageOfAll: ReadPageOfAll = pages(true, filter, false)
  let done =
    from === 'start' ? 0 : from === 'end' ? access.readNow(() => lastPosition(log)) : startOf(log, access, from)
  return subscriptions.open(() => {
    const { rows, to, more } = readPageOfAll(done + 1, batchSize)
    done = to
    return { events: rows.map(recorded), checkpoint: positionOf(to), caughtUp: !more }
  })
}

function subscribeToStream(
  { log, access, subscriptions }: Reading,
  stream: string,
  { from, batchSize = BATCH }: SubscribeToStreamOptions,
): Subscription {
  checkStreamName(stream)
  checkCount(batchSize, 'batchSize')
  if (typeof from === 'number') checkExpectedRevision(from)
  const end = () => access.readNow(() => streamRow(log, stream))?.revision ?? -1
  let done = from === 'start' ? -1 : from === 'end' ? end() : from
  let checkpoint = positionOf(0)
  return subscriptions.open(() => {
    let page: Page = { rows: [], full: false }
    try {
      page = readPage(log, stream, true, done + 1, batchSize)
    } catch (error) {
      if (!(error instanceof StreamNotFound)) throw error
    }
    const last = page.rows.at(-1)
    if (last) {
      done = revisionIn(last)
      checkpoint = positionOf(positionIn(last))
    }
    return { events: page.rows.map(recorded), checkpoint, caughtUp: !page.full }
  })
}
