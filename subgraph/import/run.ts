/** The state that all rows of one import run share. */
import { createHash } from 'node:crypto'

import { type BulkAppends, bulkAppendsOf } from '../../eventstore/bulk-appends.ts'
import { decode, type Recorded } from '../../eventstore/codec.ts'
import { uuidOf } from '../../eventstore/derived-uuid.ts'
import { chained, countAsChained } from '../../eventstore/hash-chain.ts'
import {
  type EventStore,
  type NewEvent,
  type Position,
  StreamNotFound,
  WrongExpectedRevision,
} from '../../eventstore/port.ts'
import type { CustomerDocument } from '../../projections/customer.ts'
import { foldCustomer } from '../../projections/fold.ts'
import type { CustomerEvent, EmailEvent } from '../../schema/events.ts'
import type { Store } from '../../schema/store.ts'
import { STREAM_PREFIXES, streamOf } from '../../schema/streams.ts'
import { type Command, encodeAll } from '../commands/command.ts'
import { createHashKinds } from '../identity/password-checks.ts'
import { createEmailClaims, type EmailClaims } from '../streams/email-claims.ts'
import { createIds, type Ids } from '../streams/ids.ts'
import { createSubscribers, type Subscribers } from '../streams/newsletter-subscribers.ts'
import { withBoundedReads } from './bounded-reads.ts'
import type { Row } from './files/csv.ts'
import { idOf } from './files/fields.ts'
import { createCounts, createSeen, type Seen } from './seen.ts'
import { createWebsites, type Websites } from './websites.ts'

export interface RunOptions {
  readonly eventStore: EventStore
  /** The key for the claims of addresses. */
  readonly emailHashKey: string
  readonly store: Store
  readonly dryRun: boolean
  readonly now: Date
  readonly signal: AbortSignal | undefined
}

export interface ImportRun extends RunOptions {
  /** For rows that are certainly new; undefined if the store has none, or for a dry run. */
  readonly bulk: BulkAppends | undefined
  readonly claims: EmailClaims
  readonly ids: Ids
  readonly hashKinds: ReturnType<typeof createHashKinds>
  /** The kinds of password hashes that the store holds, or will. */
  readonly kinds: Set<string>
  readonly subscribers: Subscribers
  /** Whether there may be guest subscriptions. */
  readonly hasGuests: boolean
  /** No address is claimed yet, so none needs to be looked up. */
  readonly isEmpty: boolean
  /** The end of the log before the run. */
  readonly before: Position
  /** Customers of this run's rows, by the keys of their addresses. What it has registered need not be read. */
  readonly seen: Seen
  readonly websites: Websites
  /** Ids up to these may have been assigned here; those above never are. */
  readonly givenOut: { customer: number; address: number }
  /** For a dry run: whether no row before had this id, among a million or more. */
  isFirst(kind: 'customer' | 'address', id: number): boolean
  /** The command of the run itself, for events that belong to no row. */
  readonly own: Command
  /** The command of a row: the same in each run. */
  command(name: string): Command
  load(id: number): Promise<CustomerDocument>
}

/** The newest ids that a dry run remembers, at least. */
const IDS = 1_000_000

function createFirsts(): ImportRun['isFirst'] {
  const counts = createCounts(IDS)
  return (kind, id) => counts.next(createHash('sha256').update(`${kind} ${id}`).digest('hex')) === 1
}

/** The step in which the floor of ids is raised, so that it is not raised for each row. */
const FLOOR_STEP = 10_000

