/**
 * Notifies subscriptions of commits: those of stores in this process immediately, those of other processes by polling
 * (a commit of another connection changes SQLite's data_version).
 */

/** The polling interval for commits of other processes while a subscription waits, in milliseconds. */
const POLL_MS = 10

export interface Changes {
  /** Wakes all waiters, after a commit or to end them. */
  announce(): void
  /** Checks whether another connection has committed, and announces that. */
  poll(): void
  /** The number of changes so far. @throws SQLite's errors */
  count(): number
  /** Resolves once the number of changes exceeds `seen`. */
  after(seen: number): Promise<void>
  close(): void
}

export function createChanges(dataVersion: () => number): Changes {
  let count = 0
  let version = dataVersion()
  let waiting: (() => void)[] = []
  let timer: NodeJS.Timeout | undefined

  function announce(): void {
    count++
    const woken = waiting
    waiting = []
    for (const wake of woken) wake()
  }

  /** Announces a change to all, because the next check does not see it again. */
  function check(): void {
    const now = dataVersion()
    if (now === version) return
    version = now
    announce()
  }

  function poll(): void {
    try {
      check()
    } catch {
      // The next poll retries; a read reports the error.
    }
  }

  function pollWhileAwaited(): void {
    if (waiting.length > 0) {
      poll()
      return
    }
    clearInterval(timer)
    timer = undefined
  }

  return {
    announce,
    poll,
    count() {
      check()
      return count
    },
    async after(seen) {
      if (count !== seen) return
      timer ??= setInterval(pollWhileAwaited, POLL_MS).unref() // waiting for events does not keep a process alive
      await new Promise<void>((resolve) => {
        waiting.push(resolve)
      })
    },
    close() {
      clearInterval(timer)
      announce()
    },
  }
}

/** The stores of this process by file: each is notified of the others' commits at once, not at its next poll. */
const storesOfFile = new Map<string, Set<() => void>>()

/**
 * Adds a store to those of its file.
 * @param file its real path
 * @param onCommit called when another store of this process has committed
 */
export function joinStores(file: string, onCommit: () => void) {
  const stores = storesOfFile.get(file) ?? new Set()
  storesOfFile.set(file, stores.add(onCommit))
  return {
    /** Call it after a commit of this store. */
    notifyOthers(): void {
      for (const each of stores) if (each !== onCommit) each()
    },
    leave(): void {
      stores.delete(onCommit)
      if (stores.size === 0) storesOfFile.delete(file)
    },
  }
}
