/**
 * Customers as the subgraph works with them: commands are decided on the folded stream and appended with the revision
 * they were decided on; queries come from the read model, or from the stream where the read model is behind or away.
 */
import type { FastifyBaseLogger } from 'fastify'
import { LRUCache } from 'lru-cache'
import { decode, type Recorded } from '../eventstore/codec.ts'
import type { EventPlace } from '../eventstore/place.ts'
import { type EventStore, StreamNotFound, WrongExpectedRevision } from '../eventstore/port.ts'
import { type CustomerDocument, DOCUMENT_VERSION, project } from '../projections/customer.ts'
import { customerStream, type Folded, foldForward } from '../projections/fold.ts'
import { type ReadModel, type ReadModelEntry, ReadModelUnavailable } from '../projections/read-model.ts'
import type { CustomerEvent, EventMetadata } from '../schema/events.ts'
import { endWith, startSpan } from '../schema/tracing.ts'
import { type Command, encodeAll } from './command.ts'
import { CustomerError, serviceUnavailable } from './errors.ts'
import { createKeyedQueue } from './keyed-queue.ts'

/** What a command did: the customer after it, and the events it appended (those of the first time, where it is a repetition). */
export interface Outcome {
  readonly state: CustomerDocument
  readonly events: readonly CustomerEvent[]
}

/** Pure but for what it has to look up; called again with a newer state after a conflict. */
export type Decide = (state: CustomerDocument) => readonly CustomerEvent[] | Promise<readonly CustomerEvent[]>

export interface Customers {
  /** The customer as of the end of its stream. @throws EventStoreUnavailable */
  load(id: number): Promise<CustomerDocument>
  /**
   * Decides and appends; decides again after a conflict. No event: nothing is written.
   * @throws what `decide` throws; EventStoreUnavailable; CustomerError (SERVICE_UNAVAILABLE) after too many conflicts
   */
  execute(id: number, command: Command, decide: Decide): Promise<Outcome>
  /** What the command did when it was first given, if it was. */
  repetition(id: number, command: Command): Promise<Outcome | undefined>
  /**
   * The customer for a query: everything acknowledged so far is in it.
   * @param traceparent the parent of its spans
   * @throws EventStoreUnavailable where it has to be folded
   */
  get(id: number, traceparent?: string): Promise<CustomerDocument>
  /** The newest event that was appended here; undefined before the first. */
  newestAppended(): EventPlace | undefined
  /** The log turned out to be another one: what is in memory is of no use. */
  forget(): void
  /** Writes outstanding revision marks once more, then stops. */
  close(): Promise<void>
}

/** Rounds of load, decide and append before a command gives up against other writers of the same customer. */
const MAX_ATTEMPTS = 100
/** How far back in a stream a repetition of a command is looked for. */
const REPETITION_WINDOW = 200
const CACHED_CUSTOMERS = 10_000

