/** What the page of a customer shows: the timeline by request, and who looked at the customer. */
import { matchersOf, metadataOf, parseField } from '../../../audit/criteria.ts'
import { type Covering, createCoverage, type Evidence, evidenceOf, placeKey } from '../../../audit/evidence.ts'
import { type Shown, scopeOf, shownEntry } from '../../../audit/masking.ts'
import type { Place } from '../../../audit/places.ts'
import { REVEALS_STREAM } from '../../../audit/reveals.ts'
import { streamsOf, type TimelineEntry, timeline } from '../../../audit/timeline.ts'
import type { EventStore, RecordedEvent } from '../../../eventstore/port.ts'
import { orNone } from '../../../eventstore/read.ts'
import { Refused } from '../../errors.ts'
import type { ConsoleOptions } from '../../routes.ts'

/** A timeline entry as it may be shown, with what proves it. */
export interface Entry extends TimelineEntry {
  readonly evidence?: Evidence | undefined
  readonly covering?: Covering | undefined
}

/** Personal data of the customer was shown to somebody. */
export interface Look {
  readonly created: Date
  readonly actor: string
  readonly reason: string
  readonly command: string
  /** Of the record of it. */
  readonly place: Place
}

/** What one request did, newest first, or a look. */
export type Group =
  | {
      readonly kind: 'request'
      readonly requestId: string
      readonly entries: readonly Entry[]
      /** The customer's last sign-in before it, if the customer did it. */
      readonly signedIn: TimelineEntry | undefined
    }
  | { readonly kind: 'look'; readonly look: Look }

export interface History {
  /** Newest first. */
  readonly groups: readonly Group[]
  /** All entries that fit, of all pages. */
  readonly count: number
  /** The newest revision of the customer's stream; -1: none. */
  readonly newest: number
}

/** How many disclosures are searched for those of this customer. */
const MOST_LOOKS = 2_000

/** Entries of a page. */
export const ENTRIES = 60

/**
 * @param options.page from 1
 * @param options.isShown whether an event has not expired
 * @throws Refused 404 if nothing is known of the customer, 400 for an unknown field; EventStoreUnavailable
 */
export async function readHistory(
  { eventStore, stored }: ConsoleOptions,
  customerId: number,
  options: {
    readonly shown: Shown
    readonly field: string | undefined
    readonly page: number
    readonly isShown: (event: RecordedEvent) => boolean
  },
): Promise<History> {
  const { shown, field, page, isShown } = options
  if (field !== undefined && parseField(field) === undefined) {
    throw new Refused(
      400,
      `There is no field “${field}”; accepted: names as in the timeline, such as firstname or addresses.city.`,
    )
  }
  const { fits } = matchersOf({ fields: field === undefined ? [] : [field] })
  const own = streamsOf(customerId).customer
  let newest = -1
  let hasEvents = false
  const passing = (event: RecordedEvent) => {
    hasEvents = true
    if (event.stream === own) newest = event.revision
    return isShown(event) && fits(event)
  }
  const all: TimelineEntry[] = []
  for await (const entry of timeline(eventStore, customerId, undefined, { fits: passing })) all.push(entry)
  if (!hasEvents) throw new Refused(404, `There is no customer ${customerId}.`)
  const end = Math.max(0, all.length - (page - 1) * ENTRIES)
  const chosen = all.slice(Math.max(0, end - ENTRIES), end).map((entry) => shownEntry(entry, shown))
  const [entries, looks] = await Promise.all([
    withEvidence(stored, chosen),
    field === undefined ? looksAt(eventStore, customerId) : [],
  ])
  const between = looksBetween(looks, entries, { isFirst: page === 1, isLast: end <= ENTRIES })
  const signIns = all.filter(isSignIn).map((entry) => shownEntry(entry, shown))
  return { groups: groupsOf(entries, between, signIns), count: all.length, newest }
}

const isSignIn = ({ type, details }: TimelineEntry) => type === 'AccessRecorded' && details.kind === 'signed-in'

async function withEvidence(stored: EventStore, entries: readonly TimelineEntry[]): Promise<Entry[]> {
  const [evidence, covering] = await Promise.all([evidenceOf(stored, entries), createCoverage(stored)])
  return Promise.all(
    entries.map(async (entry) => {
      const found = evidence.get(placeKey(entry))
      return { ...entry, evidence: found, covering: found && (await covering(found)) }
    }),
  )
}

/** Oldest first. */
async function looksAt(eventStore: EventStore, customerId: number): Promise<Look[]> {
  const looks: Look[] = []
  const newest = eventStore.readStream(REVEALS_STREAM, { direction: 'backwards', maxCount: MOST_LOOKS })
  for await (const event of orNone(newest)) {
    const { customerId: whose, reason, command } = (event.data ?? {}) as Readonly<Record<string, unknown>>
    if (whose !== customerId) continue
    const { actor = '' } = metadataOf(event)
    looks.push({
      created: event.created,
      actor,
      reason: String(reason),
      command: String(command),
      place: { stream: event.stream, revision: event.revision },
    })
  }
  return looks.reverse()
}

/** Those of a page: from its oldest entry to the oldest one of the page before it. */
function looksBetween(
  looks: readonly Look[],
  entries: readonly Entry[],
  { isFirst, isLast }: { readonly isFirst: boolean; readonly isLast: boolean },
): readonly Look[] {
  const [oldest, newest] = [entries[0]?.created.getTime() ?? 0, entries.at(-1)?.created.getTime() ?? 0]
  return looks.filter(({ created }) => {
    const time = created.getTime()
    return (isLast || time >= oldest) && (isFirst || time < newest)
  })
}

/** Entries that follow each other and have the same request are one group. @param entries, looks oldest first */
function groupsOf(entries: readonly Entry[], looks: readonly Look[], signIns: readonly TimelineEntry[]): Group[] {
  const groups: Group[] = []
  const waiting = [...looks]
  let run: Entry[] = []
  const close = () => {
    const [first] = run
    if (first)
      groups.push({
        kind: 'request',
        requestId: first.requestId,
        entries: run.reverse(),
        signedIn: signInOf(first, run, signIns),
      })
    run = []
  }
  const addLooks = (before: Date | undefined) => {
    while (waiting[0] && (before === undefined || waiting[0].created < before)) {
      close()
      groups.push({ kind: 'look', look: waiting.shift() as Look })
    }
  }
  for (const entry of entries) {
    addLooks(entry.created)
    if (run[0] && (entry.requestId === '' || run[0].requestId !== entry.requestId)) close()
    run.push(entry)
  }
  addLooks(undefined)
  close()
  return groups.reverse()
}

/** The sign-in before something that the customer did. */
function signInOf(first: Entry, run: readonly Entry[], signIns: readonly TimelineEntry[]): TimelineEntry | undefined {
  const isOwn = first.actor === `customer:${scopeOf(first.stream)}`
  if (!isOwn || run.some(({ type }) => type === 'AccessRecorded')) return undefined
  return signIns.findLast(({ created }) => created <= first.created)
}
