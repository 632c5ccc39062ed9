/** The read model that a URL names. */
import type { ReadModel } from './read-model.ts'
import { openRedisReadModel } from './redis.ts'
import { REDIS_URLS } from './redis-url.ts'
import { openSqliteReadModel } from './sqlite.ts'

/**
 * @param url `sqlite:PATH` or one of `REDIS_URLS`
 * @throws SqliteFileError where the file can't be used; TypeError for another URL
 */
export function openReadModel(url: string): ReadModel {
  if (url.startsWith('sqlite:')) return openSqliteReadModel({ path: url.slice('sqlite:'.length) })
  if (/^rediss?(-sentinel|-cluster)?:/.test(url)) return openRedisReadModel(url)
  const [scheme] = url.split(':')
  throw new TypeError(`Read model URL scheme "${scheme}:" is not supported; accepted: sqlite:PATH, ${REDIS_URLS}.`)
}