export function createCustomers(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly log: FastifyBaseLogger
  /** Whether the read model's documents may be answered with (see log-guard.ts). Default: yes. */
  readonly mayReadDocuments?: () => boolean | Promise<boolean>
  /** Told how each query was answered. */
  readonly onRead?: (source: 'read-model' | 'stream') => void
}): Customers {
  const { eventStore, readModel, log, onRead, mayReadDocuments = () => true } = options
  const cache = new LRUCache<number, Folded>({ max: CACHED_CUSTOMERS })
  const queue = createKeyedQueue<number>()
  const marks = createRevisionMarks(readModel, log)
  let appended: EventPlace | undefined

  // A state is decided on before the log is read again: it must not be of a log that is gone.
  const unlisten = eventStore.onDisconnect?.(() => cache.clear())

  /** Folded forward from what is cached. */
  async function load(id: number): Promise<CustomerDocument> {
    const known = cache.get(id)
    const folded = await foldForward(eventStore, id, known)
    // It does not go on from what was known: the stream is that of another log, or of an older state of it.
    if (known && isOther(folded, known) && cache.get(id) === known) cache.delete(id)
    return remember(folded)
  }

  const fold = (id: number, traceparent: string | undefined) =>
    endWith(startSpan('fold customer', { parent: traceparent }), load(id))

  /** Keeps the newest: a slower read must not put an older state back. */
  function remember(folded: Folded): CustomerDocument {
    const { document } = folded
    if (document.revision > (cache.get(document.id)?.document.revision ?? -1)) cache.set(document.id, folded)
    return document
  }

  async function repetition(id: number, command: Command): Promise<Outcome | undefined> {
    const events: Recorded<CustomerEvent>[] = []
    try {
      const newestFirst = eventStore.readStream(customerStream(id), {
        direction: 'backwards',
        maxCount: REPETITION_WINDOW,
      })
      for await (const stored of newestFirst) {
        const { $causationId } = (stored.metadata ?? {}) as Partial<EventMetadata>
        if ($causationId === command.id) events.unshift(decode<CustomerEvent>(stored))
        else if (events.length > 0) break
      }
    } catch (error) {
      if (!(error instanceof StreamNotFound)) throw error
    }
    return events.length > 0 ? { state: await load(id), events } : undefined
  }

  async function decideAndAppend(id: number, command: Command, decide: Decide): Promise<Outcome> {
    if (command.repeatable) {
      const done = await repetition(id, command)
      if (done) return done
    }
    // A cached state saves the read: the append tells whether it was still the newest. Only what writes nothing
    // (a refusal, or no change) has to be decided on a state that was just read.
    let state = cache.get(id)?.document
    let fresh = state === undefined
    for (let attempt = 1; ; attempt++) {
      state = fresh || state === undefined ? await fold(id, command.traceparent) : state
      let events: readonly CustomerEvent[]
      try {
        events = await decide(state)
      } catch (error) {
        if (fresh || !(error instanceof CustomerError)) throw error
        fresh = true
        continue
      }
      if (events.length === 0) {
        if (fresh) return { state, events }
        fresh = true
        continue
      }
      try {
        return await append(state, command, events)
      } catch (error) {
        if (!(error instanceof WrongExpectedRevision)) throw error
        if (attempt === MAX_ATTEMPTS) {
          log.warn({ customerId: id, attempts: attempt }, 'command gave up after conflicts')
          throw serviceUnavailable()
        }
        fresh = true
        if (attempt > 1) await delay(Math.random() * Math.min(2 ** attempt, 50))
      }
    }
  }

  async function append(state: CustomerDocument, command: Command, events: readonly CustomerEvent[]): Promise<Outcome> {
    const encoded = encodeAll(command, events)
    const expected = state.revision === -1 ? 'no_stream' : state.revision
    const span = startSpan('append customer', { parent: command.traceparent })
    const stream = customerStream(state.id)
    const { position, revision } = await endWith(span, eventStore.append(stream, encoded, { expected }))
    if (position) appended = { position, id: encoded.at(-1)?.id ?? '', stream, revision }
    const after = events.reduce((current: CustomerDocument, event, index) => {
      const { id, metadata } = encoded[index] as { id: string; metadata: unknown }
      const recorded = { ...event, id, metadata, revision: current.revision + 1, created: command.at }
      return project(current, recorded as Recorded<CustomerEvent>)
    }, state)
    remember({ document: after, eventId: encoded.at(-1)?.id })
    await marks.acknowledge(after.id, after.revision)
    return { state: after, events }
  }

  async function get(id: number, traceparent?: string): Promise<CustomerDocument> {
    let entry: ReadModelEntry | undefined
    const allowed = mayReadDocuments()
    if (allowed !== true && !(await allowed)) {
      onRead?.('stream')
      return fold(id, traceparent)
    }
    try {
      ;[entry] = await endWith(startSpan('read document', { parent: traceparent }), readModel.get([id]))
    } catch (error) {
      if (!(error instanceof ReadModelUnavailable)) throw error
    }
    const acknowledged = Math.max(entry?.acknowledged ?? -1, marks.outstanding(id))
    // Until the projection has made them anew, the documents of another release are no answer.
    const current = entry?.document?.version === DOCUMENT_VERSION
    if (entry?.document && current && entry.document.revision >= acknowledged) {
      onRead?.('read-model')
      return entry.document
    }
    onRead?.('stream')
    return fold(id, traceparent)
  }

  return {
    load,
    execute: (id, command, decide) => queue.run(id, () => decideAndAppend(id, command, decide)),
    repetition,
    get,
    newestAppended: () => appended,
    forget() {
      appended = undefined
      cache.clear()
      marks.forget()
    },
    async close() {
      unlisten?.()
      await marks.close()
    },
  }
}

/**
 * The marks beside the documents that say how far a customer was acknowledged. One that can't be written must not fail a
 * mutation that has been appended: it is kept here, where this instance's queries heed it, and written as soon as may be.
 */
function createRevisionMarks(readModel: ReadModel, log: FastifyBaseLogger) {
  const RETRY_MS = 200
  const unwritten = new Map<number, number>()
  let timer: NodeJS.Timeout | undefined

  async function flush(): Promise<void> {
    timer = undefined
    try {
      for (const [id, revision] of unwritten) {
        await readModel.acknowledge(id, revision)
        if (unwritten.get(id) === revision) unwritten.delete(id)
      }
      log.info('read model reached again: all revision marks are written')
    } catch {
      schedule()
    }
  }

  function schedule(): void {
    timer ??= setTimeout(flush, RETRY_MS).unref()
  }

  return {
    outstanding: (id: number) => (unwritten.size === 0 ? -1 : (unwritten.get(id) ?? -1)),
    async acknowledge(id: number, revision: number): Promise<void> {
      try {
        await readModel.acknowledge(id, revision)
      } catch (error) {
        if (!(error instanceof ReadModelUnavailable)) throw error
        if (unwritten.size === 0) log.warn('read model not reached: revision marks are kept and written later')
        unwritten.set(id, Math.max(revision, unwritten.get(id) ?? -1))
        schedule()
      }
    },
    /** Marks of another log: in this one's streams they would never be reached. */
    forget: () => unwritten.clear(),
    async close(): Promise<void> {
      clearTimeout(timer)
      if (unwritten.size > 0) await flush()
      clearTimeout(timer)
    },
  }
}

/** Whether one is not what the other, read later, has become. */
function isOther(folded: Folded, known: Folded): boolean {
  const [after, before] = [folded.document.revision, known.document.revision]
  return after < before || (after === before && folded.eventId !== known.eventId)
}

function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
