/**
 * Imports a row of a customer. The claim of the address shows whether an earlier run imported it, and is read before
 * anything is written: a customer with a new password or address by now, or a deleted one, is not touched.
 */

import type { BulkAppends, Sequence } from '../../eventstore/bulk-appends.ts'
import type { Recorded } from '../../eventstore/codec.ts'
import { comparePositions } from '../../eventstore/port.ts'
import { readNewest } from '../../eventstore/read.ts'
import { partsOf } from '../../runtime/in-batches.ts'
import { formerEmailKeysOf } from '../../schema/email-key.ts'
import type { CustomerEvent, EmailEvent } from '../../schema/events.ts'
import { streamOf } from '../../schema/streams.ts'
import type { Command } from '../commands/command.ts'
import { CustomerError } from '../errors.ts'
import { forEachConcurrently } from './concurrently.ts'
import { RejectedRow } from './errors.ts'
import type { Row } from './files/csv.ts'
import type { ImportedCustomer } from './files/customer-row.ts'
import { mayBeNew, type Plan, plan, registrationOf } from './new-registration.ts'
import { noteKind, registerImported } from './registration.ts'
import { addressTaken, idTaken, isRejection } from './rejections.ts'
import type { Counted, Outcome, ReportedRow, Settle } from './reports.ts'
import { all, appendFirst, claimOf, claimStream, type ImportRun, isImportedAs, takingOf } from './run.ts'

/** How many registrations are handed over to the store together, and how many such parts concurrently. */
const AT_ONCE = 128
const PARTS_IN_FLIGHT = 3

/** In a dry run: the id of a customer whose row has none. Nobody has it. */
const FORESEEN = 2 ** 31 - 1

/** What is left to do for a row. */
interface Work {
  readonly row: ReportedRow
  readonly work: () => Promise<Outcome>
}

/** A row whose customer could be read. */
interface Begun {
  readonly row: ReportedRow
  readonly customer: ImportedCustomer
  readonly key: string
  readonly own: Command
}

export interface CustomerImport {
  /**
   * Imports rows of customers, and counts them. Those that are certainly new are written in bulk. The others, and those of
   * which that turns out not to be true, are imported one by one.
   * @param read reads a row, or throws RejectedRow
   * @throws EventStoreUnavailable
   */
  importRows(rows: readonly ReportedRow[], read: (row: Row) => ImportedCustomer, into: Counted): Promise<void>
}

export function createCustomerImport(run: ImportRun, settle: Settle): CustomerImport {
  const { claims, seen, websites, command, signal } = run
  const importOne = createSingleImport(run)
  /** Customers whose rows are under way, by the keys of their addresses. */
  const underWay = new Set<string>()

  /** In the order of the rows, so that the first one with an address gets it. @throws RejectedRow */
  function begin(row: ReportedRow, customer: ImportedCustomer): Begun {
    const key = claims.keyOf(customer.email)
    if (underWay.has(key) || seen.has(key)) throw new RejectedRow('the e-mail address occurs twice in the file')
    noteKind(run, customer)
    underWay.add(key)
    websites.accept(key, customer.website)
    return { row, customer, key, own: command(`customer:${customer.id ?? ''}:${key}`) }
  }

  async function finish({ customer, key, own }: Begun): Promise<Outcome> {
    try {
      const outcome = await importOne(customer, key, own)
      if (!seen.has(key)) seen.set(key, 'there')
      return outcome
    } finally {
      underWay.delete(key)
    }
  }

  return { importRows }

  async function importRows(
    rows: readonly ReportedRow[],
    read: (row: Row) => ImportedCustomer,
    into: Counted,
  ): Promise<void> {
    if (signal?.aborted) return
    const works: Work[] = []
    const news: Begun[] = []
    for (const row of rows) {
      try {
        const begun = begin(row, read(row.row))
        if (mayBeNew(run, begun.customer)) news.push(begun)
        else works.push({ row, work: () => finish(begun) })
      } catch (error) {
        works.push({ row, work: () => Promise.reject(error) })
      }
    }
    works.push(...(await importNew(news, into)))
    await forEachConcurrently(works, works.length, ({ row, work }) => settle(into, row, work))
  }

  /** Registers customers in bulk. @returns what is left to do for those with whom that was not possible */
  async function importNew(news: readonly Begun[], into: Counted): Promise<Work[]> {
    const { bulk } = run
    if (bulk === undefined || news.length === 0) return []
    const planned: { readonly begun: Begun; readonly plan: Plan }[] = []
    for (const begun of news) planned.push({ begun, plan: await plan(run, begun.customer) })
    await bulk.prepare(planned.map(({ plan }) => streamOf.customer(plan.id)))
    const left: Work[] = []

    /** The sequences are not kept while they are written. */
    function write(part: typeof planned, revisions: (number | undefined)[]): Promise<readonly boolean[]> {
      const sequences: Sequence[] = []
      for (const { begun, plan } of part) {
        try {
          const { sequence, revision } = registrationOf(begun, plan)
          sequences.push(sequence)
          revisions.push(revision)
        } catch (error) {
          if (!isRejection(error)) throw error
          sequences.push([]) // the ordinary way rejects it
          revisions.push(undefined)
        }
      }
      return (bulk as BulkAppends).write(sequences)
    }

    await forEachConcurrently(partsOf(planned, AT_ONCE), PARTS_IN_FLIGHT, async (part) => {
      const revisions: (number | undefined)[] = []
      const written = await write(part, revisions)
      for (const [index, { begun, plan }] of part.entries()) {
        const revision = revisions[index]
        if (written[index] && revision !== undefined) {
          seen.set(begun.key, { id: plan.id, revision })
          underWay.delete(begun.key)
          settle.done(into, begun.row, 'imported')
        } else left.push({ row: begun.row, work: () => finish(begun) })
      }
    })
    return left
  }
}

