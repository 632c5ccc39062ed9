/** The thread of bulk-writer.ts: it writes to the file through a connection of its own. */
import type { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import type { BulkReply, BulkRequest, EncodedSequence } from './bulk-writer.ts'
import { openConnection, transaction, withLock } from './file.ts'

/** After each transaction the lock is free for this long, so that other processes get their turn. Milliseconds. */
const REST_MS = 1

/** How many parts of a sequence an append has before its events, and how many an event has. */
const APPEND_PARTS = 3
const EVENT_PARTS = 4

const port = parentPort as NonNullable<typeof parentPort>
const database = openConnection((workerData as { readonly path: string }).path)
const writeSequence = createWrite(database)

/** One request after another: they arrive in the order in which they have to be written. */
let turn: Promise<void> = Promise.resolve()

port.on('message', (request: BulkRequest | null) => {
  turn = turn.then(() => (request === null ? finish() : write(request)))
})

async function write({ sequences }: BulkRequest): Promise<void> {
  let reply: BulkReply
  try {
    const written = await withLock(() => transaction(database, () => sequences.map(writeSequence)))
    reply = { written }
  } catch (error) {
    reply = { error: (error as Error).message }
  }
  port.postMessage(reply)
  await delay(REST_MS)
}

function finish(): void {
  database.close()
  port.close()
}

/**
 * Returns a function that makes the appends of a sequence inside a transaction. It returns false before an append that can't
 * be made. It only handles streams without metadata, so it knows no limits and no deleted streams.
 */
function createWrite(database: DatabaseSync): (sequence: EncodedSequence) => boolean {
  const create = database.prepare('INSERT INTO streams (name, revision) VALUES (?, ?) ON CONFLICT DO NOTHING')
  const advance = database.prepare(
    `UPDATE streams SET revision = ? WHERE name = ? AND revision = ? AND metadata IS NULL AND tombstoned = 0
     RETURNING id`,
  )
  const add = database.prepare(
    'INSERT INTO events (stream, revision, id, type, data, metadata, created) VALUES (?, ?, ?, ?, ?, ?, ?)',
  )

  function streamAt(name: string, revision: number, last: number): number | bigint | undefined {
    if (revision !== -1) return (advance.get(last, name, revision) as { id: number } | undefined)?.id
    const { changes, lastInsertRowid } = create.run(name, last)
    return changes === 1 ? lastInsertRowid : undefined
  }

  return (parts) => {
    const created = Date.now()
    for (let at = 0; at < parts.length; ) {
      const [stream, revision, count] = parts.slice(at, at + APPEND_PARTS) as [string, number, number]
      const last = revision + count
      const row = streamAt(stream, revision, last)
      if (row === undefined) return false
      at += APPEND_PARTS
      for (let next = revision + 1; next <= last; next++, at += EVENT_PARTS) {
        add.run(row, next, parts[at] ?? '', parts[at + 1] ?? '', parts[at + 2] ?? '', parts[at + 3] ?? null, created)
      }
    }
    return true
  }
}
