/** What happens to the stores and the processes during a history, and how each is set right again. */
import { mkdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Part } from '../faults/service.ts'
import type { EventStoreServer } from '../support/eventstore-server/server.ts'
import { type RedisCluster, type RedisSentinel, type RedisServer, untilLinked } from '../support/redis.ts'
import { untilDone } from '../support/until.ts'
import type { TcpProxy } from './proxy.ts'
import type { Random } from './random.ts'

/** Does harm, waits, and sets it right. */
type Fault = (hold: () => Promise<void>) => Promise<void>
export type Faults = Readonly<Record<string, Fault>>

/** Holds it whatever happens meanwhile. */
async function during(begin: Promise<unknown>, hold: () => Promise<void>, end: () => unknown): Promise<void> {
  try {
    await begin
    await hold()
  } finally {
    await end()
  }
}

/** A command that does harm. Where another fault has the server down already, there is none to do. */
const harm = (server: RedisServer, ...command: string[]) => server.command(...command).catch(() => {})
/** A command that sets right what another did, however long another fault has the server down. */
const mend = (server: RedisServer, ...command: string[]) =>
  untilDone(command.join(' '), () => server.command(...command))

/** A server that refuses writes, each in its way, is frozen, flushed, killed. */
export function serverFaults(server: () => RedisServer | Promise<RedisServer>): Faults {
  const setting =
    (name: string, bad: string, good: string): Fault =>
    async (hold) => {
      const node = await server()
      await during(harm(node, 'CONFIG', 'SET', name, bad), hold, () => mend(node, 'CONFIG', 'SET', name, good))
    }
  const permission =
    (taken: string): Fault =>
    async (hold) => {
      const node = await server()
      await during(harm(node, 'ACL', 'SETUSER', 'default', taken), hold, () =>
        mend(node, 'ACL', 'SETUSER', 'default', '+@all'),
      )
    }
  return {
    'maxmemory is reached': setting('maxmemory', '1', '0'),
    'too few replicas': setting('min-replicas-to-write', '7', '0'),
    async 'maxmemory is reached now and then'(hold) {
      const node = await server()
      let isOver = false
      const flicker = (async () => {
        for (let turn = 0; !isOver; turn++) {
          await harm(node, 'CONFIG', 'SET', 'maxmemory', String((turn + 1) % 2))
          await delay(150)
        }
      })()
      await hold()
      isOver = true
      await flicker
      await mend(node, 'CONFIG', 'SET', 'maxmemory', '0')
    },
    'the user may not write': permission('-@write'),
    'the user may not read': permission('-@read'),
    'the user may not run scripts': permission('-@scripting'),
    async 'Redis stands still'(hold) {
      const node = await server()
      node.freeze()
      await hold()
      node.thaw()
    },
    async 'Redis is flushed'() {
      await harm(await server(), 'FLUSHALL')
    },
  }
}

/** A server alone with its files. */
export function fileFaults(server: RedisServer): Faults {
  const snapshot = join(server.folder, 'dump.rdb')
  return {
    async 'Redis is killed and comes back with an older snapshot'(hold) {
      await harm(server, 'SAVE')
      await delay(300)
      await server.kill()
      // It does not start while another fault has a folder in the snapshot's place.
      await during(Promise.resolve(), hold, () => untilDone('Redis is up again', () => server.start()))
    },
    /** A folder in the snapshot's place: MISCONF. */
    async 'snapshots fail'(hold) {
      // A snapshot that was under way may come in between.
      await untilDone('the folder is in its place', async () => {
        await rm(snapshot, { force: true, recursive: true })
        await mkdir(snapshot)
      })
      await harm(server, 'BGSAVE')
      await hold()
      await rmdir(snapshot)
      await mend(server, 'SAVE')
    },
    async 'Redis is made a replica'(hold) {
      await during(harm(server, 'REPLICAOF', '127.0.0.1', '1'), hold, () => mend(server, 'REPLICAOF', 'NO', 'ONE'))
    },
  }
}

