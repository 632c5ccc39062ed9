/**
 * Shared by the audit commands: their context, finding the customer, and recording a disclosure before anything is
 * shown.
 */
import type { EventStore } from '../../eventstore/port.ts'
import { newestRevision } from '../../eventstore/read.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { ConfigurationError } from '../../runtime/errors.ts'
import type { ProgressDisplay } from '../../runtime/progress.ts'
import { resolveCustomer } from '../customer-ref.ts'
import { AuditError } from '../errors.ts'
import { createMasker, type Shown } from '../masking.ts'
import type { RequestRules } from '../requests/decide.ts'
import type { Places } from '../requests/holdings.ts'
import { recordReveal } from '../reveals.ts'
import { streamsOf } from '../timeline.ts'

/** The context of a command. */
export interface AuditContext {
  /** Opened if a command needs it; the caller closes it. */
  readonly openEventStore: () => EventStore | Promise<EventStore>
  /** The documents, for an erasure. */
  readonly openReadModel: () => ReadModel | Promise<ReadModel>
  /** Needed to find a customer by an e-mail address, and for the marks of masked values. */
  readonly emailHashKey: () => string
  /** How long access records are kept: older ones are not shown, even if they still exist. */
  readonly accessRetentionDays: () => number
  /** The store's rules for requests of data subjects. */
  readonly requestRules: () => RequestRules
  /** Where the data is: what an erasure leaves for people to do depends on it. */
  readonly places: () => Places
  /** The user to record for disclosures. */
  readonly operator: string
  /** Standard output. */
  readonly write: (text: string) => void | Promise<void>
  /** Writes a line to standard error. */
  readonly note: (line: string) => void
  readonly progress: (label: string, unit: string) => ProgressDisplay
  /** Asks the operator; undefined if nobody can be asked. */
  readonly confirm: (question: string) => Promise<boolean | undefined>
  /** Whether the output is a terminal. */
  readonly styled: boolean
  readonly signal?: AbortSignal
}

/** The options of every command that shows data. */
export interface ShowOptions {
  readonly json: boolean
  /** Shows personal data; recorded with the reason. */
  readonly reveal: boolean
  readonly reason?: string | undefined
}

/** The description of the command in the record of a disclosure: its name and the options that selected the data. */
export interface Asked {
  readonly command: string
  readonly options?: Readonly<Record<string, string | readonly string[] | undefined>>
}

/** Opens the log for a command about the whole log; a disclosure is recorded first. @throws EventStoreUnavailable */
export async function openForAll(context: AuditContext, asked: Asked, show: ShowOptions): Promise<EventStore> {
  const eventStore = await context.openEventStore()
  if (show.reveal) await record(eventStore, context, asked, null, show.reason ?? '')
  return eventStore
}

/**
 * Opens the log for a command about one customer; a disclosure is recorded first.
 * @param customer a number or an e-mail address
 * @throws AuditError if the customer is unknown; UsageError for any other text; EventStoreUnavailable
 */
export async function openForCustomer(
  context: AuditContext,
  asked: Asked,
  customer: string,
  show: ShowOptions,
): Promise<{ readonly eventStore: EventStore; readonly customerId: number }> {
  const eventStore = await context.openEventStore()
  const customerId = await resolveCustomer(eventStore, customer, context.emailHashKey)
  await checkCustomer(eventStore, customerId)
  if (show.reveal) await record(eventStore, context, asked, customerId, show.reason ?? '')
  return { eventStore, customerId }
}

function record(
  eventStore: EventStore,
  { operator }: AuditContext,
  { command, options = {} }: Asked,
  customerId: number | null,
  reason: string,
): Promise<void> {
  const given = Object.entries(options).flatMap(([name, value]) =>
    [value ?? []].flat().map((each) => `--${name} ${each}`),
  )
  return recordReveal(eventStore, {
    customerId,
    command: [command, ...given].join(' '),
    reason: reason.trim(),
    actor: `operator:${operator}`,
  })
}

/** @throws AuditError if nothing is known of the customer */
async function checkCustomer(eventStore: EventStore, customerId: number): Promise<void> {
  for (const stream of Object.values(streamsOf(customerId))) {
    if ((await newestRevision(eventStore, stream)) !== undefined) return
  }
  throw new AuditError(`There is no customer ${customerId}.`)
}

/** A server keeps expired events until it is scavenged; they are hidden here once they expire. */
export function shownAccess({
  accessRetentionDays,
}: AuditContext): (event: { type: string; created: Date }) => boolean {
  const oldest = Date.now() - accessRetentionDays() * 86_400_000
  return ({ type, created }) => type !== 'AccessRecorded' || created.getTime() >= oldest
}

/** How a command shows personal data. */
export function shownOf(context: AuditContext, { reveal }: Pick<ShowOptions, 'reveal'>): Shown {
  if (reveal) return 'revealed'
  try {
    return createMasker(context.emailHashKey())
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    context.note('EMAIL_HASH_KEY is missing, so the marks of masked values can be compared within this output only.')
    return createMasker(undefined)
  }
}

/** The exit code of a command that may have been stopped. */
export function stopped({ signal, note }: AuditContext): number {
  if (!signal?.aborted) return 0
  note('Stopped before its end.')
  return 130
}

/** Tells a person at a terminal how to see masked data. */
export function noteMask({ reveal, json }: ShowOptions, { note }: AuditContext): void {
  if (reveal || json) return
  note(
    'Personal data is masked: the same value of a customer has the same mark. --reveal --reason "..." shows it, and is recorded.',
  )
}
