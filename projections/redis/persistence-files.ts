/** Removes overwritten data from the files that a Redis server keeps on disk. */
import { setTimeout as delay } from 'node:timers/promises'
import { unavailable } from './errors.ts'

/** How long a server may take to rewrite its files. */
const SCRUB_LIMIT_MS = 60_000
const POLL_MS = 50

/**
 * Makes one server rewrite its files.
 * @param send returns REFUSED for a command that the server refuses; then the files are left to the operator of the
 * server
 * @throws ReadModelUnavailable if that takes longer than a minute
 */
export async function rewriteFiles(send: (...command: string[]) => Promise<unknown>): Promise<void> {
  const started = performance.now()
  const idle = async () => {
    for (;;) {
      const info = String(await send('INFO', 'persistence'))
      if (!/^(aof_rewrite_in_progress|aof_rewrite_scheduled|rdb_bgsave_in_progress):1/m.test(info)) return info
      if (performance.now() - started > SCRUB_LIMIT_MS) throw unavailable('it is still writing its files')
      await delay(POLL_MS)
    }
  }
  if (/^aof_enabled:1/m.test(await idle())) {
    await send('BGREWRITEAOF')
    await idle()
  }
  // Not if there are none: we must not create a snapshot.
  const setting = (await send('CONFIG', 'GET', 'save')) as { readonly save?: string } | readonly string[]
  const saving = Array.isArray(setting) ? setting[1] : (setting as { readonly save?: string }).save
  if (!saving && !/^rdb_saves:[1-9]/m.test(await idle())) return
  await send('BGSAVE')
  await idle()
}
