/** Watches one file for changes. */
import { unwatchFile, watchFile } from 'node:fs'
import { readFile } from 'node:fs/promises'

/**
 * Calls `changed` with the file's text whenever it has changed. The file is polled, because that works on every file
 * system, including network and container mounts, and for links that are redirected.
 * @param failed called when the file can't be read
 * @returns a function that ends the watch
 */
export function watchText(
  path: string,
  intervalMs: number,
  changed: (text: string) => void,
  failed: (error: Error) => void,
): () => void {
  let last: string | undefined
  const fail = (error: Error) => {
    // The same text is news once it can be read again.
    last = undefined
    failed(error)
  }
  const listener = () => {
    readFile(path, 'utf8').then((text) => {
      if (text === last) return
      last = text
      changed(text)
    }, fail)
  }
  watchFile(path, { interval: intervalMs, persistent: false }, listener)
  return () => unwatchFile(path, listener)
}
