/** Faults that a test can switch on. */
import { status } from '@grpc/grpc-js'
import { Failure } from './wire.ts'

export interface Controls {
  /** Calls are taken and nothing is answered. */
  hanging: boolean
  /** Servers before 23.10 do not say it. */
  tellsCaughtUp: boolean
  leader: { readonly host: string; readonly port: number } | null
  /** How many more appends are committed and cut off before their answer. */
  responsesToDrop: number
  dropsResponse(): boolean
  /** @throws Failure that names the leader, where this node is a follower */
  checkLeader(): void
  /** Cuts all connections. */
  cut(): void
}

export function createControls(cut: () => void): Controls {
  const controls: Controls = {
    hanging: false,
    tellsCaughtUp: true,
    leader: null,
    responsesToDrop: 0,
    dropsResponse() {
      if (controls.responsesToDrop === 0) return false
      controls.responsesToDrop--
      return true
    },
    checkLeader() {
      if (controls.leader === null) return
      const { host, port } = controls.leader
      throw new Failure(status.NOT_FOUND, 'Leader info available', {
        exception: 'not-leader',
        'leader-endpoint-host': host,
        'leader-endpoint-port': String(port),
      })
    },
    cut,
  }
  return controls
}
