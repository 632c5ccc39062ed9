/** Real Redis servers and clusters for tests, each in a temporary folder, on free ports, gone with the test. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort } from './ports.ts'
import { until } from './until.ts'

/** A test that crashes leaves no server behind. */
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export interface RedisServer {
  /** `redis://…`; `rediss://…` if it has a certificate. */
  readonly url: string
  readonly port: number
  /** Where its files are. */
  readonly folder: string
  /**
   * Runs a command on a connection of its own. Gives what redis-cli would print: the elements of an array on a line each,
   * an empty text for nil. @throws Error where the server refuses it or is not there
   */
  command(...command: string[]): Promise<string>
  /** SIGKILL: it loses what a server can lose. */
  kill(): Promise<void>
  /** Ends in good order, with a snapshot if it is persistent. */
  stop(): Promise<void>
  /** After `kill` or `stop`: starts again on the same port and folder. */
  start(): Promise<void>
  /** SIGSTOP: connections stay, nothing answers. */
  freeze(): void
  thaw(): void
}

const printed = (reply: unknown): string =>
  Array.isArray(reply) ? reply.map(printed).join('\n') : reply === null ? '' : String(reply)

/** The files of a server that speaks TLS alone. */
export interface RedisCertificate {
  readonly certFile: string
  readonly keyFile: string
  /** Whose certificates its clients and its peers accept. */
  readonly caFile: string
}

const tlsArgs = ({ certFile, keyFile, caFile }: RedisCertificate, port: number) => [
  ...['--port', '0', '--tls-port', String(port), '--tls-cluster', 'yes', '--tls-replication', 'yes'],
  ...['--tls-cert-file', certFile, '--tls-key-file', keyFile, '--tls-ca-cert-file', caFile, '--tls-auth-clients', 'no'],
]

/**
 * @param options.certificate of a server that speaks TLS alone
 * @param options.persistent whether it writes snapshots when it is stopped or told to (SAVE); default false
 * @param options.args further arguments of redis-server
 * @param options.file its configuration file, without any other settings: a sentinel's
 */
