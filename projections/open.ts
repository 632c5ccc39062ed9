/** The read model that a URL names. */
import type { ReadModel } from './read-model.ts'
import { openRedisReadModel } from './redis.ts'
import { openSqliteReadModel } from './sqlite.ts'

/**
 * @param url `sqlite:PATH` or one of `REDIS_URLS` (redis-url.ts)
 * @throws SqliteFileError where the file can't be used; ConfigurationError for another URL
 */
export function openReadModel(url: string): ReadModel {
  if (url.startsWith('sqlite:')) return openSqliteReadModel({ path: url.slice('sqlite:'.length) })
  return openRedisReadModel(url)
}
