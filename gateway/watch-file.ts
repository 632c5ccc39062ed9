/** Watches one file for changes. */
import { unwatchFile, watchFile } from 'node:fs'
import { readFile } from 'node:fs/promises'

/**
 * Calls `changed` with the file's text whenever it has changed. The file is polled, because that works on every file
 * system, including network and container mounts, and for links that are redirected.
 * @param known its text as it was read before: it may have changed since
 * @param failed called when the file can't be read, once for each reason until it can
 * @returns a function that ends the watch
 */
export function watchText(
  path: string,
  intervalMs: number,
  known: string | undefined,
  changed: (text: string) => void,
  failed: (error: Error) => void,
): () => void {
  let last = known
  let begun = 0
  let done = 0
  let told: string | undefined
  let retry: NodeJS.Timeout | undefined
  const fail = (error: Error) => {
    // The same text is news once it can be read again.
    last = undefined
    // A process that has too many files open can't read it just then, and it may not change any more.
    retry = setTimeout(read, intervalMs).unref()
    if (error.message !== told) failed(error)
    told = error.message
  }
  function read(): void {
    clearTimeout(retry)
    const own = ++begun
    /** Reads may overtake each other, and no other would follow the last one. */
    const isNews = () => {
      if (own < done) return false
      done = own
      return true
    }
    readFile(path, 'utf8').then(
      (text) => {
        if (!isNews()) return
        told = undefined
        if (text === last) return
        last = text
        changed(text)
      },
      (error) => isNews() && fail(error),
    )
  }
  watchFile(path, { interval: intervalMs, persistent: false }, read)
  // It compares with the file as it is now, and tells only of what comes later.
  read()
  return () => {
    done = Number.POSITIVE_INFINITY // what is being read is no news any more
    clearTimeout(retry)
    unwatchFile(path, read)
  }
}
