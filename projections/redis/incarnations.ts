/** The names of the incarnations: of each server one, and on a server one for each database. */
import type { RedisConnection } from './connection.ts'

/**
 * Names the incarnation in the connection's database: a server has one `master_replid` for all its databases, and a mark in
 * one of them says nothing to who reads another.
 * @param run as the scripts return it; '' on a replica
 */
export const incarnationIn = ({ database }: Pick<RedisConnection, 'database'>, run: string): string =>
  run === '' || database === 0 ? run : `${run}/${database}`
