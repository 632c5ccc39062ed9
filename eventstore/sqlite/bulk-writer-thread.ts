/** The thread of bulk-writer.ts: it writes to the file through a connection of its own. */
import type { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import type { BulkReply, BulkRequest, EncodedAppend } from './bulk-writer.ts'
import { openConnection, transaction, withLock } from './file.ts'

/** After each transaction the lock is free for this long, so that other processes get their turn. Milliseconds. */
const REST_MS = 1

const port = parentPort as NonNullable<typeof parentPort>
const database = openConnection((workerData as { readonly path: string }).path)
const append = createAppend(database)

/** One request after another: they arrive in the order in which they have to be written. */
let turn: Promise<void> = Promise.resolve()

port.on('message', (request: BulkRequest | null) => {
  turn = turn.then(() => (request === null ? finish() : write(request)))
})

async function write({ sequences }: BulkRequest): Promise<void> {
  let reply: BulkReply
  try {
    const written = await withLock(() => transaction(database, () => sequences.map((each) => each.every(append))))
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
 * Returns a function that makes an append inside a transaction, or returns false before it has written anything. It only
 * handles streams without metadata, so it knows no limits and no deleted streams.
 */
function createAppend(database: DatabaseSync): (append: EncodedAppend) => boolean {
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

  return ({ stream, revision, texts }) => {
    const last = revision + texts.length / 4
    const row = streamAt(stream, revision, last)
    if (row === undefined) return false
    const created = Date.now()
    for (let at = 0, next = revision + 1; at < texts.length; at += 4, next++) {
      add.run(row, next, texts[at] ?? '', texts[at + 1] ?? '', texts[at + 2] ?? '', texts[at + 3] ?? null, created)
    }
    return true
  }
}
