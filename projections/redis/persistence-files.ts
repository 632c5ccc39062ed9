/** Removes what was overwritten from the files that a Redis server keeps on disk. */
import { setTimeout as delay } from 'node:timers/promises'
import { unavailable } from './errors.ts'

/** How long a server may take to write its files anew. */
const SCRUB_LIMIT_MS = 60_000
const POLL_MS = 50

/**
 * Has one server write its files anew.
 * @param send a command that the server refuses gives REFUSED: then it is left to whoever runs the server
 * @throws ReadModelUnavailable where that takes longer than a minute
 */
export async function rewriteFiles(send: (...command: string[]) => Promise<unknown>): Promise<void> {
  const started = Date.now()
  const idle = async () => {
    for (;;) {
      const info = String(await send('INFO', 'persistence'))
      if (!/^(aof_rewrite_in_progress|aof_rewrite_scheduled|rdb_bgsave_in_progress):1/m.test(info)) return info
      if (Date.now() - started > SCRUB_LIMIT_MS) throw unavailable('it is still writing its files')
      await delay(POLL_MS)
    }
  }
  if (/^aof_enabled:1/m.test(await idle())) {
    await send('BGREWRITEAOF')
    await idle()
  }
  // Not where there are none: there must be no snapshot because of us.
  const setting = (await send('CONFIG', 'GET', 'save')) as { readonly save?: string } | readonly string[]
  const saving = Array.isArray(setting) ? setting[1] : (setting as { readonly save?: string }).save
  if (!saving && !/^rdb_saves:[1-9]/m.test(await idle())) return
  await send('BGSAVE')
  await idle()
}
