/** Removes overwritten data from the files that a Redis server keeps on disk. */
import { setTimeout as delay } from 'node:timers/promises'
import { REFUSED, unavailable } from './errors.ts'

/** How long a server may take to rewrite its files. */
const SCRUB_LIMIT_MS = 60_000
const POLL_MS = 50

const IN_PROGRESS = /^(loading|aof_rewrite_in_progress|aof_rewrite_scheduled|rdb_bgsave_in_progress):1/m
/**
 * A snapshot was made, or one was loaded: by a server that was started again, or has been a replica. One that loaded its
 * append-only file says the same; it gets a snapshot that it would not need.
 */
const HAS_SNAPSHOT = /^(rdb_saves|rdb_last_load_keys_loaded|rdb_last_load_keys_expired):[1-9]/m

/**
 * Makes one server rewrite its files.
 * @param send returns REFUSED for a command that the server refuses; then the files are left to the operator of the
 * server
 * @throws ReadModelUnavailable if that takes longer than a minute, or fails: the old files are still there then
 */
export async function rewriteFiles(send: (...command: string[]) => Promise<unknown>): Promise<void> {
  const started = performance.now()
  const idle = async () => {
    for (;;) {
      const info = await read()
      if (!IN_PROGRESS.test(info)) return info
      if (performance.now() - started > SCRUB_LIMIT_MS) throw unavailable('it is still writing its files')
      await delay(POLL_MS)
    }
  }
  const read = async () => String(await send('INFO', 'persistence'))

  /** @param failed what INFO says after a rewrite that failed */
  async function rewrite(command: string, failed: RegExp): Promise<void> {
    // It is also refused while the server writes for another reason, which may have begun since.
    while ((await send(command)) === REFUSED) {
      const info = await read()
      if (IN_PROGRESS.test(info)) await idle()
      // It has tried: its disk is full, or there is no memory for another process.
      else if (failed.test(info)) break
      else return
    }
    if (failed.test(await idle())) throw unavailable('it could not write its files')
  }

  if (/^aof_enabled:1/m.test(await idle())) await rewrite('BGREWRITEAOF', /^aof_last_bgrewrite_status:err/m)
  // Not if there are none: we must not create a snapshot.
  const setting = (await send('CONFIG', 'GET', 'save')) as { readonly save?: string } | readonly string[]
  const saving = Array.isArray(setting) ? setting[1] : (setting as { readonly save?: string }).save
  if (!saving && !HAS_SNAPSHOT.test(await idle())) return
  await rewrite('BGSAVE', /^rdb_last_bgsave_status:err/m)
}
