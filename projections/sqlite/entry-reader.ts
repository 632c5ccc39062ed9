/**
 * What queries read: document and mark of each customer. Reads that come in one turn of the event loop, from whichever
 * requests, share one transaction: each one of its own would take and release a lock of the file.
 */
import type { DatabaseSync } from 'node:sqlite'
import { endOfTurn } from '../../runtime/end-of-turn.ts'
import { createDocumentCache } from '../document-cache.ts'
import { type ReadModelEntry, UNKNOWN } from '../read-model.ts'
import { readDocument } from '../stored-values.ts'
import type { Access } from './access.ts'
import { LARGEST, type Statements } from './schema.ts'

type EntryRow = readonly [mark: number | null, revision: number | null, document: string | null]

interface Batch {
  readonly ids: number[]
  readonly entries: Promise<readonly ReadModelEntry[]>
}

/**
 * Makes `get` of the port.
 * @param generation the one that the handle works on
 * @param incarnation of the file
 */
export function createEntryReader(
  { database, sql, access }: { readonly database: DatabaseSync; readonly sql: Statements; readonly access: Access },
  generation: () => number,
  incarnation: string,
): (ids: readonly number[], trusted?: ReadonlySet<string>) => Promise<readonly ReadModelEntry[]> {
  const documents = createDocumentCache()
  /** The batch of this turn. */
  let open: Batch | undefined

  function readOne(id: number): ReadModelEntry {
    const [mark, revision, document] = sql.entry.get(generation(), id) as unknown as EntryRow
    // Without its mark nobody knows whether a document is behind.
    if (mark === LARGEST) return { document: null, acknowledged: -1 }
    const acknowledged = mark ?? -1
    if (document === null || revision === null) return { document: null, acknowledged }
    const found = documents.read(id, document, (text) => readDocument(text, id, revision))
    return { document: found?.revision === revision ? found : null, acknowledged }
  }

  function readAll(ids: readonly number[]): readonly ReadModelEntry[] {
    if (ids.length < 2) return ids.map(readOne)
    sql.begin.run()
    try {
      return ids.map(readOne)
    } finally {
      if (database.isTransaction) sql.commit.run()
    }
  }

  function batch(): Batch {
    if (open) return open
    const ids: number[] = []
    const entries = endOfTurn().then(() => {
      open = undefined
      return access.read(() => readAll(ids))
    })
    open = { ids, entries }
    return open
  }

  return (ids, trusted) => {
    if (trusted && !trusted.has(incarnation)) return Promise.resolve(ids.map(() => UNKNOWN))
    const { ids: all, entries } = batch()
    const first = all.length
    all.push(...ids)
    return entries.then((found) => found.slice(first, first + ids.length))
  }
}
