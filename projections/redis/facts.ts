/** What an operator may want to know of the servers of Redis. */
import type { StoreFact } from '../../eventstore/port.ts'
import { inBytes } from '../../runtime/bytes.ts'
import type { RedisConnection } from './connection.ts'

/** @throws ReadModelUnavailable */
export async function describeRedis(redis: RedisConnection): Promise<readonly StoreFact[]> {
  const infos = await redis.info()
  const isOne = infos.length === 1
  return [
    { name: 'Kind', value: KINDS[redis.kind] ?? redis.kind },
    ...infos.flatMap((info, index) =>
      factsOf(info).map((fact) => (isOne ? fact : { ...fact, name: `Server ${index + 1}: ${fact.name}` })),
    ),
  ]
}

const KINDS: Readonly<Record<string, string>> = {
  server: 'Redis, one server',
  sentinel: 'Redis, a Sentinel group',
  cluster: 'Redis Cluster',
}

function factsOf(info: string | undefined): StoreFact[] {
  if (info === undefined) return [{ name: 'Settings', value: 'not known: the user may not call INFO' }]
  const field = (name: string) => new RegExp(`^${name}:([^\\r\\n]*)`, 'm').exec(info)?.[1]
  const [policy = 'not said', most = '0'] = [field('maxmemory_policy'), field('maxmemory')]
  const isKept = field('aof_enabled') === '1'
  return [
    { name: 'Server version', value: field('valkey_version') ?? field('redis_version') ?? 'not said' },
    { name: 'Role', value: field('role') ?? 'not said' },
    {
      name: 'maxmemory-policy',
      value: policy,
      ...(policy !== 'noeviction' &&
        policy !== 'not said' && {
          problem: 'Redis may drop documents and marks when it is full. Set maxmemory-policy to noeviction.',
        }),
    },
    { name: 'maxmemory', value: most === '0' ? 'no limit' : inBytes(Number(most)) },
    { name: 'Memory in use', value: inBytes(Number(field('used_memory') ?? 0)) },
    { name: 'Append-only file', value: isKept ? 'on' : 'off: after a restart the documents are filled again' },
    { name: 'Replicas connected', value: field('connected_slaves') ?? 'not said' },
  ]
}
