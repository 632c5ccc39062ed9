/** The checkpoint and the epochs of filling. read-model.ts explains how they relate to the seals. */
import { setTimeout as delay } from 'node:timers/promises'
import { type Checkpoint, sameCheckpoint } from '../read-model.ts'
import type { RedisConnection } from './connection.ts'
import type { Handle } from './generations.ts'
import type { Seals } from './seals.ts'
import { format, parse, readText, type Stored, toCheckpoint } from './values.ts'

export interface Checkpoints {
  /** The checkpoint as it is stored; '' for none. @throws ReadModelUnavailable */
  read(): Promise<string>
  /** As in the port. After a loss, the stored checkpoint is reported as incomplete. */
  get(): Promise<Checkpoint | null>
  /** As in the port. */
  set(next: Checkpoint, expected: Checkpoint | null): Promise<Checkpoint | null>
}

/** @param settleMs the minimum duration of an epoch */
export function createCheckpoints(redis: RedisConnection, handle: Handle, seals: Seals, settleMs: number): Checkpoints {
  const isCluster = redis.kind === 'cluster'
  /** The checkpoint that was seen last, as it is stored; '' for none. Maybe of another generation: then it does not match. */
  let seen = ''
  /** The epoch that was seen last, and when (performance.now: the other clock may be set meanwhile). */
  let filling = { epoch: '', since: 0 }

  /**
   * Replaces the checkpoint; `begin` starts an epoch. Returns what is stored, and whether the seal beside it was
   * broken.
   */
  function replace(expected: string, next: Stored, step: 'begin' | 'go on') {
    return redis.call((commands) =>
      commands.setCheckpoint(handle.keys.checkpoint, seals.of('checkpoint'), expected, format(next), next.epoch, step),
    )
  }

  /** After a loss, the stored documents are no longer complete. */
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
    if (filling.epoch !== epoch) filling = { epoch, since: performance.now() }
    if (last && next.complete && !last.complete) {
      const wait = filling.since + settleMs - performance.now()
      if (wait > 0) await delay(wait)
      if (!(await seals.step('complete', epoch))) {
        await demote(before)
        return get()
      }
    }
    // A new epoch begins incomplete, even if nothing is missing, because its seals first have to survive for a while.
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

  return { read, get, set }
}
