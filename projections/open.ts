/** The read model that a URL names. */
import type { ReadModel } from './read-model.ts'
import { openSqliteReadModel } from './sqlite.ts'

/**
 * @param url `sqlite:PATH`
 * @throws SqliteFileError where the file can't be used; TypeError for another scheme
 */
export function openReadModel(url: string): ReadModel {
  if (url.startsWith('sqlite:')) return openSqliteReadModel({ path: url.slice('sqlite:'.length) })
  throw new TypeError(`Read model URL scheme "${url.split(':')[0]}:" is not supported; accepted: sqlite:PATH.`)
}
