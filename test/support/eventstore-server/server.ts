/**
 * A small EventStoreDB for tests: the official client's own service definitions over gRPC, the log in memory. It is to
 * answer as the real server does and to be no more lenient.
 */
import { Server, ServerCredentials, status } from '@grpc/grpc-js'
import type { Test } from 'tap'
import { freePort } from '../ports.ts'
import { createAppends } from './appends.ts'
import { createControls, type Endpoint, type NodeState, type Role } from './controls.ts'
import { createGroups } from './groups.ts'
import { createLaggingLog, createLog, type Log } from './log.ts'
import { createReads } from './reads.ts'
import { openRealServer, REAL_SERVER, type RealServer } from './real-server.ts'
import { Failure, type Message, messages, refuse, services } from './wire.ts'

export interface ServerOptions {
  /** Default: any free one. */
  readonly port?: number
  /** Whether it knows BatchAppend, as servers from 21.10 on do. Default true. */
  readonly batchAppend?: boolean
  /** Whether it knows ServerFeatures, as servers from 21.10 on do. Default true. */
  readonly serverFeatures?: boolean
  /** Whether subscriptions say when they have caught up, as servers from 23.10 on do. Default true. */
  readonly caughtUp?: boolean
  /** PEM; default: no TLS. With TLS calls need the credentials admin:changeit. */
  readonly tls?: { readonly key: Buffer; readonly cert: Buffer }
}

interface RawEvent {
  readonly id?: string
  readonly type: string
  readonly data: string | Buffer
  readonly metadata?: string | Buffer
  readonly contentType?: string
}

export interface EventStoreServer {
  /** A connection string. */
  readonly url: string
  readonly port: number
  /** How often each method was called. */
  readonly calls: Readonly<Record<string, number>>
  /** Calls that are open now. */
  openCalls(): number
  /** Gone, connections and all; the log stays. */
  stop(): Promise<void>
  /** Again, on the same port; ids are forgotten as after a restart. */
  start(): Promise<void>
  cutConnections(): void
  /** The next so many appends are committed and cut off before their answer. */
  dropNextAppendResponses(count: number): void
  /** The next so many appends are committed and never answered, as by a leader that steps down. */
  withholdNextAppendResponses(count: number): void
  /** While it hangs, calls are taken and nothing is answered. */
  hang(on: boolean): void
  /** From now on calls of this method are taken and not answered. */
  withhold(method: string): void
  /**
   * From now on reads show all but the newest so many records, as of a node that was just elected or started and does not
   * know yet that they were replicated; 0: all. Groups deliver them all the same.
   */
  fallBehind(records: number): void
  /** While it is a follower, it names the leader to who needs one. */
  asFollower(leader: { readonly host: string; readonly port: number } | null): void
  /** The log as it lies in memory: to be looked at, and to be forged with `rewrite`. */
  readonly log: Pick<Log, 'records' | 'rewrite'>
  /** Without the limits of appends. */
  appendRaw(stream: string, events: readonly RawEvent[]): void
}

/** Calls that one connection may have open: the server's default. */
const MAX_STREAMS = 100

const CREDENTIALS = `Basic ${Buffer.from('admin:changeit').toString('base64')}`

/**
 * The server, gone with the test: that of TEST_EVENTSTORE_SERVER where it names one and no option asks for another kind.
 * What only the built-in server can do throws on a real one; tests that need it say so with {@link builtIn}.
 */
export async function startEventStoreServer(t: Test, options: ServerOptions = {}): Promise<EventStoreServer> {
  if (REAL_SERVER && Object.keys(options).length === 0) {
    const { close, ...real } = await openRealServer(REAL_SERVER)
    t.teardown(close)
    return Object.defineProperties(
      real as RealServer & typeof onlyBuiltIn,
      Object.getOwnPropertyDescriptors(onlyBuiltIn),
    )
  }
  const server = await openEventStoreServer(options)
  t.teardown(server.stop)
  return server
}

