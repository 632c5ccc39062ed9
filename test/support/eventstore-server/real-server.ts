/**
 * A real EventStoreDB or KurrentDB in the place of the test server, where TEST_EVENTSTORE_SERVER names its program: a process and a
 * data folder for each test, on free ports. A proxy in front of it cuts connections; signals stop and hang it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, connect as openSocket, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../ports.ts'
import { onDataFrame } from './http2-frames.ts'

/** The program that TEST_EVENTSTORE_SERVER names: it takes the command-line options that both have. */
export const REAL_SERVER = process.env.TEST_EVENTSTORE_SERVER

/** A server on a loaded machine takes its time to start. */
const START_MS = 120_000

/** A test that crashes leaves no server behind. */
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** What a test can do to any server. */
export interface RealServer {
  readonly url: string
  readonly port: number
  /** SIGKILL; the log stays. */
  stop(): Promise<void>
  /** Starts again on the same ports and folder. */
  start(): Promise<void>
  cutConnections(): void
  /** Cuts the connection in the place of the next so many answers: to be used while nothing but appends is under way. */
  dropNextAppendResponses(count: number): void
  /** SIGSTOP: connections stay and nothing answers. SIGCONT when it is off. */
  hang(on: boolean): void
  /** Ends the server and removes its folder. */
  close(): Promise<void>
}

/** @throws Error with the server's output where it does not start */
export async function openRealServer(program: string): Promise<RealServer> {
  const folder = await mkdtemp(join(tmpdir(), 'eventstore-'))
  const [port, nodePort, replicationPort] = [await freePort(), await freePort(), await freePort()]
  const proxy = createProxy(port, nodePort)
  const args = options(folder, { port, nodePort, replicationPort })
  let child: ChildProcess | undefined

  async function start(): Promise<void> {
    const started = spawn(program, args, { env: environmentOf(process.env), stdio: ['ignore', 'pipe', 'pipe'] })
    child = started
    running.add(started)
    let output = ''
    for (const stream of [started.stdout, started.stderr]) {
      stream?.on('data', (chunk) => {
        output = (output + chunk).slice(-4_000)
      })
    }
    let over = false
    started.once('error', (error) => {
      output += error.message
      over = true
    })
    started.once('close', () => {
      over = true
      running.delete(started)
    })
    const limit = Date.now() + START_MS
    while (!(await isLeader(nodePort))) {
      if (over || Date.now() > limit) throw new Error(`${program} does not start:\n${output}`)
      await delay(50)
    }
    await proxy.open()
  }

  async function stop(): Promise<void> {
    await proxy.close()
    const ending = child
    child = undefined
    if (ending === undefined || ending.exitCode !== null || ending.signalCode !== null) return
    const closed = once(ending, 'close')
    ending.kill('SIGKILL')
    await closed
  }

  const close = async () => {
    await stop()
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  await start().catch(async (error) => {
    await close()
    throw error
  })
  return {
    url: `kurrentdb://127.0.0.1:${port}?tls=false`,
    port,
    start,
    stop,
    close,
    cutConnections: proxy.cut,
    dropNextAppendResponses: proxy.dropNextAnswers,
    hang: (on) => void child?.kill(on ? 'SIGSTOP' : 'SIGCONT'),
  }
}

/** As EventStoreDB 24.6 and KurrentDB 26.1 name them. The port that it tells its clients is the proxy's. */
function options(folder: string, ports: { port: number; nodePort: number; replicationPort: number }): string[] {
  return [
    ...['--insecure', '--disable-admin-ui', '--run-projections', 'None'],
    // What a log of a test needs nothing of: half a gigabyte on disk, and a line for each step.
    ...['--stream-existence-filter-size', '0', '--log-level', 'Warning'],
    ...['--db', join(folder, 'data'), '--log', join(folder, 'logs')],
    ...['--node-ip', '127.0.0.1', '--node-port', String(ports.nodePort)],
    ...['--node-host-advertise-as', '127.0.0.1', '--node-port-advertise-as', String(ports.port)],
    ...['--replication-ip', '127.0.0.1', '--replication-port', String(ports.replicationPort)],
  ]
}

/** KurrentDB's own limits, 256 MiB and 16 MiB, are too much for a test: these are EventStoreDB's. */
const LIMITS = { KURRENTDB_MAX_APPEND_SIZE: '1048576', KURRENTDB_MAX_APPEND_EVENT_SIZE: '1048576' }

/**
 * Variables that begin with EVENTSTORE_ or KURRENTDB_ are options to the server, and one that it does not know stops it.
 * EventStoreDB takes no notice of the latter.
 */
export function environmentOf(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const others = Object.entries(env).filter(([name]) => !/^(EVENTSTORE|KURRENTDB)_/i.test(name))
  return {
    ...Object.fromEntries(others),
    ...LIMITS,
    EVENTSTORE_TELEMETRY_OPTOUT: 'true',
    KURRENTDB_TELEMETRY_OPTOUT: 'true',
  }
}

async function isLeader(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/info`, { signal: AbortSignal.timeout(2_000) })
    return ((await response.json()) as { state: string }).state === 'leader'
  } catch {
    return false
  }
}

function createProxy(port: number, target: number) {
  const pairs = new Map<Socket, Socket>()
  let server: Server | undefined
  let toDrop = 0

  function accept(client: Socket): void {
    const upstream = openSocket(target, '127.0.0.1')
    pairs.set(client, upstream)
    const end = () => {
      pairs.delete(client)
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) socket.setNoDelay(true).on('error', end).on('close', end)
    client.pipe(upstream)
    const hasAnswer = onDataFrame()
    upstream.on('data', (chunk: Buffer) => {
      const answered = hasAnswer(chunk)
      if (answered && toDrop > 0) {
        toDrop--
        end()
      } else if (!client.write(chunk)) upstream.pause()
    })
    client.on('drain', () => upstream.resume())
  }

  const cut = () => {
    for (const [client, upstream] of pairs) {
      client.destroy()
      upstream.destroy()
    }
  }
  return {
    cut,
    async open() {
      server = createServer(accept).listen(port, '127.0.0.1')
      await once(server, 'listening')
    },
    async close() {
      const closing = server
      server = undefined
      if (closing === undefined) return
      const closed = once(closing, 'close')
      closing.close()
      cut()
      await closed
    },
    dropNextAnswers(count: number) {
      toDrop = count
    },
  }
}
