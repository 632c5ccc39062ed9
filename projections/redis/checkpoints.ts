/** The checkpoint and the epochs of filling: read-model.ts says how they go with the seals. */
import { setTimeout as delay } from 'node:timers/promises'
import { type Checkpoint, sameCheckpoint } from '../read-model.ts'
import type { RedisConnection } from './connection.ts'
import type { Handle } from './generations.ts'
import type { Seals } from './seals.ts'
import { format, parse, readText, type Stored, toCheckpoint } from './values.ts'

export interface Checkpoints {
  /** The checkpoint as it is stored; '' for none. @throws ReadModelUnavailable */
  read(): Promise<string>
  /** As in the port: what is stored after a loss is called incomplete. */
  get(): Promise<Checkpoint | null>
  /** As in the port. */
  set(next: Checkpoint, expected: Checkpoint | null): Promise<Checkpoint | null>
  /** To be called when the handle has gone over to another generation. */
  forget(): void
}

/** @param settleMs how long an epoch lasts at least */
export function createCheckpoints(redis: RedisConnection, handle: Handle, seals: Seals, settleMs: number): Checkpoints {
  const isCluster = redis.kind === 'cluster'
  /** The checkpoint that was seen last, as it is stored; '' for none. */
  let seen = ''
  /** The epoch that was met last, and when that was. */
  let filling = { epoch: '', since: 0 }

  /** Replaces the checkpoint; `begin` starts an epoch. Gives what is stored, and whether the seal beside it was broken. */
  function replace(expected: string, next: Stored, step: 'begin' | 'go on') {
    return redis.call((commands) =>
      commands.setCheckpoint(handle.keys.checkpoint, seals.of('checkpoint'), expected, format(next), next.epoch, step),
    )
  }

  /** After a loss: what is stored is not complete any more. */
  async function demote(stored: string): Promise<void> {
    if (isCluster) {
      await redis.call((commands) => commands.dropValue(handle.keys.checkpoint, stored))
      return
    }
    const last = parse(stored)
    if (last) await replace(stored, { ...last, complete: false, epoch: crypto.randomUUID() }, 'begin')
  }

  const read = async () =>
    (await redis.call((commands) => readText(commands, handle.keys.checkpoint), 'checkpoint')) ?? ''

  async function get(): Promise<Checkpoint | null> {
    const stored = await read()
    const checkpoint = toCheckpoint(stored)
    if (!checkpoint?.complete || (await seals.step('check'))) {
      seen = stored
      return checkpoint
    }
    await demote(stored)
    return get()
  }

  async function set(next: Checkpoint, expected: Checkpoint | null): Promise<Checkpoint | null> {
    if (!sameCheckpoint(toCheckpoint(seen), expected)) {
      seen = await read()
      const stored = toCheckpoint(seen)
      if (!sameCheckpoint(stored, expected)) return stored
    }
    const before = seen
    const last = parse(before)
    const epoch = last?.epoch ?? crypto.randomUUID()
    if (filling.epoch !== epoch) filling = { epoch, since: Date.now() }
    if (last && next.complete && !last.complete) {
      const wait = filling.since + settleMs - Date.now()
      if (wait > 0) await delay(wait)
      if (!(await seals.step('complete', epoch))) {
        await demote(before)
        return get()
      }
    }
    // A new epoch begins incomplete, also where it is complete at once: its seals have to be seen to stay.
    const wanted = { ...next, complete: last !== null && next.complete, epoch }
    const [stored, broken] = await replace(before, wanted, last ? 'go on' : 'begin')
    if (broken === 1) {
      await demote(before)
      return get()
    }
    seen = stored
    if (stored !== format(wanted)) return set(next, expected) // what was seen last was out of date
    if (!last) await seals.step('begin', epoch)
    return wanted.complete === next.complete ? next : set(next, { ...next, complete: false })
  }

  return {
    read,
    get,
    set,
    forget() {
      seen = ''
    },
  }
}
