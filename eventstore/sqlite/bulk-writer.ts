/**
 * Bulk appends to the file by a thread of their own, which starts with the first of them. While it writes and waits for the
 * disk, this thread prepares the next ones. docs/decisions/0010-bulk-appends.md has the measurements.
 */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { checkStreamName } from '../argument-checks.ts'
import { type BulkAppends, type Sequence, writeConverted } from '../bulk-appends.ts'
import { AppendTooLarge, EventStoreUnavailable, InvalidArgument } from '../port.ts'
import type { Access } from './access.ts'
import { encodeEvents } from './rows.ts'
import type { SqliteLog } from './schema.ts'

/**
 * The appends of a sequence as the thread gets them: flat, because each object costs time on its way. An append is its
 * stream, the revision that the stream must be at (-1: it must not exist), how many events there are, and four texts for
 * each of them: id, type, data and metadata, both as JSON.
 */
export type EncodedSequence = readonly (string | number | null)[]

export interface BulkRequest {
  readonly sequences: readonly EncodedSequence[]
}

export type BulkReply = { readonly written: readonly boolean[] } | { readonly error: string }

/** The most memory that the thread keeps for short-lived objects. MiB. */
const YOUNG_GENERATION_MB = 8

export interface BulkWriter extends BulkAppends {
  /** Refuses further writes. Resolves when those under way are committed. */
  close(): Promise<void>
}

interface BulkWriterOptions {
  readonly path: string
  readonly log: SqliteLog
  readonly access: Access
  /** Throws Error if the file is no longer the one at its path. */
  readonly checkFile: () => void
  readonly onCommit: () => void
}

/** @param options.onCommit called when a transaction is committed */
export function createBulkWriter({ path, access, log, checkFile, onCommit }: BulkWriterOptions): BulkWriter {
  let thread: WriterThread | undefined
  let isClosed = false

  async function send(sequences: BulkRequest['sequences']): Promise<readonly boolean[]> {
    try {
      checkFile()
    } catch (error) {
      throw new EventStoreUnavailable(`The event store can't be written: ${(error as Error).message}.`)
    }
    thread ??= startThread(path)
    const written = await thread.write({ sequences })
    onCommit()
    return written
  }

  return {
    write(sequences) {
      if (isClosed) return Promise.reject(new EventStoreUnavailable('The event store is closed.'))
      return writeConverted(sequences, encodeSequence, send)
    },

    async prepare() {},

    metadataAt(stream, revision) {
      try {
        const row = access.readNow(() => log.sql.metadataAt.get(stream, revision)) as { metadata: unknown } | undefined
        return typeof row?.metadata === 'string' ? row.metadata : undefined
      } catch {
        return undefined // the ordinary append waits for a lock, or reports what is wrong
      }
    },

    readTogether(work) {
      if (!log.database.isOpen) return work()
      log.database.exec('BEGIN')
      try {
        return work()
      } finally {
        log.database.exec('COMMIT')
      }
    },

    async close() {
      isClosed = true
      await thread?.close()
    },
  }
}

/** @returns undefined for what `append` refuses, or what is not JSON */
function encodeSequence(sequence: Sequence): EncodedSequence | undefined {
  try {
    const parts: (string | number | null)[] = []
    for (const { stream, events, expected } of sequence) {
      checkStreamName(stream)
      parts.push(stream, expected === 'no_stream' ? -1 : expected, events.length)
      for (const { id, type, data, metadata } of encodeEvents(events).encoded)
        parts.push(id, type, text(data), text(metadata))
    }
    return parts
  } catch (error) {
    if (error instanceof InvalidArgument || error instanceof AppendTooLarge) return undefined
    throw error
  }
}

function text<T extends string | null>(content: T | Uint8Array): T {
  if (content instanceof Uint8Array) throw new InvalidArgument('Events that are appended in bulk are JSON.')
  return content
}

interface WriterThread {
  write(request: BulkRequest): Promise<readonly boolean[]>
  close(): Promise<void>
}

function startThread(path: string): WriterThread {
  const worker = new Worker(new URL('./bulk-writer-thread.ts', import.meta.url), {
    workerData: { path },
    execArgv: [], // options such as --input-type or --import concern the main thread
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  })
  const ended = once(worker, 'exit').catch(() => {})
  /** Answered in this order. */
  const pending: PromiseWithResolvers<readonly boolean[]>[] = []
  let failure: EventStoreUnavailable | undefined
  let isClosing = false

  function fail(reason: string): void {
    failure ??= new EventStoreUnavailable(`The event store can't be written: ${reason}.`)
    for (const { reject } of pending.splice(0)) reject(failure)
  }
  worker.on('error', ({ message }: Error) => fail(message))
  worker.on('exit', () => fail('its thread has ended'))
  worker.on('message', (reply: BulkReply) => {
    const first = pending.shift()
    if ('written' in reply) first?.resolve(reply.written)
    else first?.reject(new EventStoreUnavailable(`The event store can't be written: ${reply.error}.`))
    if (pending.length === 0 && !isClosing) worker.unref() // an idle thread does not keep the process alive
  })

  return {
    write(request) {
      if (failure) return Promise.reject(failure)
      const answer = Promise.withResolvers<readonly boolean[]>()
      pending.push(answer)
      worker.ref()
      worker.postMessage(request)
      return answer.promise
    },

    async close() {
      isClosing = true
      worker.ref()
      worker.postMessage(null)
      await ended
    },
  }
}
