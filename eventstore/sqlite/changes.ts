/**
 * How subscriptions learn of commits: of their own store and of others of this process at once, of other processes (each
 * commit of another connection changes SQLite's data_version) by polling.
 */

/** How often other processes' commits are polled for while a subscription waits. Milliseconds. */
const POLL_MS = 10

export interface Changes {
  /** Wakes all who wait: something was committed, or they are to end. */
  announce(): void
  /** Checks whether another connection has committed, and announces that. */
  poll(): void
  /** How many changes there were by now. @throws SQLite's errors */
  count(): number
  /** Resolves when there was a change after the count was `seen`. */
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

  /** Whoever sees a change announces it to all: the next check finds nothing new. */
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
      // The next poll tries again; a read reports what is wrong.
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

/** The stores of this process by file: each learns of the others' commits at once, not at its next poll. */
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
    /** To be called after a commit of this store. */
    notifyOthers(): void {
      for (const each of stores) if (each !== onCommit) each()
    },
    leave(): void {
      stores.delete(onCommit)
      if (stores.size === 0) storesOfFile.delete(file)
    },
  }
}
