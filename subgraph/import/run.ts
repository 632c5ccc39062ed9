/** What all rows of one run of an import share. */

import { chained } from '../../eventstore/chain.ts'
import { decode, type Recorded } from '../../eventstore/codec.ts'
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
import { STREAM_PREFIXES } from '../../schema/streams.ts'
import { type Command, encodeAll, uuidOf } from '../command.ts'
import { createEmailClaims, type EmailClaims } from '../email-claims.ts'
import { createHashKinds } from '../identity/password-checks.ts'
import { createIds, type Ids } from '../ids.ts'
import { createSubscribers, type Subscribers } from '../subscribers.ts'
import { withBoundedReads } from './bounded-reads.ts'
import type { Row } from './csv.ts'
import { idOf } from './rows.ts'
import { createSeen, type Seen } from './seen.ts'

export interface RunOptions {
  readonly eventStore: EventStore
  /** Keys the claims of addresses. */
  readonly emailHashKey: string
  readonly store: Store
  readonly dryRun: boolean
  readonly now: Date
  readonly signal: AbortSignal | undefined
}

export interface ImportRun extends RunOptions {
  readonly claims: EmailClaims
  readonly ids: Ids
  readonly hashKinds: ReturnType<typeof createHashKinds>
  readonly subscribers: Subscribers
  /** Whether an address may have subscribed as a guest's. */
  readonly hasGuests: boolean
  /** Nobody has an address yet: none needs to be looked up. */
  readonly isEmpty: boolean
  /** The end of the log before the run. */
  readonly before: Position
  /** Customers of this run's rows, by the keys of their addresses. What it has registered need not be read. */
  readonly seen: Seen
  /** Ids up to these may have been given out here; those above have not, and will not be. */
  readonly givenOut: { customer: number; address: number }
  /** The command of the run itself: what belongs to no row. */
  readonly own: Command
  /** The command of a row: the same in each run. */
  command(name: string): Command
  load(id: number): Promise<CustomerDocument>
}

/** The floor of ids is raised in such steps, so that it is not raised for each row. */
const FLOOR_STEP = 10_000

/** @throws EventStoreUnavailable */
export async function startRun(options: RunOptions): Promise<ImportRun> {
  const eventStore = chained(withBoundedReads(options.eventStore))
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
  return {
    ...options,
    eventStore,
    claims,
    ids: createIds(eventStore),
    hashKinds: createHashKinds(eventStore),
    subscribers: createSubscribers(eventStore, claims.keysOf),
    before: await end(eventStore),
    isEmpty: await hasNone(eventStore, STREAM_PREFIXES.email),
    hasGuests: !(await hasNone(eventStore, STREAM_PREFIXES.subscriber)),
    seen: createSeen(),
    givenOut: { customer: 0, address: 0 },
    own: command(`run:${correlationId}`),
    command,
    load,
  }
}

/** Rows as they come, once no id of theirs will be given out here any more. */
export async function* withFloors(
  { ids, givenOut, own, dryRun, signal }: ImportRun,
  read: AsyncIterable<Row>,
  kind: 'customer' | 'address',
  columns: readonly string[],
): AsyncGenerator<Row> {
  let floor = 0
  for await (const row of read) {
    if (signal?.aborted) return
    const id = idOf(row.fields, columns) ?? 0
    if (id > floor && !dryRun) {
      floor = Math.ceil(id / FLOOR_STEP) * FLOOR_STEP
      givenOut[kind] = Math.max(givenOut[kind], await ids.raiseFloor(kind, floor, own))
    }
    yield row
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

/** Appends to a stream without events; a repetition counts as written. */
export async function appendFirst({ eventStore }: ImportRun, stream: string, events: readonly NewEvent[]) {
  try {
    const { position } = await eventStore.append(stream, events, { expected: 'no_stream' })
    return { written: true, position }
  } catch (error) {
    if (!(error instanceof WrongExpectedRevision)) throw error
    return { written: false, position: undefined }
  }
}

export const claimStream = (key: string) => `${STREAM_PREFIXES.email}${key}`
export const credentialsStream = (id: number) => `${STREAM_PREFIXES.credentials}${id}`

/** The events of a row that are not of the customer's stream, or not of its registration: always with the same ids. */
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