/** @returns a function that imports one customer; it throws RejectedRow or EventStoreUnavailable */
function createSingleImport(run: ImportRun) {
  const { eventStore, claims, ids, givenOut, command, dryRun } = run

  async function importOnce(customer: ImportedCustomer, key: string, own: Command): Promise<Outcome> {
    if (await cameWithEarlierRelease(customer)) return 'alreadyThere'
    if (dryRun) return foresee(customer, key, own)
    if (customer.id === undefined ? await isHeld(key) : customer.id <= givenOut.customer) {
      return importAgain(customer, key, own)
    }
    const id = customer.id ?? (await ids.nextCustomerId(run.own))
    const { written, position } = await appendFirst(run, claimStream(key), claimOf(id, own))
    const isNew = written && position !== undefined && comparePositions(position, run.before) > 0
    return isNew ? registerImported(run, customer, id, key, own) : importAgain(customer, key, own)
  }

  /** Handles a claim of an earlier release under another key. @throws RejectedRow if another customer holds it */
  async function cameWithEarlierRelease(customer: ImportedCustomer): Promise<boolean> {
    for (const key of formerEmailKeysOf(run.emailHashKey, customer.email)) {
      if (!(await isHeld(key))) continue
      const { isThere } = await find(customer, key, command(`customer:${customer.id ?? ''}:${key}`))
      if (isThere) return true
    }
    return false
  }

  async function isHeld(key: string): Promise<boolean> {
    return !run.isEmpty && (await readNewest(eventStore, claimStream(key), 1)).length > 0
  }

  /** If the address was ever claimed, or the id was assigned here, the existing state is read first. */
  async function importAgain(customer: ImportedCustomer, key: string, own: Command): Promise<Outcome> {
    const { newest, id = await ids.nextCustomerId(run.own), isThere } = await find(customer, key, own)
    if (isThere) return 'alreadyThere'
    const isOwn = newest?.type === 'EmailClaimed' && newest.data.customerId === id
    if (!isOwn) {
      try {
        await claims.claim(customer.email, id, own, 'change')
      } catch (error) {
        if (error instanceof CustomerError && error.code === 'EMAIL_TAKEN_ON_CHANGE') throw addressTaken()
        throw error
      }
    }
    return registerImported(run, customer, id, key, own)
  }

  /** What already exists of a row. @throws RejectedRow if its address or id belongs to another customer */
  async function find(customer: ImportedCustomer, key: string, own: Command) {
    const history = await all<EmailEvent>(run, claimStream(key))
    const newest = history.at(-1)
    const earlier = history.findLast(({ metadata }) => metadata.$causationId === own.id)
    let id = customer.id ?? earlier?.data.customerId
    const events = id === undefined ? [] : await all<CustomerEvent>(run, streamOf.customer(id))
    if (events.some((event) => event.id === own.id)) return { newest, id, isThere: true }
    if (newest?.type === 'EmailClaimed') {
      const holder = await run.load(newest.data.customerId)
      if (holder.status === 'registered' && claims.keyOf(holder.email) === claims.keyOf(customer.email)) {
        const current = claims.keyOf(holder.email)
        const ofHolder = holder.id === id ? events : await all<CustomerEvent>(run, streamOf.customer(holder.id))
        if (isImportedAs(run, current, ofHolder)) {
          // Imported from a file of another kind. Who registered here and got the number of the row may be anybody.
          if (holder.id === customer.id) return { newest, id, isThere: true }
          run.websites.refuse(current, customer.website)
        }
        throw addressTaken()
      }
    }
    if (id !== undefined && events.length > 0 && !isTakenBy(events, own)) {
      if (customer.id !== undefined) throw idTaken(id)
      id = undefined // fenced off by somebody who has claimed the address since
    }
    return { newest, id, isThere: false }
  }

  /** The outcome that the row would have. */
  async function foresee(customer: ImportedCustomer, key: string, own: Command): Promise<Outcome> {
    if (!run.isEmpty && (await find(customer, key, own)).isThere) return 'alreadyThere'
    if (customer.id !== undefined && !run.isFirst('customer', customer.id)) throw idTaken(customer.id)
    run.seen.set(key, { id: customer.id ?? FORESEEN, revision: 0 })
    return 'imported'
  }

  return importOnce
}

/** Whether a run was interrupted between claiming an id that was assigned here and the registration. */
const isTakenBy = (events: readonly Recorded<CustomerEvent>[], own: Command) =>
  events[0]?.id === takingOf(own)[0]?.id &&
  events.every(({ type }) => type === 'CustomerIdImported' || type === 'EmailClaimAbandoned')
