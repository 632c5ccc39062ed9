/** Watches one file for changes. */
import { unwatchFile, watchFile } from 'node:fs'
import { readFile } from 'node:fs/promises'

/**
 * Calls `changed` with the file's text whenever it has changed. The file is polled, because that works on every file
 * system, including network and container mounts, and for links that are redirected.
 * @param known its text as it was read before: it may have changed since
 * @param failed called when the file can't be read
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
  const fail = (error: Error) => {
    // The same text is news once it can be read again.
    last = undefined
    failed(error)
  }
  const listener = () => {
    const read = ++begun
    /** Reads may overtake each other, and no other would follow the last one. */
    const isNews = () => {
      if (read < done) return false
      done = read
      return true
    }
    readFile(path, 'utf8').then(
      (text) => {
        if (!isNews() || text === last) return
        last = text
        changed(text)
      },
      (error) => isNews() && fail(error),
    )
  }
  watchFile(path, { interval: intervalMs, persistent: false }, listener)
  // It compares with the file as it is now, and tells only of what comes later.
  listener()
  return () => unwatchFile(path, listener)
}
