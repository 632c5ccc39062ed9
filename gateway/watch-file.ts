/** Watches one file for a new content. */
import { unwatchFile, watchFile } from 'node:fs'
import { readFile } from 'node:fs/promises'

/**
 * Calls `changed` with the text of the file whenever it was written. The file is looked at in intervals, since that works on every
 * file system: also on network and container mounts, and for a link that is pointed elsewhere.
 * @param failed told when the file can't be read
 * @returns a function that ends the watch
 */
export function watchText(
  path: string,
  intervalMs: number,
  changed: (text: string) => void,
  failed: (error: Error) => void,
): () => void {
  let last: string | undefined
  const listener = () => {
    readFile(path, 'utf8').then((text) => {
      if (text === last) return
      last = text
      changed(text)
    }, failed)
  }
  watchFile(path, { interval: intervalMs, persistent: false }, listener)
  return () => unwatchFile(path, listener)
}
