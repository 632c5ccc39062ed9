/**
 * The projection as one of any number of processes that share a persistent subscription: the server shares the events
 * out and keeps the place. Redelivery and reordering do no harm (see apply.ts), so processes come and go as they like.
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
} from '../eventstore/port.ts'
import { waitAfter } from '../runtime/back-off.ts'
import { SILENT } from '../runtime/log.ts'
import { pause } from '../runtime/time-limits.ts'
import { createApplier } from './apply.ts'
import { type Checkpoint, type ReadModel, sameCheckpoint } from './read-model.ts'
import { BACK_OFF, FILTER, type ProjectionOptions, reportFailures, resume, startProjection } from './worker.ts'

export interface GroupProjection {
  /** Finishes the deliveries in hand and leaves the group. Calling it again does nothing. */
  stop(): Promise<void>
}

/** How often it looks whether the read model needs filling. */
const LOOK_MS = 1_000
/** A process that is gone, or paused, loses its events to the others after so long. */
const MESSAGE_TIMEOUT_MS = 15_000
/**
 * Deliveries that come back: each outage of the read model, and each process that leaves, counts as one. The server must
 * not set an event aside for it; what can't be applied is parked in the read model (see apply.ts).
 */
const FOR_EVER = 2 ** 31 - 1

/**
 * Joins the group, creating it where there is none. Failures of a store are retried for ever, as in `startProjection`.
 * @param options.group the group's name: one for each read model
 * @param options.fillModel another handle of the same read model: the two need not be on the same generation at all times
 * @param options.batchSize the most events in flight to this process. Default 500.
 */
export function startGroupProjection(
  options: ProjectionOptions & {
    readonly eventStore: EventStore & { readonly persistentSubscriptions: PersistentSubscriptions }
    readonly group: string
    readonly fillModel: ReadModel
  },
): GroupProjection {
  const { eventStore, readModel, fillModel, group, log = SILENT, observer, batchSize = 500 } = options
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
  /** The generation that this process has brought up to the log, and since then acknowledges its deliveries to. */
  let filled: number | undefined
  /** The connection was lost: what answers by now may be another log. */
  let isDoubtful = false
  const unlisten = eventStore.onDisconnect?.(() => {
    isDoubtful = true
  })
  /** Events before this time (milliseconds since the epoch) fill the read model, or have filled it. */
  let filledUntil = Number.POSITIVE_INFINITY

  const running = Promise.all([repeat(consume), fill()])

  /** Again and again until it is stopped, with growing waits after failures. */
  async function repeat(work: (worked: () => void) => Promise<void>): Promise<void> {
    let failures = 0
    const worked = () => {
      if (failures > 0) log.info({}, 'projection goes on')
      failures = 0
    }
    while (!signal.aborted) {
      try {
        await work(worked)
      } catch (error) {
        if (signal.aborted) return
        if (failures === 0) {
          log.warn({ reason: (error as Error).message }, 'projection is interrupted; it tries again')
          observer?.interrupted?.()
        }
        await pause(waitAfter(BACK_OFF, ++failures), signal)
      }
    }
  }

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
        const isRefill = events.some(({ created }) => created.getTime() < filledUntil)
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
      if ((await resume(options)) === null) filled = undefined
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
    if ((await readModel.follow()) !== before) filled = undefined // also where it is soon live again
    applier.forget()
  }

  /** Not 'end': a group that has no checkpoint yet would begin at the end anew after a restart of the server. */
  async function newest(): Promise<Position | 'start'> {
    const last = eventStore.readAll({ direction: 'backwards', filter: FILTER, maxCount: 1 })
    for await (const { position } of last) return position
    return 'start'
  }

  async function create(): Promise<void> {
    const checkpoint = await resume(options)
    try {
      await groups.create(group, {
        filter: FILTER,
        from: checkpoint?.position ?? (wasThere ? 'start' : await newest()),
        messageTimeout: MESSAGE_TIMEOUT_MS,
        maxRetryCount: FOR_EVER,
      })
      log.info({ group }, 'group created')
    } catch (error) {
      if (!(error instanceof GroupExists)) throw error
    }
    wasThere = true
    created.resolve()
  }

  /** Fills the live generation while it is not complete or not known to be, unless somebody else is at it. */
  async function fill(): Promise<void> {
    signal.addEventListener('abort', () => created.resolve(), { once: true })
    await created.promise
    let last: Checkpoint | null | undefined
    while (!signal.aborted) {
      // Not all at the same moment: the first one does it.
      await pause(LOOK_MS * (0.5 + Math.random()), signal)
      if (signal.aborted) return
      try {
        const generation = await fillModel.follow()
        const checkpoint = await fillModel.getCheckpoint()
        const standsStill = last !== undefined && sameCheckpoint(checkpoint, last)
        last = checkpoint
        if (!checkpoint?.complete) filledUntil = Number.POSITIVE_INFINITY
        else if (filledUntil === Number.POSITIVE_INFINITY) filledUntil = filled === undefined ? 0 : Date.now()
        if ((checkpoint?.complete && generation === filled) || !standsStill) continue
        await catchUp(checkpoint?.complete ?? false)
        if (!checkpoint?.complete) filledUntil = Date.now()
        filled = await fillModel.generation()
      } catch {
        // A store is away, which `consume` reports; the next look may be luckier.
      }
    }
  }

  async function catchUp(wasComplete: boolean): Promise<void> {
    const reached = Promise.withResolvers<void>()
    const filling = startProjection({
      ...options,
      readModel: fillModel,
      log: SILENT,
      observer: {
        ...observer,
        applied(events, caughtUp, isRefill) {
          // Of a complete read model most is there: events that are only looked at again are no news.
          observer?.applied?.(wasComplete ? [] : events, caughtUp, isRefill)
          if (caughtUp) reached.resolve()
        },
      },
    })
    signal.addEventListener('abort', () => reached.resolve(), { once: true })
    await reached.promise
    await filling.stop()
    applier.forget()
    if (!signal.aborted && !wasComplete) log.info({}, 'read model filled')
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
