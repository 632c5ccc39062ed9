/**
 * Customers as the subgraph works with them: commands are decided on the folded stream and appended with the revision
 * they were decided on; queries come from the read model, or from the stream where the read model is behind or away.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { LRUCache } from 'lru-cache'
import { decode, type Recorded } from '../eventstore/codec.ts'
import type { EventPlace } from '../eventstore/place.ts'
import { type EventStore, EventStoreUnavailable, StreamNotFound, WrongExpectedRevision } from '../eventstore/port.ts'
import { type CustomerDocument, DOCUMENT_VERSION, project } from '../projections/customer.ts'
import { createMarks } from '../projections/fence/marks.ts'
import { customerStream, type Folded, foldForward } from '../projections/fold.ts'
import { type ReadModel, type ReadModelEntry, ReadModelUnavailable } from '../projections/read-model.ts'
import { endWith, startSpan } from '../runtime/tracing.ts'
import type { CustomerEvent, EventMetadata } from '../schema/events.ts'
import { type Command, encodeAll, isCause } from './command.ts'
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
  /** The customer as of the end of its stream; from then on no instance shows an older state. @throws EventStoreUnavailable */
  load(id: number): Promise<CustomerDocument>
  /**
   * Decides and appends; decides again after a conflict. No event: nothing is written.
   * @throws what `decide` throws; EventStoreUnavailable; CustomerError (SERVICE_UNAVAILABLE) after too many conflicts
   */
  execute(id: number, command: Command, decide: Decide): Promise<Outcome>
  /** What the command did when it was first given, if it was. */
  repetition(id: number, command: Command): Promise<Outcome | undefined>
  /**
   * The customer for a query: everything acknowledged so far is in it, and all that any instance has shown of the customer.
   * @param traceparent the parent of its spans
   * @throws EventStoreUnavailable where it has to be folded
   */
  get(id: number, traceparent?: string): Promise<CustomerDocument>
  /** Whether queries can't use the documents now. */
  isFenced(): boolean
  /** The newest event that was appended here; undefined before the first. */
  newestAppended(): EventPlace | undefined
  /** The log turned out to be another one: what is in memory is of no use. */
  forget(): void
  /** Whether this instance does not reach the read model while others do. */
  isAlone(): boolean
  /** Writes outstanding revision marks once more, then stops. */
  close(): Promise<void>
}

/** Rounds of load, decide and append before a command gives up against other writers of the same customer. */
const MAX_ATTEMPTS = 100
/** How far back in a stream a repetition of a command is looked for. */
const REPETITION_WINDOW = 200
const CACHED_CUSTOMERS = 10_000
const NOTHING: ReadonlySet<string> = new Set()

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
  const marks = createMarks({ eventStore, readModel, log })
  let appended: EventPlace | undefined

  // A state is decided on before the log is read again: it must not be of a log that is gone.
  const unlisten = eventStore.onDisconnect?.(() => cache.clear())

  /** Folded forward from what is cached. It may have what another instance has not acknowledged yet: see `shown`. */
  async function fold(id: number, traceparent?: string): Promise<CustomerDocument> {
    const known = cache.get(id)
    const folded = await endWith(
      startSpan('fold customer', { parent: traceparent }),
      foldForward(eventStore, id, known),
    )
    // It does not go on from what was known: the stream is that of another log, or of an older state of it.
    if (known && isOther(folded, known) && cache.get(id) === known) cache.delete(id)
    return remember(folded)
  }

  /** To be called before anything that depends on a folded state is answered: nobody may be shown an older one after it. */
  async function shown(state: CustomerDocument, known = -1): Promise<CustomerDocument> {
    await marks.acknowledge(state.id, state.revision, known)
    return state
  }

  const load = async (id: number) => shown(await fold(id))

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
        if (isCause(command, $causationId)) events.unshift(decode<CustomerEvent>(stored))
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
        if (!(error instanceof CustomerError)) throw error
        if (fresh) {
          await shown(state)
          throw error
        }
        fresh = true
        continue
      }
      if (events.length === 0) {
        if (fresh) return { state: await shown(state), events }
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

  /** The customer's document and mark, as far as the instance may believe them: see docs/read-your-writes.md. */
  async function read(
    id: number,
    trusted: ReadonlySet<string>,
    traceparent: string | undefined,
  ): Promise<ReadModelEntry | undefined> {
    if (trusted.size === 0) return undefined
    try {
      const [entry] = await endWith(startSpan('read document', { parent: traceparent }), readModel.get([id], trusted))
      return entry
    } catch (error) {
      if (!(error instanceof ReadModelUnavailable)) throw error
      return undefined
    }
  }

  /** The document, if it is of this release and nothing that was acknowledged is missing from it. */
  function current(id: number, entry: ReadModelEntry | undefined): CustomerDocument | undefined {
    if (entry?.document?.version !== DOCUMENT_VERSION) return undefined
    const acknowledged = Math.max(entry.acknowledged, marks.outstanding(id))
    return entry.document.revision >= acknowledged ? entry.document : undefined
  }

  async function get(id: number, traceparent?: string): Promise<CustomerDocument> {
    const allowed = mayReadDocuments()
    const isAllowed = allowed === true || (await allowed)
    const trusted = isAllowed ? (marks.trusted() ?? (await marks.trustedWithoutLease())) : NOTHING
    const entry = await read(id, trusted, traceparent)
    const document = current(id, entry)
    if (document) {
      onRead?.('read-model')
      marks.note(id, document.revision)
      return document
    }
    try {
      const state = await fold(id, traceparent)
      onRead?.('stream')
      // Where this fails, what was acknowledged is in the state all the same.
      return await shown(state, entry?.acknowledged).catch(() => state)
    } catch (error) {
      if (!(error instanceof EventStoreUnavailable) || marks.trusted() || !isAllowed) throw error
      marks.missed()
      const document = current(id, await read(id, await marks.trustedWithoutLease(), traceparent))
      if (document === undefined) throw error
      onRead?.('read-model')
      return document
    }
  }

  return {
    load,
    execute: (id, command, decide) => queue.run(id, () => decideAndAppend(id, command, decide)),
    repetition,
    get,
    isFenced: marks.isFenced,
    isAlone: marks.isAlone,
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

/** Whether one is not what the other, read later, has become. */
function isOther(folded: Folded, known: Folded): boolean {
  const [after, before] = [folded.document.revision, known.document.revision]
  return after < before || (after === before && folded.eventId !== known.eventId)
}
