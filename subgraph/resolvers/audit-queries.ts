/** A customer's history and former states, for services that may audit. Every disclosure is recorded first. */

import { createHistoryStates } from '../../audit/history-states.ts'
import { ACCEPTED_MOMENTS, parseMoment } from '../../audit/moments.ts'
import { recordReveal } from '../../audit/reveals.ts'
import { customerAt, type Places, START, type TimelineEntry, timeline } from '../../audit/timeline.ts'
import type { EventStore, Json } from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import { hasWords } from '../../runtime/reason-text.ts'
import { refusal } from '../errors.ts'
import type { RequestContext } from '../http/request-context.ts'
import { requireScope } from '../identity/scopes.ts'

const MOST_ENTRIES = 500

interface HistoryArguments {
  readonly customerId: number
  readonly reason: string
  readonly first: number | null
  readonly after?: string | null
}

/** @param toCustomer a document in the schema's shape */
export function createAuditQueries(eventStore: EventStore, toCustomer: (document: CustomerDocument) => object) {
  const statesOf = createHistoryStates(eventStore)

  /** @throws CustomerError for callers without the scope, and without a reason */
  async function reveal(
    { customerId, reason }: { readonly customerId: number; readonly reason: string },
    command: string,
    context: RequestContext,
  ): Promise<void> {
    const { service } = requireScope(context, 'customers:audit')
    if (customerId < 1) throw refusal('VALUE_NOT_POSITIVE', { name: 'customerId' })
    if (!hasWords(reason)) throw refusal('AUDIT_REASON_MISSING')
    const actor = `service:${service}`
    const { correlationId } = context
    await recordReveal(eventStore, { customerId, command, reason: reason.trim(), actor, correlationId })
  }

  return {
    async customerHistory(_: unknown, args: HistoryArguments, context: RequestContext) {
      requireScope(context, 'customers:audit')
      const first = args.first ?? 20
      if (first < 1 || first > MOST_ENTRIES) {
        throw refusal('AUDIT_PAGE_SIZE_INVALID', { most: MOST_ENTRIES })
      }
      const after = args.after ? placesOf(args.after) : START
      await reveal(args, 'customerHistory', context)
      const entries: TimelineEntry[] = []
      let hasNextPage = false
      const states = await statesOf(args.customerId)
      const known = states.at(after.customer)
      let last = known
      let passed = known
      const following = timeline(eventStore, args.customerId, after, {
        known,
        passed(folded) {
          passed = folded
        },
      })
      for await (const entry of following) {
        hasNextPage = entries.length === first
        if (hasNextPage) break
        entries.push(entry)
        last = passed
      }
      if (hasNextPage && last) states.keep(last)
      const edges = entries.map((entry) => ({ cursor: cursorOf(entry.places), node: nodeOf(entry) }))
      return {
        edges,
        pageInfo: {
          hasNextPage,
          hasPreviousPage: Object.values(after).some((revision) => revision >= 0),
          startCursor: edges[0]?.cursor ?? null,
          endCursor: edges.at(-1)?.cursor ?? null,
        },
      }
    },

    async customerAsOf(
      _: unknown,
      args: { readonly customerId: number; readonly at: string; readonly reason: string },
      context: RequestContext,
    ) {
      requireScope(context, 'customers:audit')
      const moment = parseMoment(args.at)
      if (moment === undefined) throw refusal('AUDIT_MOMENT_INVALID', { accepted: ACCEPTED_MOMENTS })
      await reveal(args, `customerAsOf ${args.at}`, context)
      const [found] = await customerAt(eventStore, args.customerId, [moment])
      if (found === undefined) return null
      const { document, created } = found
      return {
        revision: document.revision,
        time: created.toISOString(),
        status: document.status,
        customer: document.status === 'registered' ? toCustomer(document) : null,
      }
    },
  }
}

function nodeOf(entry: TimelineEntry) {
  const { id, revision, type, created, decidedAt, actor, requestId, details, problem } = entry
  const detail = (name: string) => (Object.hasOwn(details, name) ? toText(details[name] ?? null) : null)
  return {
    id,
    revision,
    event: type,
    time: created.toISOString(),
    decidedAt,
    actor,
    requestId,
    changes: entry.changes.map(({ field, from, to }) => ({ field, from: toText(from), to: toText(to) })),
    kind: detail('kind'),
    clientAddress: detail('clientAddress'),
    userAgent: detail('userAgent'),
    reason: detail('reason'),
    problem: problem ?? null,
  }
}

/** A text unchanged, anything else as JSON. */
const toText = (value: Json) => (value === null || typeof value === 'string' ? value : JSON.stringify(value))

/** The revisions seen so far: they never change, whatever is appended later. */
const cursorOf = ({ customer, access, skips }: Places) =>
  Buffer.from(`${customer}.${access}.${skips}`).toString('base64url')

/** @throws CustomerError for an invalid cursor */
function placesOf(cursor: string): Places {
  const [, customer, access, skips] =
    /^(-1|\d{1,15})\.(-1|\d{1,15})\.(-1|\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (customer === undefined) throw refusal('AUDIT_CURSOR_INVALID')
  return { customer: Number(customer), access: Number(access), skips: Number(skips) }
}