/** @throws EventStoreUnavailable */
export async function startRun(options: RunOptions): Promise<ImportRun> {
  const log = chained(options.eventStore)
  const eventStore = countAsChained(withBoundedReads(log))
  const correlationId = crypto.randomUUID()
  const command = (name: string): Command => ({
    id: uuidOf(`import:${name}`),
    repeatable: false,
    actor: 'import',
    correlationId,
    at: options.now,
  })
  const load = (id: number) => foldCustomer(eventStore, id)
  const claims = createEmailClaims(eventStore, { load }, options.emailHashKey)
  const hashKinds = createHashKinds(eventStore)
  const seen = createSeen()
  return {
    ...options,
    eventStore,
    bulk: options.dryRun ? undefined : bulkAppendsOf(log),
    claims,
    ids: createIds(eventStore),
    hashKinds,
    kinds: new Set(await hashKinds.all()),
    subscribers: createSubscribers(eventStore, claims.keysOf),
    before: await end(eventStore),
    isEmpty: await hasNone(eventStore, STREAM_PREFIXES.email),
    hasGuests: !(await hasNone(eventStore, STREAM_PREFIXES.subscriber)),
    seen,
    websites: createWebsites(seen.has),
    givenOut: { customer: 0, address: 0 },
    isFirst: createFirsts(),
    own: command(`run:${correlationId}`),
    command,
    load,
  }
}

/** Yields the rows once their ids can no longer be assigned here. */
export async function* withFloors(
  { ids, givenOut, own, dryRun, signal }: ImportRun,
  read: AsyncIterable<readonly Row[]>,
  kind: 'customer' | 'address',
  columns: readonly string[],
): AsyncGenerator<readonly Row[]> {
  let floor = 0
  for await (const rows of read) {
    if (signal?.aborted) return
    const highest = rows.reduce((most, { fields }) => Math.max(most, idOf(fields, columns) ?? 0), 0)
    if (highest > floor && !dryRun) {
      floor = Math.ceil(highest / FLOOR_STEP) * FLOOR_STEP
      givenOut[kind] = Math.max(givenOut[kind], await ids.raiseFloor(kind, floor, own))
    }
    yield rows
  }
}

/** A stream's events, oldest first; none for a missing stream. */
export async function all<E extends CustomerEvent | EmailEvent>(
  { eventStore }: ImportRun,
  stream: string,
): Promise<Recorded<E>[]> {
  const events: Recorded<E>[] = []
  try {
    for await (const event of eventStore.readStream(stream)) events.push(decode<E>(event))
  } catch (error) {
    if (!(error instanceof StreamNotFound)) throw error
  }
  return events
}

/** Whether an import registered the customer of these events, with the e-mail address of this key. */
export const isImportedAs = ({ claims, own }: ImportRun, key: string, events: readonly Recorded<CustomerEvent>[]) =>
  events.some(
    ({ type, data, metadata }) =>
      type === 'CustomerRegistered' && metadata.actor === own.actor && claims.keyOf(data.email) === key,
  )

/** Appends to an empty stream; a retry counts as written. */
export async function appendFirst({ eventStore }: ImportRun, stream: string, events: readonly NewEvent[]) {
  try {
    const { position } = await eventStore.append(stream, events, { expected: 'no_stream' })
    return { written: true, position }
  } catch (error) {
    if (!(error instanceof WrongExpectedRevision)) throw error
    return { written: false, position: undefined }
  }
}

export const claimStream = (key: string) => streamOf.email(key)
export const credentialsStream = (id: number) => streamOf.credentials(id)

/** Encodes the events of a row outside the customer's registration, always with the same ids. */
export const claimOf = (id: number, own: Command) =>
  encodeAll(own, [{ type: 'EmailClaimed', data: { customerId: id } }], `claim:${id}`)
export const credentialsOf = (passwordHash: string, own: Command) =>
  encodeAll(own, [{ type: 'CredentialsSet', data: { passwordHash } }], 'credentials')
export const takingOf = (own: Command) => encodeAll(own, [{ type: 'CustomerIdImported', data: {} }], 'id')

async function hasNone(eventStore: EventStore, prefix: string): Promise<boolean> {
  for await (const _ of eventStore.readAll({ maxCount: 1, filter: { streamPrefixes: [prefix] } })) return false
  return true
}

/** The newest position of the log. */
async function end(eventStore: EventStore) {
  for await (const { position } of eventStore.readAll({ direction: 'backwards', maxCount: 1 })) return position
  return { commit: -1n, prepare: -1n }
}
