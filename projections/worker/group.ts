/**
 * The projection as one of any number of processes that share a persistent subscription: the server distributes the
 * events and keeps the position. Redelivery and reordering do no harm (see apply-events.ts), so processes come and go
 * as they like.
 *
 * The group begins at the read model's checkpoint, or at the end of the log. An empty or damaged read model is filled
 * by catching up (worker.ts), beside the live events; if two processes do so at once, they only duplicate work. Each
 * process also does so once when it starts and whenever another generation becomes live, because earlier deliveries
 * were applied to the generation that was live at that time.
 */
import {
  type Delivery,
  type EventStore,
  GroupExists,
  GroupNotFound,
  type GroupSubscription,
  type PersistentSubscriptions,
  type Position,
} from '../../eventstore/port.ts'
import { logEnd } from '../../eventstore/read.ts'
import { SILENT } from '../../runtime/log.ts'
import type { ReadModel } from '../read-model.ts'
import { createApplier } from './apply-events.ts'
import { createFilling } from './group-filling.ts'
import { repeat } from './run-forever.ts'
import { FILTER, type ProjectionOptions, reportFailures, resume } from './worker.ts'

export interface GroupProjection {
  /** Finishes the current deliveries and leaves the group. Calling it again does nothing. */
  stop(): Promise<void>
}

/** After this time, the events of a process that is gone or paused are delivered to others. */
const MESSAGE_TIMEOUT_MS = 15_000
/**
 * Each outage of the read model, and each process that leaves, causes redeliveries. The server must not park an event
 * because of them; events that can't be applied are parked in the read model (see apply-events.ts).
 */
const UNLIMITED_RETRIES = 2 ** 31 - 1

export type GroupProjectionOptions = ProjectionOptions & {
  readonly eventStore: EventStore & { readonly persistentSubscriptions: PersistentSubscriptions }
  /** The group's name: one for each read model. */
  readonly group: string
  /** Another handle of the same read model; the two may be on different generations for a while. */
  readonly fillModel: ReadModel
}

/**
 * Joins the group, creating it if there is none. Failures of a store are retried indefinitely, as in `startProjection`.
 * @param options.batchSize the most events in flight to this process. Default 500.
 */
export function startGroupProjection(options: GroupProjectionOptions): GroupProjection {
  const { eventStore, readModel, group, log = SILENT, observer, batchSize = 500 } = options
  const groups = eventStore.persistentSubscriptions
  const stopping = new AbortController()
  const { signal } = stopping
  const applier = createApplier({ eventStore, readModel, onFailure: reportFailures(options), log, signal })
  let subscription: GroupSubscription | undefined
  /** The filling must not end before the group begins: events appended in between would be lost to both. */
  const created = Promise.withResolvers<void>()
  let wasThere = false
  /** Held while deliveries are applied and acknowledged. */
  let busy = false
  /** After a loss of the connection, the store may have another log. */
  let isDoubtful = false
  let comparing: Promise<void> | undefined
  const unlisten = eventStore.onDisconnect?.(() => {
    isDoubtful = true
  })
  // Also where no delivery comes: a restored log may have nothing that is new to the group.
  const filling = createFilling(options, applier, { signal, prepare: async () => busy || compared() })
  const running = Promise.all([repeat(consume, { signal, log, observer }), created.promise.then(filling.run)])
  signal.addEventListener('abort', () => created.resolve(), { once: true })

  async function consume(onProgress: () => void): Promise<void> {
    await follow()
    await create()
    if (signal.aborted) return
    const joined = groups.subscribe(group, { bufferSize: batchSize })
    subscription = joined
    try {
      for await (const deliveries of joined) {
        busy = true
        await compared()
        await applyAll(deliveries)
        await joined.ack(deliveries)
        busy = false
        const events = deliveries.map(({ event }) => event)
        const isRefill = events.some(({ created }) => filling.isRefill(created))
        observer?.applied?.(events, true, isRefill)
        onProgress()
        if (signal.aborted) return
      }
    } catch (error) {
      if (!(error instanceof GroupNotFound)) throw error
      log.warn({ group }, 'the group was deleted; it is created again')
    } finally {
      busy = false
      await joined.unsubscribe()
    }
  }

  /**
   * The server restores the group's own checkpoint together with its log; the documents are compared with the log
   * before they continue.
   */
  async function compared(): Promise<void> {
    if (isDoubtful)
      comparing ??= compare().finally(() => {
        comparing = undefined
      })
    await comparing
  }

  async function compare(): Promise<void> {
    isDoubtful = false
    try {
      await resume(options)
      applier.forget()
    } catch (error) {
      isDoubtful = true
      throw error
    }
  }

  /** Applies to the generation that is live when it finishes: acknowledged deliveries must be in that one. */
  async function applyAll(deliveries: readonly Delivery[]): Promise<void> {
    for (;;) {
      await applier.apply(deliveries.map(({ event }) => event))
      if ((await readModel.wanted()) === (await readModel.generation())) return
      await follow()
    }
  }

  async function follow(): Promise<void> {
    const before = await readModel.generation()
    if ((await readModel.follow()) !== before) filling.begin() // also where it is soon live again
    applier.forget()
  }

  async function create(): Promise<void> {
    const checkpoint = await resume(options)
    await createGroup(options, checkpoint?.position ?? (wasThere ? 'start' : undefined))
    wasThere = true
    created.resolve()
  }

  return {
    async stop() {
      stopping.abort()
      unlisten?.()
      if (!busy) await subscription?.unsubscribe()
      await running
    },
  }
}

/**
 * Creates the group if it does not exist.
 * @param from the position where it begins; default: the current end of the log
 */
async function createGroup(
  { eventStore, group, log = SILENT }: GroupProjectionOptions,
  from: Position | 'start' | undefined,
): Promise<void> {
  try {
    await eventStore.persistentSubscriptions.create(group, {
      filter: FILTER,
      // Not 'end': after a restart of the server, a group without a checkpoint would begin at the new end.
      from: from ?? (await logEnd(eventStore, FILTER)) ?? 'start',
      messageTimeout: MESSAGE_TIMEOUT_MS,
      maxRetryCount: UNLIMITED_RETRIES,
    })
    log.info({ group }, 'group created')
  } catch (error) {
    if (!(error instanceof GroupExists)) throw error
  }
}
