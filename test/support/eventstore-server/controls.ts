/** Faults that a test can switch on, and what a node may do in its place in the cluster. */
import { type Metadata, status } from '@grpc/grpc-js'
import { Failure } from './wire.ts'

/** As gossip.proto names them; UNKNOWN: of a node that has lost its leader. */
export type NodeState = 'LEADER' | 'FOLLOWER' | 'UNKNOWN'

export interface Endpoint {
  readonly host: string
  readonly port: number
}

/** A node's place in its cluster, as of now. */
export interface Role {
  readonly state: NodeState
  readonly leader: Endpoint | null
  /** Whether a follower passes a write on that does not require the leader. */
  readonly forwards: boolean
  /** Whether a majority confirms what is written now. */
  readonly commits: boolean
}

export interface Controls {
  /** Calls are taken and nothing is answered. */
  hanging: boolean
  /** Servers before 23.10 do not say it. */
  tellsCaughtUp: boolean
  /** How many more appends are committed and cut off before their answer. */
  responsesToDrop: number
  /** How many more appends are committed and never answered. */
  responsesToWithhold: number
  role(): Role
  dropsResponse(): boolean
  withholdsResponse(): boolean
  /** Runs the work: at once, or when the node no longer hangs. */
  whenAwake(work: () => void): void
  /** @throws Failure where another node leads, or the node knows of none */
  admit(kind: 'read' | 'write' | 'group', metadata: Metadata): void
  /** Cuts all connections. */
  cut(): void
}

const NOT_READY = 'Server Is Not Ready'

export const notReady = () => new Failure(status.UNAVAILABLE, NOT_READY)
export const isNotReady = (reason: unknown): boolean => reason instanceof Failure && reason.details === NOT_READY

export function createControls(cut: () => void, role: () => Role): Controls & { resume(): void; forget(): void } {
  let waiting: (() => void)[] = []
  const controls = {
    hanging: false,
    tellsCaughtUp: true,
    responsesToDrop: 0,
    responsesToWithhold: 0,
    role,
    dropsResponse() {
      if (controls.responsesToDrop === 0) return false
      controls.responsesToDrop--
      return true
    },
    withholdsResponse() {
      if (controls.responsesToWithhold === 0) return false
      controls.responsesToWithhold--
      return true
    },
    whenAwake(work: () => void) {
      if (controls.hanging) waiting.push(work)
      else work()
    },
    /** What came while the node hung lay in its sockets: it is done now. */
    resume() {
      controls.hanging = false
      for (const work of waiting.splice(0)) work()
    },
    /** What came is gone with the process. */
    forget() {
      controls.hanging = false
      waiting = []
    },
    admit(kind: 'read' | 'write' | 'group', metadata: Metadata) {
      const { state, leader, forwards } = role()
      if (state === 'UNKNOWN') throw notReady()
      if (state === 'LEADER') return
      const needsLeader = metadata.get('requires-leader')[0] === 'true'
      if (!needsLeader && (kind === 'read' || (kind === 'write' && forwards))) return
      if (leader === null) throw new Failure(status.UNKNOWN, 'No leader info available in response')
      throw new Failure(status.NOT_FOUND, 'Leader info available', {
        exception: 'not-leader',
        'leader-endpoint-host': leader.host,
        'leader-endpoint-port': String(leader.port),
      })
    },
    cut,
  }
  return controls
}
