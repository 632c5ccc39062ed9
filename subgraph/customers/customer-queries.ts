/** Customers for queries: from the read model, or folded from the stream if the read model is behind or unavailable. */
import { EventStoreUnavailable } from '../../eventstore/port.ts'
import { type CustomerDocument, DOCUMENT_VERSION } from '../../projections/customer.ts'
import type { Marks } from '../../projections/fence/marks.ts'
import { type ReadModel, type ReadModelEntry, ReadModelUnavailable } from '../../projections/read-model.ts'
import { endWith, startSpan } from '../../runtime/tracing.ts'
import type { CustomerStates } from './customer-states.ts'
import type { Customers } from './customers.ts'

const NOTHING: ReadonlySet<string> = new Set()

export function createCustomerQueries(options: {
  readonly readModel: ReadModel
  readonly states: CustomerStates
  readonly marks: Marks
  /** Whether the read model's documents may be used (see log-guard.ts). */
  readonly mayReadDocuments: () => boolean | Promise<boolean>
  /** Called with the source that answered each query. */
  readonly onRead?: ((source: 'read-model' | 'stream') => void) | undefined
}): Pick<Customers, 'get'> {
  const { readModel, states, marks, mayReadDocuments, onRead } = options

  /** The customer's document and mark, if the instance may trust them: see docs/read-your-writes.md. */
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

  /** The document, if this release wrote it and it contains everything that was acknowledged. */
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
      const state = await states.fold(id, traceparent)
      onRead?.('stream')
      // If this fails, the state still contains everything that was acknowledged.
      return await states.shown(state, entry?.acknowledged).catch(() => state)
    } catch (error) {
      if (!(error instanceof EventStoreUnavailable) || marks.trusted() || !isAllowed) throw error
      marks.missed()
      const document = current(id, await read(id, await marks.trustedWithoutLease(), traceparent))
      if (document === undefined) throw error
      onRead?.('read-model')
      return document
    }
  }

  return { get }
}
