/**
 * Customers as the subgraph works with them: commands are decided on the folded stream and appended with the revision
 * they were decided on; queries come from the read model, or from the stream if the read model is behind or
 * unavailable.
 */
import type { FastifyBaseLogger } from 'fastify'
import type { Recorded } from '../../eventstore/codec.ts'
import type { EventPlace } from '../../eventstore/event-place.ts'
import type { EventStore } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import { createMarks } from '../../projections/fence/marks.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import type { CustomerEvent } from '../../schema/events.ts'
import type { Command } from '../commands/command.ts'
import { createExecution } from './customer-execution.ts'
import { createCustomerQueries } from './customer-queries.ts'
import { createCustomerStates } from './customer-states.ts'

/**
 * The result of a command: the customer after it, and the events that it appended (on a retry, those of the first
 * attempt).
 */
export interface Outcome {
  readonly state: CustomerDocument
  readonly events: readonly CustomerEvent[]
}

/** The result of an earlier execution: the events that it appended, and the customer as it is now. */
export interface Repetition extends Outcome {
  readonly events: readonly Recorded<CustomerEvent>[]
}

/** Pure, except for reads. It is called again with a newer state after a conflict. */
export type Decide = (state: CustomerDocument) => readonly CustomerEvent[] | Promise<readonly CustomerEvent[]>

export interface Customers {
  /**
   * The customer as of the end of its stream; from then on no instance shows an older state. @throws
   * EventStoreUnavailable
   */
  load(id: number): Promise<CustomerDocument>
  /**
   * Decides and appends, and decides again after a conflict. Without events nothing is written.
   * @throws what `decide` throws; EventStoreUnavailable; CustomerError (SERVICE_UNAVAILABLE) after too many conflicts
   */
  execute(id: number, command: Command, decide: Decide): Promise<Outcome>
  /** The result of an earlier execution of the same command, if there was one. */
  repetition(id: number, command: Command): Promise<Repetition | undefined>
  /**
   * The customer for a query. It contains everything acknowledged so far, and everything that any instance has shown.
   * @param traceparent the parent of its spans
   * @throws EventStoreUnavailable if the stream has to be folded
   */
  get(id: number, traceparent?: string): Promise<CustomerDocument>
  /** Whether queries currently can't use the documents. */
  isFenced(): boolean
  /** The newest event that was appended here; undefined before the first. */
  newestAppended(): EventPlace | undefined
  /** The log was replaced by another one: drops the cached states. */
  forget(): void
  /** The log may be an older state of the one before: drops what all instances were known to show. */
  forgetShown(): void
  /** Whether this instance can't reach the read model while others can. */
  isAlone(): boolean
  /** Writes outstanding revision marks once more, then stops. */
  close(): Promise<void>
}

export function createCustomers(options: {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly log: FastifyBaseLogger
  /** Whether the read model's documents may be used (see log-guard.ts). Default: yes. */
  readonly mayReadDocuments?: () => boolean | Promise<boolean>
  /** Called with the source that answered each query. */
  readonly onRead?: (source: 'read-model' | 'stream') => void
}): Customers {
  const { eventStore, readModel, log, onRead, mayReadDocuments = () => true } = options
  const marks = createMarks({ eventStore, readModel, log })
  const states = createCustomerStates(eventStore, marks)
  const { execute, repetition, newestAppended, forget } = createExecution({ eventStore, states, marks, log })
  const { get } = createCustomerQueries({ readModel, states, marks, mayReadDocuments, onRead })
  return {
    load: states.load,
    execute,
    repetition,
    get,
    isFenced: marks.isFenced,
    isAlone: marks.isAlone,
    newestAppended,
    forget() {
      forget()
      states.clear()
      marks.forget()
    },
    forgetShown: marks.forgetShown,
    async close() {
      states.close()
      await marks.close()
    },
  }
}
