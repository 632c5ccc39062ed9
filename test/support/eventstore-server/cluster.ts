/**
 * Three nodes of an event store that elect a leader among them. The built-in ones share one log: what a leader without a
 * majority is given is not written, where a real one would write it and cut it off again.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { freePort } from '../ports.ts'
import { until } from '../until.ts'
import type { Endpoint, NodeState } from './controls.ts'
import { createGroups } from './groups.ts'
import { createLog } from './log.ts'
import { openRealCluster } from './real-cluster.ts'
import { type EventStoreServer, openEventStoreServer } from './server.ts'

export interface ClusterNode {
  readonly port: number
  /** As SIGKILL does; what the cluster has committed stays. */
  stop(): Promise<void>
  start(): Promise<void>
  /** As SIGSTOP does: connections stay, nothing is answered, and what came meanwhile is done when it goes on. */
  hang(on: boolean): void
}

export interface EventStoreCluster {
  /** A connection string that names all nodes. */
  readonly url: string
  readonly nodes: readonly ClusterNode[]
  /** The leader, as it says itself; waits for one. @throws Error where there is none within a minute */
  leader(): Promise<ClusterNode>
  /** Waits until each node leads or follows. @throws Error where one does not within a minute */
  whole(): Promise<void>
}

export interface ClusterOptions {
  /** How long the others take to notice that a node is gone, or is back. Milliseconds, as is the next one. */
  readonly noticeMs?: number
  readonly electionMs?: number
}

/** A cluster of three, gone with the test: of the program that TEST_EVENTSTORE_SERVER names where it does. */
export async function startEventStoreCluster(t: Test, options: ClusterOptions = {}): Promise<EventStoreCluster> {
  const program = process.env.TEST_EVENTSTORE_SERVER
  const { close, ...cluster } = await (program ? openRealCluster(program) : openCluster(options))
  t.teardown(close)
  return cluster
}

const SIZE = 3
const MAJORITY = 2

interface Member {
  readonly endpoint: Endpoint
  /** What it takes itself for. */
  state: NodeState
  isRunning: boolean
  isHanging: boolean
  /** What the others take it for. */
  seemsAlive: boolean
  server?: EventStoreServer
}

async function openCluster({ noticeMs = 200, electionMs = 300 }: ClusterOptions) {
  const log = createLog()
  const groups = createGroups(log)
  const members: Member[] = []
  /** Elected by a majority; a node that hung may take itself for it for a while. */
  let leader: Member | undefined
  let closed = false

  const isWell = ({ isRunning, isHanging }: Member) => isRunning && !isHanging
  const hasMajority = () => members.filter(isWell).length >= MAJORITY

  /** Notices after a while who is away and who is back, and elects a leader where there is none. */
  async function changed(): Promise<void> {
    await delay(noticeMs)
    for (const member of members) member.seemsAlive = isWell(member)
    if (leader && (!isWell(leader) || !hasMajority())) {
      leader = undefined
      groups.end()
    }
    if (!leader) {
      for (const member of members) if (isWell(member)) member.state = 'UNKNOWN'
      await delay(electionMs)
      if (closed || leader || !hasMajority()) return
      const candidates = members.filter(isWell)
      leader = candidates[Math.floor(Math.random() * candidates.length)] as Member
      log.forgetIds()
      groups.begin()
    }
    for (const member of members) if (isWell(member)) member.state = member === leader ? 'LEADER' : 'FOLLOWER'
  }

  function nodeOf(member: Member): ClusterNode {
    return {
      port: member.endpoint.port,
      async stop() {
        if (!member.isRunning) return
        member.isRunning = false
        member.isHanging = false
        await member.server?.stop()
        void changed()
      },
      async start() {
        if (member.isRunning) return
        member.state = 'UNKNOWN'
        await member.server?.start()
        member.isRunning = true
        void changed()
      },
      hang(on) {
        member.isHanging = on
        member.server?.hang(on)
        void changed()
      },
    }
  }

  for (let index = 0; index < SIZE; index++) {
    const endpoint = { host: '127.0.0.1', port: await freePort() }
    members.push({ endpoint, state: 'UNKNOWN', isRunning: true, isHanging: false, seemsAlive: true })
  }
  for (const member of members) {
    member.server = await openEventStoreServer(
      { port: member.endpoint.port },
      {
        log,
        groups,
        role: () => ({
          state: member.state,
          leader: members.find(({ state }) => state === 'LEADER')?.endpoint ?? null,
          forwards: true,
          commits: leader !== undefined && hasMajority() && (member === leader || member.state === 'FOLLOWER'),
        }),
        members: () =>
          members.map((each) => ({
            endpoint: each.endpoint,
            state: each.state,
            isAlive: each === member || each.seemsAlive,
          })),
      },
    )
  }
  await changed()
  const nodes = members.map(nodeOf)
  return {
    url: `kurrentdb://${members.map(({ endpoint }) => `127.0.0.1:${endpoint.port}`).join(',')}?tls=false`,
    nodes,
    leader: () =>
      until(
        'there is a leader',
        () => nodes[members.findIndex((member) => isWell(member) && member.state === 'LEADER')],
      ),
    async whole() {
      await until('all nodes are there', () => members.every((member) => isWell(member) && member.state !== 'UNKNOWN'))
    },
    async close() {
      closed = true
      for (const { server } of members) await server?.stop()
    },
  }
}
