/** Persistent subscriptions to $all: the server distributes the events, pinned by stream. */
import {
  type KurrentDBClient,
  PersistentSubscriptionExistsError,
  persistentSubscriptionToAllSettingsFromDefaults,
  streamNameFilter,
} from '@kurrent/kurrentdb-client'
import { checkCount } from '../argument-checks.ts'
import type { PersistentSubscriptions, Position } from '../port.ts'
import type { Connection } from './connection/connection.ts'
import { toGroupError } from './errors.ts'
import { CONFIRMED_MS, joinGroup, type StoreOfGroups } from './group-consumer.ts'

export function createGroups(connection: Connection, store: StoreOfGroups): PersistentSubscriptions {
  /** @param repeatable whether the call may be retried if its outcome is unknown */
  async function call<T>(
    group: string,
    repeatable: boolean,
    work: (client: KurrentDBClient, options: { readonly deadline: number }) => Promise<T>,
  ): Promise<T> {
    store.checkOpen()
    try {
      return await connection.call(({ client }, until) => {
        const left = until - performance.now()
        return work(client, { deadline: repeatable ? Math.min(left, CONFIRMED_MS) : left })
      }, repeatable)
    } catch (error) {
      throw toGroupError(error, group)
    }
  }

  return {
    create(group, { filter, from, messageTimeout, maxRetryCount, maxConsumers }) {
      const settings = persistentSubscriptionToAllSettingsFromDefaults({
        startFrom: from,
        consumerStrategyName: 'Pinned',
        ...(messageTimeout !== undefined && { messageTimeout }),
        ...(maxRetryCount !== undefined && { maxRetryCount }),
        ...(maxConsumers !== undefined && { maxSubscriberCount: maxConsumers }),
      })
      const streams = streamNameFilter({ prefixes: [...filter.streamPrefixes] })
      let tries = 0
      return call(group, true, async (client, options) => {
        tries++
        try {
          await client.createPersistentSubscriptionToAll(group, settings, { filter: streams, ...options })
        } catch (error) {
          // An earlier attempt whose answer was lost has created it.
          if (tries === 1 || !(error instanceof PersistentSubscriptionExistsError)) throw error
        }
      })
    },

    delete: (group) =>
      call(group, false, (client, options) => client.deletePersistentSubscriptionToAll(group, options)),

    info: (group) =>
      call(group, true, async (client, options) => {
        const { connections, stats } = await client.getPersistentSubscriptionToAllInfo(group, options)
        return {
          consumers: connections.length,
          inFlight: stats.totalInFlightMessages,
          parked: Number(stats.parkedMessageCount),
          checkpoint: position(stats.lastCheckpointedEventPosition),
          lastKnown: position(stats.lastKnownEventPosition),
        }
      }),

    async replayParked(group, limit) {
      // The server needs a number to stop at in the stream of parked events.
      const first = limit === undefined ? undefined : await store.firstRevision(parkedStream(group))
      const stopAt = first === undefined ? undefined : first + (limit as number)
      await call(group, false, (client, options) =>
        client.replayParkedMessagesToAll(group, { ...options, ...(stopAt !== undefined && { stopAt }) }),
      )
    },

    subscribe(group, { bufferSize }) {
      checkCount(bufferSize, 'bufferSize')
      store.checkOpen()
      return joinGroup(connection, store, group, bufferSize)
    },
  }
}

const parkedStream = (group: string) => `$persistentsubscription-$all::${group}-parked`

function position(of: Position | undefined): Position | undefined {
  return of && { commit: of.commit, prepare: of.prepare }
}
