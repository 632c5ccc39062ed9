/** Opens the read model that a URL names. */
import type { ReadModel } from './read-model.ts'
import { openRedisReadModel } from './redis/read-model.ts'
import { openSqliteReadModel } from './sqlite/read-model.ts'

/**
 * @param url `sqlite:PATH` or one of `REDIS_URLS` (redis/url.ts)
 * @param options.generation the one to work on; default: the live one, as of the first use and of each `follow`
 * @throws SqliteFileError if the file can't be used; ConfigurationError for another URL
 */
export function openReadModel(url: string, options: { readonly generation?: number } = {}): ReadModel {
  if (url.startsWith('sqlite:')) return openSqliteReadModel({ path: url.slice('sqlite:'.length), ...options })
  return openRedisReadModel(url, options)
}