/** Stops the server at so many reads from now, for a second. @returns resolves once it is back */
export function awayAfterReads(server: EventStoreServer, count: number): Promise<void> {
  let reads = server.calls.read ?? 0
  const last = reads + count
  const { promise, resolve } = Promise.withResolvers<void>()
  Object.defineProperty(server.calls, 'read', {
    get: () => reads,
    set(value: number) {
      reads = value
      if (reads === last) void server.stop().then(() => setTimeout(() => resolve(server.start()), 1_000))
    },
  })
  return promise
}

/** What the nodes of a cluster have in common, as one of them sees it. */
export interface Membership {
  readonly log: Log
  readonly groups: ReturnType<typeof createGroups>
  role(): Role
  members(): readonly { readonly endpoint: Endpoint; readonly state: NodeState; readonly isAlive: boolean }[]
}

/** Options of a test that looks or reaches into the built-in server: skipped on a real one. */
export const builtIn = (does: string): { skip: string | false } => ({
  skip: REAL_SERVER ? `on the built-in server only: ${does}` : false,
})

const beyond = (what: string): never => {
  throw new Error(`${what}: only the built-in server can; let the test say so with builtIn().`)
}

const onlyBuiltIn = {
  get calls() {
    return beyond('calls')
  },
  get log() {
    return beyond('log')
  },
  openCalls: () => beyond('openCalls'),
  asFollower: () => beyond('asFollower'),
  fallBehind: () => beyond('fallBehind'),
  appendRaw: () => beyond('appendRaw'),
  withhold: () => beyond('withhold'),
  withholdNextAppendResponses: () => beyond('withholdNextAppendResponses'),
}

