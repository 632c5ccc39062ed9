/** Three real nodes of EventStoreDB or KurrentDB, each a process with a folder of its own; signals stop and hang them. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../ports.ts'
import { until } from '../until.ts'
import type { ClusterNode, EventStoreCluster } from './cluster.ts'
import { environmentOf } from './real-server.ts'

const SIZE = 3

/** A test that crashes leaves no node behind. */
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/**
 * @param program takes the command-line options that both have
 * @throws Error where no leader is elected within two minutes
 */
export async function openRealCluster(program: string): Promise<EventStoreCluster & { close(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'eventstore-cluster-'))
  const ports: { readonly http: number; readonly replication: number }[] = []
  for (let index = 0; index < SIZE; index++) ports.push({ http: await freePort(), replication: await freePort() })
  const children: (ChildProcess | undefined)[] = []

  const nodes: ClusterNode[] = ports.map(({ http, replication }, index) => ({
    port: http,

    async start() {
      if (children[index]) return
      const others = ports.flatMap(({ http }, other) => (other === index ? [] : [`127.0.0.1:${http}`]))
      const args = [
        ...['--insecure', '--disable-admin-ui', '--run-projections', 'None'],
        // What a log of a test needs nothing of: half a gigabyte on disk, and a line for each step.
        ...['--stream-existence-filter-size', '0', '--log-level', 'Warning'],
        ...['--cluster-size', String(SIZE), '--discover-via-dns', 'false', '--gossip-seed', others.join(',')],
        ...['--node-ip', '127.0.0.1', '--node-port', String(http)],
        ...['--replication-ip', '127.0.0.1', '--replication-port', String(replication)],
        ...['--db', join(folder, `data-${index}`), '--log', join(folder, `logs-${index}`)],
      ]
      const run = () => {
        const child = spawn(program, args, { env: environmentOf(process.env), stdio: 'ignore' })
        children[index] = child
        running.add(child)
        child.once('exit', () => running.delete(child))
        // A node that has to cut its log to that of the new leader ends, for its supervisor to start it again.
        child.on('exit', () => {
          if (children[index] === child) run()
        })
      }
      run()
    },

    async stop() {
      const child = children[index]
      children[index] = undefined
      if (!child || child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },

    hang: (on) => void children[index]?.kill(on ? 'SIGSTOP' : 'SIGCONT'),
  }))

  const untilStates = <T>(what: string, find: (states: readonly string[]) => T | false | undefined) =>
    until(`${program}: ${what}`, async () => find(await Promise.all(ports.map(({ http }) => stateOf(http)))))

  const cluster = {
    url: `kurrentdb://${ports.map(({ http }) => `127.0.0.1:${http}`).join(',')}?tls=false`,
    nodes,
    leader: () => untilStates('there is a leader', (states) => nodes[states.indexOf('leader')]),
    async whole() {
      await untilStates('all nodes are there', (states) => states.every((state) => /^(leader|follower)$/.test(state)))
    },
    async close() {
      for (const node of nodes) await node.stop()
      await rm(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
  for (const node of nodes) await node.start()
  // As one server, on a loaded machine.
  await cluster
    .leader()
    .catch(cluster.leader)
    .catch(async (error) => {
      await cluster.close()
      throw error
    })
  return cluster
}

async function stateOf(port: number): Promise<string> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/info`, { signal: AbortSignal.timeout(500) })
    return ((await response.json()) as { state: string }).state
  } catch {
    return 'away'
  }
}