export async function startRedis(
  t: Test,
  {
    persistent = false,
    args = [],
    file,
    certificate,
  }: {
    readonly persistent?: boolean
    readonly args?: readonly string[]
    readonly file?: string
    readonly certificate?: RedisCertificate | undefined
  } = {},
): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'redis-'))
  const port = await freePort()
  const save = persistent ? ['--save', '3600 1'] : ['--save', '']
  const listens = certificate ? tlsArgs(certificate, port) : ['--port', String(port)]
  const tls = certificate && { tls: true as const, ca: readFileSync(certificate.caFile) }
  const settings = file
    ? [file, '--port', String(port), '--bind', '127.0.0.1', '--dir', folder, ...args]
    : [...listens, '--bind', '127.0.0.1', '--dir', folder, ...save, '--appendonly', 'no', ...args]
  let child: ChildProcess
  let ended: Promise<unknown>

  async function command(...command: string[]): Promise<string> {
    // Loaded here: most test files have no Redis.
    const { RedisClient } = await import('redis')
    const socket = { host: '127.0.0.1', port, reconnectStrategy: false as const, ...tls }
    // Not `createClient`: for each other port it makes a class with a method for every command, which costs 60 ms.
    const client = new RedisClient({ socket, RESP: 2, disableClientInfo: true, maintNotifications: 'disabled' })
    client.on('error', () => {}) // the command is refused
    await client.connect()
    try {
      return printed(await client.sendCommand(command)).trim()
    } finally {
      client.destroy()
    }
  }

  async function start(): Promise<void> {
    let output = ''
    child = spawn('redis-server', settings, { stdio: ['ignore', 'pipe', 'pipe'] })
    ended = once(child, 'close').catch((error) => {
      if (error.code === 'ENOENT') output = 'redis-server is not on the PATH; install it: apt-get install redis-server'
    })
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk) => {
        output += chunk
      })
    }
    running.add(child)
    let over = false
    ended.then(() => {
      over = true
      running.delete(child)
    })
    const isUp = () => /Ready to accept connections|Sentinel ID is/.test(output)
    await until('Redis is up', () => isUp() || over).catch(() => {})
    if (!isUp()) throw new Error(`Redis does not start: ${output}`)
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    child.kill(signal)
    await ended
  }

  t.teardown(async () => {
    await end('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  })
  await start()
  return {
    url: `${certificate ? 'rediss' : 'redis'}://127.0.0.1:${port}`,
    port,
    folder,
    command,
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
    start,
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
  }
}

export interface RedisCluster {
  /** `redis-cluster://…` with all nodes */
  readonly url: string
  readonly nodes: readonly RedisServer[]
  /** The node where keys with the hash tag lie. */
  nodeOf(tag: string | number): Promise<RedisServer>
}

const SLOTS = 16_384

/**
 * Three masters; where one is away the others go on.
 * @param options.replicas whether each master has a replica that takes its place; default false
 * @param options.certificate of nodes that speak TLS alone
 */
export async function startRedisCluster(
  t: Test,
  { replicas = false, certificate }: { readonly replicas?: boolean; readonly certificate?: RedisCertificate } = {},
): Promise<RedisCluster> {
  const count = 3
  const nodes = await Promise.all(
    Array.from({ length: replicas ? 2 * count : count }, async () => {
      const bus = await freePort() // the default, the port + 10000, may be taken or too high
      const cluster = ['--cluster-enabled', 'yes', '--cluster-port', String(bus), '--cluster-node-timeout', '1000']
      const args = [...cluster, '--cluster-require-full-coverage', 'no']
      return { bus, server: await startRedis(t, { args, certificate }) }
    }),
  )
  const first = (index: number) => Math.floor((index * SLOTS) / count)
  await Promise.all(
    nodes.map(async ({ server }, index) => {
      await server.command('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1))
      if (index >= count) return
      await server.command('CLUSTER', 'ADDSLOTSRANGE', String(first(index)), String(first(index + 1) - 1))
    }),
  )
  const [{ server: seed }, ...others] = nodes as [(typeof nodes)[0], ...typeof nodes]
  for (const { server, bus } of others) {
    await seed.command('CLUSTER', 'MEET', '127.0.0.1', String(server.port), String(bus))
  }
  const servers = nodes.map(({ server }) => server)
  for (const server of servers) await untilWhole(server, count)
  for (const [index, server] of servers.entries()) {
    if (index < count) continue
    await server.command(
      'CLUSTER',
      'REPLICATE',
      await (servers[index - count] as RedisServer).command('CLUSTER', 'MYID'),
    )
    await untilLinked(server)
  }
  return {
    url: `${certificate ? 'rediss' : 'redis'}-cluster://${servers.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    nodes: servers,
    async nodeOf(tag) {
      const slot = Number(await seed.command('CLUSTER', 'KEYSLOT', `{${tag}}`))
      return servers.slice(0, count).findLast((_, index) => first(index) <= slot) as RedisServer
    },
  }
}

export interface RedisSentinel {
  /** `redis-sentinel://…/main` */
  readonly url: string
  /** The master at the start, and its replica. */
  readonly nodes: readonly RedisServer[]
  readonly sentinel: RedisServer
  /** The server that the sentinel takes for the master. */
  master(): Promise<RedisServer>
}

/** A master with a replica and a sentinel, which makes the replica the master where the master is away for a second. */
export async function startRedisSentinel(t: Test): Promise<RedisSentinel> {
  const master = await startRedis(t)
  const replica = await startRedis(t, { args: ['--replicaof', '127.0.0.1', String(master.port)] })
  await untilLinked(replica)
  const folder = await mkdtemp(join(tmpdir(), 'sentinel-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'sentinel.conf')
  await writeFile(
    file,
    `sentinel monitor main 127.0.0.1 ${master.port} 1
sentinel down-after-milliseconds main 1000
sentinel failover-timeout main 3000
`,
  )
  const sentinel = await startRedis(t, { file, args: ['--sentinel'] })
  const nodes = [master, replica]
  return {
    url: `redis-sentinel://127.0.0.1:${sentinel.port}/main`,
    nodes,
    sentinel,
    async master() {
      const [, port] = (await sentinel.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main')).split('\n')
      return nodes.find((node) => String(node.port) === port) as RedisServer
    },
  }
}

/** Waits until a replica has what its master has. */
export const untilLinked = (replica: RedisServer) =>
  until('the replica reaches its master', async () =>
    (await replica.command('INFO', 'replication')).includes('master_link_status:up'),
  )

function untilWhole(server: RedisServer, nodes: number): Promise<true> {
  const whole = ['cluster_state:ok', `cluster_slots_ok:${SLOTS}`, `cluster_size:${nodes}`]
  return until('the Redis cluster forms', async () => {
    const info = await server.command('CLUSTER', 'INFO')
    return whole.every((line) => info.includes(line))
  })
}
