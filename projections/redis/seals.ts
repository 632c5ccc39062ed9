/**
 * The seals of a generation, one in each slot, or a single one without a Cluster. read-model.ts explains their purpose.
 */

import { ALL } from '../../runtime/redis/driver.ts'
import { slotOf, tagOfEachSlot } from '../../runtime/redis/slots.ts'
import { each } from './batches.ts'
import type { RedisCommands, RedisConnection } from './connection.ts'
import { REFUSED, unlessRefused } from './errors.ts'
import type { Handle } from './generations.ts'

export interface Seals {
  /** The key of the seal in the slot of a hash tag. */
  of(tag: string): string
  /**
   * One step of all seals (see the script `stepSeals`). @returns whether all are complete after it @throws
   * ReadModelUnavailable
   */
  step(step: 'begin' | 'complete' | 'check', epoch?: string): Promise<boolean>
  /** Hides the documents of the generation from queries. @throws ReadModelUnavailable */
  drop(): Promise<void>
}

export function createSeals(redis: RedisConnection, handle: Handle): Seals {
  const isCluster = redis.kind === 'cluster'
  const sealTags = isCluster ? tagOfEachSlot() : [ALL]
  const allKeys = () => sealTags.map(handle.keys.seal)

  /**
   * Runs a command for the seals of each server at once, or for each seal by itself if slots have moved and their
   * server is unknown.
   */
  async function onEachServer<R>(
    seals: readonly string[],
    command: (commands: RedisCommands, seals: readonly string[]) => Promise<R>,
  ): Promise<R[]> {
    const servers = Map.groupBy(seals, (_, index) => redis.serverOf(sealTags[index] as string))
    const answers = [...servers.values()].map(async (own) => {
      const answer = await redis.call((commands) => command(commands, own).catch(unlessRefused))
      return answer === REFUSED ? each(redis, own, (commands, seal) => command(commands, [seal])) : [answer]
    })
    return (await Promise.all(answers)).flat()
  }

  return {
    of: (tag) => handle.keys.seal(sealTags[isCluster ? slotOf(tag) : 0] as string),

    async step(step, epoch = '') {
      const broken = await onEachServer(allKeys(), (commands, seals) =>
        commands.stepSeals(seals[0] as string, step, epoch, ...seals),
      )
      return broken.every((count) => count === 0)
    },

    async drop() {
      await onEachServer(allKeys(), (commands, seals) => commands.dropKeys(seals[0] as string, ...seals))
    },
  }
}
