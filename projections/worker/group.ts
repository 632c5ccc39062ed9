/**
 * The projection as one of any number of processes that share a persistent subscription: the server shares the events
 * out and keeps the place. Redelivery and reordering do no harm (see apply-events.ts), so processes come and go as they like.
 *
 * The group begins where the read model's checkpoint stands, or at the log's end. What lies before it in an empty or
 * damaged read model is filled in by catching up (worker.ts), beside the live events; two processes that do so at once
 * only do the work twice. Each process also does so once when it starts and whenever another generation is live: what was
 * acknowledged to the server went to the generation that was live at that time.
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
  /** Finishes the deliveries in hand and leaves the group. Calling it again does nothing. */
  stop(): Promise<void>
}

/** A process that is gone, or paused, loses its events to the others after so long. */
const MESSAGE_TIMEOUT_MS = 15_000
/**
 * Deliveries that come back: each outage of the read model, and each process that leaves, counts as one. The server must
 * not set an event aside for it; what can't be applied is parked in the read model (see apply-events.ts).
 */
const FOR_EVER = 2 ** 31 - 1

export type GroupProjectionOptions = ProjectionOptions & {
  readonly eventStore: EventStore & { readonly persistentSubscriptions: PersistentSubscriptions }
  /** The group's name: one for each read model. */
  readonly group: string
  /** Another handle of the same read model: the two need not be on the same generation at all times. */
  readonly fillModel: ReadModel
}

/**
 * Joins the group, creating it where there is none. Failures of a store are retried for ever, as in `startProjection`.
 * @param options.batchSize the most events in flight to this process. Default 500.
 */
export function startGroupProjection(options: GroupProjectionOptions): GroupProjection {
  const { eventStore, readModel, group, log = SILENT, observer, batchSize = 500 } = options
  const groups = eventStore.persistentSubscriptions
  const applier = createApplier({ eventStore, readModel, onFailure: reportFailures(options) })
  const stopping = new AbortController()
  const { signal } = stopping
  let subscription: GroupSubscription | undefined
  /** The filling must not end before the group begins: what is appended in between would be nobody's. */
  const created = Promise.withResolvers<void>()
  let wasThere = false
  /** While deliveries are applied and acknowledged. */
  let busy = false
  /** The connection was lost: what answers by now may be another log. */
  let isDoubtful = false
  const unlisten = eventStore.onDisconnect?.(() => {
    isDoubtful = true
  })
  const filling = createFilling(options, applier, signal)
  const running = Promise.all([repeat(consume, { signal, log, observer }), created.promise.then(filling.run)])
  signal.addEventListener('abort', () => created.resolve(), { once: true })

  async function consume(worked: () => void): Promise<void> {
    await follow()
    await create()
    if (signal.aborted) return
    const joined = groups.subscribe(group, { bufferSize: batchSize })
    subscription = joined
    try {
      for await (const deliveries of joined) {
        busy = true
        if (isDoubtful) await compare()
        await applyAll(deliveries)
        await joined.ack(deliveries)
        busy = false
        const events = deliveries.map(({ event }) => event)
        const isRefill = events.some(({ created }) => filling.isRefill(created))
        observer?.applied?.(events, true, isRefill)
        worked()
        if (signal.aborted) return
      }
    } catch (error) {
      if (!(error instanceof GroupNotFound)) throw error
      log.warn({ group }, 'the group was deleted; it is created anew')
    } finally {
      busy = false
      await joined.unsubscribe()
    }
  }

  /** The server's own checkpoint of the group is as old as its log; the documents are compared with it before they go on. */
  async function compare(): Promise<void> {
    isDoubtful = false
    try {
      if ((await resume(options)) === null) filling.begin()
      applier.forget()
    } catch (error) {
      isDoubtful = true
      throw error
    }
  }

  /** To the generation that is live when it is done: what is acknowledged to the server must be in that one. */
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
 * Creates the group, where it is not there.
 * @param from where it begins; default: at the log's end, as of now
 */
async function createGroup(
  { eventStore, group, log = SILENT }: GroupProjectionOptions,
  from: Position | 'start' | undefined,
): Promise<void> {
  try {
    await eventStore.persistentSubscriptions.create(group, {
      filter: FILTER,
      // Not 'end': a group that has no checkpoint yet would begin at the end anew after a restart of the server.
      from: from ?? (await logEnd(eventStore, FILTER)) ?? 'start',
      messageTimeout: MESSAGE_TIMEOUT_MS,
      maxRetryCount: FOR_EVER,
    })
    log.info({ group }, 'group created')
  } catch (error) {
    if (!(error instanceof GroupExists)) throw error
  }
}
