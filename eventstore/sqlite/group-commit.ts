/** Group commit: concurrent writes share one transaction, and so one flush to disk. */
import type { DatabaseSync } from 'node:sqlite'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type AppendResult, EventStoreUnavailable, StreamDeleted, WrongExpectedRevision } from '../port.ts'
import { transaction, withLock } from './file.ts'

/** The largest transaction, unless a single append is larger: it blocks the event loop. */
const GROUP = 1_000
const GROUP_BYTES = 4 * 1024 * 1024

interface Size {
  readonly events: number
  readonly bytes: number
}

/** A write that waits for its transaction. */
interface Pending {
  readonly size: Size
  /** Runs inside the transaction; throws before it has written anything, or not at all. */
  readonly write: () => AppendResult
  readonly resolve: (result: AppendResult) => void
  readonly reject: (error: unknown) => void
}

interface Outcome {
  readonly result?: AppendResult
  readonly error?: unknown
}

export interface GroupCommit {
  /**
   * Runs the write in the next transaction.
   * @param write throws WrongExpectedRevision or StreamDeleted before it has written anything, which fails only this
   * write
   * @throws these | EventStoreUnavailable
   */
  enqueue(size: Size, write: () => AppendResult): Promise<AppendResult>
  /** Refuses further writes. Resolves when the writes under way are committed. */
  close(): Promise<void>
}

/**
 * @param hooks.onBegin called at the beginning of each transaction, also if it is repeated
 * @param hooks.onCommit called when a transaction is committed, before its writes resolve
 */
export function createGroupCommit(
  database: DatabaseSync,
  hooks: { readonly onBegin: () => void; readonly onCommit: () => void },
): GroupCommit {
  const pending: Pending[] = []
  let flushing: Promise<void> | undefined
  let isClosed = false

  function runGroup(group: readonly Pending[]): Promise<Outcome[]> {
    return withLock(() => {
      hooks.onBegin()
      return transaction(database, () => group.map(attempt))
    })
  }

  async function flush(): Promise<void> {
    while (pending.length > 0) {
      const group = pending.splice(0, groupLength(pending))
      try {
        const outcomes = await runGroup(group)
        hooks.onCommit()
        for (const [index, { resolve, reject }] of group.entries()) {
          const { result, error } = outcomes[index] as Outcome
          if (result) resolve(result)
          else reject(error)
        }
      } catch (error) {
        const reason = new EventStoreUnavailable(`The event store can't be written: ${(error as Error).message}.`)
        for (const { reject } of group) reject(reason)
      }
      if (pending.length > 0) await nextTurn()
    }
    flushing = undefined
  }

  return {
    enqueue(size, write) {
      if (isClosed) return Promise.reject(new EventStoreUnavailable('The event store is closed.'))
      return new Promise((resolve, reject) => {
        pending.push({ size, write, resolve, reject })
        // At the end of this turn of the event loop, so that writes of one turn share a transaction.
        flushing ??= nextTurn().then(flush)
      })
    },

    async close() {
      isClosed = true
      await flushing
    },
  }
}

/** How many of the pending writes, from the first on, fit into one transaction. */
function groupLength(pending: readonly Pending[]): number {
  let events = 0
  let bytes = 0
  const overflow = pending.findIndex(({ size }, index) => {
    events += size.events
    bytes += size.bytes
    return index > 0 && (events > GROUP || bytes > GROUP_BYTES)
  })
  return overflow === -1 ? pending.length : overflow
}

/** A refusal concerns one write; a failure of SQLite concerns the whole group. */
function attempt({ write }: Pending): Outcome {
  try {
    return { result: write() }
  } catch (error) {
    if (error instanceof WrongExpectedRevision || error instanceof StreamDeleted) return { error }
    throw error
  }
}
