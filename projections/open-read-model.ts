/** Opens the read model that a URL names. */
import type { ReadModel } from './read-model.ts'
import { openSqliteReadModel } from './sqlite/read-model.ts'

/** How long a call of an operator's command waits for its answer, in milliseconds: nobody's page waits for it. */
const COMMAND_DEADLINE_MS = 10_000

/**
 * The driver of Redis is loaded with the first URL of it: processes on the embedded read model start sooner without it.
 * @param url `sqlite:PATH` or one of `REDIS_URLS` (redis/url.ts)
 * @param options.generation the one to work on; default: the live one, as of the first use and of each `follow`
 * @param options.deadlineMs how long a call waits for the answer of Redis; default: less than a second
 * @throws SqliteFileError if the file can't be used; ConfigurationError for another URL
 */
export async function openReadModel(
  url: string,
  options: { readonly generation?: number; readonly deadlineMs?: number } = {},
): Promise<ReadModel> {
  if (url.startsWith('sqlite:')) return openSqliteReadModel({ path: url.slice('sqlite:'.length), ...options })
  const { openRedisReadModel } = await import('./redis/read-model.ts')
  return openRedisReadModel(url, options)
}

/** As `openReadModel`, for an operator's command. @param generation default: the live one */
export const openForCommand = (url: string, generation?: number): Promise<ReadModel> =>
  openReadModel(url, { deadlineMs: COMMAND_DEADLINE_MS, ...(generation !== undefined && { generation }) })