/** @param cluster of a node that does not stand alone */
export async function openEventStoreServer(
  options: ServerOptions = {},
  cluster?: Membership,
): Promise<EventStoreServer> {
  const { batchAppend = true, serverFeatures = true, caughtUp = true, tls } = options
  const port = options.port ?? (await freePort())
  const log = cluster?.log ?? createLog()
  let leader: Endpoint | null = null
  const calls: Record<string, number> = {}
  const withheld = new Set<string>()
  const open = new Set<unknown>()
  let server: Server | undefined
  const cut = () => {
    if (server === undefined) return
    const { sessions } = server as unknown as { sessions: Map<{ destroy(): void }, unknown> }
    for (const session of [...sessions.keys()]) session.destroy()
  }
  const alone = (): Role => ({ state: leader ? 'FOLLOWER' : 'LEADER', leader, forwards: false, commits: true })
  const controls = createControls(cut, cluster?.role ?? alone)
  controls.tellsCaughtUp = caughtUp

  const { batchAppend: batch, ...appends } = createAppends(log, controls)
  const lagging = createLaggingLog(log)
  const streams = { ...appends, ...createReads(lagging.log, controls) }
  const groups = cluster?.groups ?? createGroups(log)

  const isAllowed = (call: Message) => !tls || call.metadata.get('authorization')[0] === CREDENTIALS

  /** Counts a service's calls, and refuses those without credentials unless it is for everybody. */
  // biome-ignore lint/suspicious/noExplicitAny: handlers of any kind
  function counted(handlers: Record<string, any>, isForAll = false): Record<string, any> {
    return Object.fromEntries(
      Object.entries(handlers).map(([name, handler]) => [
        name,
        (call: Message, answer?: (...values: unknown[]) => void) => {
          calls[name] = (calls[name] ?? 0) + 1
          if (withheld.has(name)) return
          open.add(call)
          const over = () => open.delete(call)
          for (const event of ['cancelled', 'finish', 'close', 'error']) call.on(event, over)
          const end = (...values: unknown[]) => {
            over()
            answer?.(...values)
          }
          if (isForAll || isAllowed(call)) return controls.whenAwake(() => handler(call, end))
          // Of a wrong password the server's HTTP part says so, before there is a call.
          const denied =
            call.metadata.get('authorization').length > 0
              ? new Failure(status.UNAUTHENTICATED, 'Received HTTP status code 401')
              : new Failure(status.PERMISSION_DENIED, 'Access Denied', { exception: 'access-denied' })
          if (answer) end(denied)
          else refuse(call, denied)
        },
      ]),
    )
  }

  const supported: Record<string, readonly string[]> = {
    'event_store.client.streams.Streams': [
      'read',
      'append',
      'delete',
      'tombstone',
      ...(batchAppend ? ['batchappend'] : []),
    ],
    'event_store.client.persistent_subscriptions.PersistentSubscriptions': [
      'create',
      'update',
      'delete',
      'read',
      'getinfo',
      'list',
      'replayparked',
    ],
  }

  function features(_: Message, answer: (error: null, response: Message) => void) {
    const response = new messages.features.SupportedMethods()
    response.setEventStoreServerVersion(caughtUp ? '24.10.0' : '22.10.5')
    for (const [service, methods] of Object.entries(supported)) {
      for (const name of methods) {
        const method = new messages.features.SupportedMethod()
        method.setServiceName(service)
        method.setMethodName(name)
        method.setFeaturesList(service.endsWith('Streams') ? [] : ['stream', 'all'])
        response.addMethods(method)
      }
    }
    answer(null, response)
  }

  function gossip(_: Message, answer: (error: null, response: Message) => void) {
    const own = { endpoint: { host: '127.0.0.1', port }, state: controls.role().state, isAlive: true }
    const members = cluster?.members() ?? [own]
    const response = new messages.gossip.ClusterInfo()
    response.setMembersList(members.map(memberOf))
    if (leader && !cluster) response.addMembers(memberOf({ endpoint: leader, state: 'LEADER', isAlive: true }))
    answer(null, response)
  }

  async function start(): Promise<void> {
    if (!cluster) groups.restart()
    const next = new Server({
      'grpc.max_receive_message_length': 17 * 1024 * 1024,
      'grpc.max_concurrent_streams': MAX_STREAMS,
    })
    const { batchAppend: _, ...withoutBatch } = services.streams
    if (batchAppend) next.addService(services.streams, counted({ ...streams, batchAppend: batch }))
    else next.addService(withoutBatch, counted(streams))
    next.addService(services.groups, counted(groups.handlers(controls)))
    next.addService(services.gossip, counted({ read: gossip }, true))
    if (serverFeatures) next.addService(services.features, counted({ getSupportedMethods: features }, true))
    const credentials = tls
      ? ServerCredentials.createSsl(null, [{ private_key: tls.key, cert_chain: tls.cert }])
      : ServerCredentials.createInsecure()
    await new Promise<void>((resolve, reject) => {
      next.bindAsync(`127.0.0.1:${port}`, credentials, (error) => (error ? reject(error) : resolve()))
    })
    server = next
  }

  await start()
  return {
    url: `kurrentdb://127.0.0.1:${port}?tls=${tls !== undefined}`,
    port,
    calls,
    openCalls: () => open.size,
    async stop() {
      server?.forceShutdown()
      server = undefined
      open.clear()
      controls.forget()
      if (!cluster) log.forgetIds()
    },
    start,
    cutConnections: controls.cut,
    dropNextAppendResponses(count) {
      controls.responsesToDrop = count
    },
    withholdNextAppendResponses(count) {
      controls.responsesToWithhold = count
    },
    withhold: (method) => void withheld.add(method),
    fallBehind: lagging.hideNewest,

    hang(on) {
      if (on) controls.hanging = true
      else controls.resume()
    },
    asFollower(of) {
      leader = of
    },
    log,
    appendRaw(stream, events) {
      log.appendRaw(
        stream,
        events.map(({ id = crypto.randomUUID(), type, data, metadata = '', contentType = 'application/json' }) => ({
          id,
          type,
          contentType,
          data: Buffer.from(data),
          metadata: Buffer.from(metadata),
        })),
      )
    },
  }
}

function memberOf({ endpoint: { host, port }, state, isAlive }: ReturnType<Membership['members']>[number]): Message {
  const endpoint = new messages.gossip.EndPoint()
  endpoint.setAddress(host)
  endpoint.setPort(port)
  const id = new messages.shared.UUID()
  id.setString(crypto.randomUUID())
  const info = new messages.gossip.MemberInfo()
  info.setInstanceId(id)
  info.setState(messages.gossip.MemberInfo.VNodeState[state])
  info.setIsAlive(isAlive)
  info.setHttpEndPoint(endpoint)
  return info
}