/** Between the instances and two servers, of which one takes over from the other. */
export function networkFaults(
  random: Random,
  proxies: readonly TcpProxy[],
  servers: readonly [RedisServer, RedisServer],
): Faults {
  let main = 0
  return {
    async 'an instance is cut off from Redis'(hold) {
      const proxy = random.pick(proxies)
      proxy.cut()
      await hold()
      proxy.mend()
    },
    async 'the network to an instance is silent'(hold) {
      const proxy = random.pick(proxies)
      proxy.hang(true)
      await hold()
      proxy.hang(false)
    },
    /** Some go over to a new master at once, the others some time after; the old one takes writes all the while. */
    async 'two masters'(hold) {
      const [old, next] = [servers[main], servers[1 - main]] as [RedisServer, RedisServer]
      await mend(old, 'CONFIG', 'SET', 'maxmemory', '0')
      await mend(next, 'REPLICAOF', '127.0.0.1', String(old.port))
      await untilLinked(next)
      await mend(next, 'REPLICAOF', 'NO', 'ONE')
      const first = proxies.filter(() => random.chance(0.5))
      for (const proxy of first) proxy.point(next.port)
      await hold()
      for (const proxy of proxies) if (!first.includes(proxy)) proxy.point(next.port)
      main = 1 - main
    },
  }
}

export function sentinelFaults({ sentinel, nodes, master }: RedisSentinel): Faults {
  const untilMoved = async (from: RedisServer) => {
    for (let i = 0; i < 100 && (await master()) === from; i++) await delay(100)
  }
  return {
    async 'a failover is asked for'() {
      const before = await master()
      await sentinel.command('SENTINEL', 'FAILOVER', 'main').catch(() => {})
      await untilMoved(before)
    },
    async 'the master is killed'() {
      const before = await master()
      await before.kill()
      await untilMoved(before)
      await before.start()
    },
    async 'the master stands still and is deposed'() {
      const before = await master()
      before.freeze()
      await untilMoved(before)
      await delay(300)
      before.thaw()
    },
    async 'the master is made a replica'() {
      const before = await master()
      const other = nodes.find((node) => node !== before) as RedisServer
      await harm(before, 'REPLICAOF', '127.0.0.1', String(other.port))
      await delay(1_500)
      await mend(before, 'REPLICAOF', 'NO', 'ONE')
    },
  }
}

export function clusterFaults({ nodes }: RedisCluster, random: Random): Faults {
  const roleOf = async (node: RedisServer) => (await node.command('ROLE').catch(() => '')).split('\n')[0]
  async function one(role: 'master' | 'slave'): Promise<RedisServer> {
    for (;;) {
      const node = random.pick(nodes)
      if ((await roleOf(node)) === role) return node
      await delay(50)
    }
  }
  return {
    ...serverFaults(() => one('master')),
    async 'a failover is asked for'() {
      await (await one('slave')).command('CLUSTER', 'FAILOVER').catch(() => {})
      await delay(500)
    },
    async 'a master is killed'() {
      const node = await one('master')
      await node.kill()
      await delay(3_500)
      await node.start()
    },
    async 'a master stands still and is deposed'() {
      const node = await one('master')
      node.freeze()
      await delay(3_500)
      node.thaw()
    },
  }
}

export function processFaults(
  random: Random,
  subgraphs: readonly Part[],
  projection: Part,
  eventStore: EventStoreServer,
): Faults {
  const still = async (part: Part, hold: () => Promise<void>) => {
    const { child } = part.process()
    child.kill('SIGSTOP')
    await hold()
    child.kill('SIGCONT')
  }
  return {
    'an instance stands still': (hold) => still(random.pick(subgraphs), hold),
    'the projection stands still': (hold) => still(projection, hold),
    'an instance is killed': () => random.pick(subgraphs).crash(),
    'the projection is killed': () => projection.crash(),
    async 'connections to the event store are cut'() {
      eventStore.cutConnections()
    },
    async 'the event store is away'(hold) {
      await during(eventStore.stop(), hold, () => eventStore.start())
    },
    async 'the event store hangs'(hold) {
      eventStore.hang(true)
      await hold()
      eventStore.hang(false)
    },
  }
}
