/**
 * The register of requests of data subjects: reads it, and appends what is decided. It is one stream, so a request's
 * number and its first event are written at once, and two officers who decide at the same time are noticed.
 */
import { decode, encode, type Recorded } from '../../eventstore/codec.ts'
import { uuidOf } from '../../eventstore/derived-uuid.ts'
import { keysOf } from '../../eventstore/encryption/customer-keys.ts'
import { chained } from '../../eventstore/hash-chain.ts'
import { type EventStore, EventStoreUnavailable, WrongExpectedRevision } from '../../eventstore/port.ts'
import { newestEvent, orNone } from '../../eventstore/read.ts'
import { isKnown, readAccount } from '../../projections/erasure.ts'
import { emailKeysAsTyped } from '../../schema/email-key.ts'
import type { EmailEvent, NoteEvent, RequestEvent } from '../../schema/events.ts'
import { STREAM_NAMES, streamOf } from '../../schema/streams.ts'
import { AuditError, RequestConflict } from '../errors.ts'
import {
  type Circumstances,
  decide,
  decideReceipt,
  type Receive,
  type RequestCommand,
  type RequestRules,
} from './decide.ts'
import { evolve, isOpen, isSameSubject, type PrivacyRequest, type Subject, secondsUntilDue } from './request.ts'

const STREAM = STREAM_NAMES.privacyRequests

/** The most characters of a note. */
const MOST_NOTE = 2_000
/** How many rounds a change makes in competition with others. */
const MOST_ROUNDS = 20

export interface Register {
  /** By number. */
  readonly requests: ReadonlyMap<number, PrivacyRequest>
  /** Of the newest event; -1: there is none. */
  readonly revision: number
}

interface Folded {
  readonly requests: Map<number, PrivacyRequest>
  /** The request of each command that has been carried out, by the command's id. */
  readonly commands: Map<string, number>
  revision: number
  /** The id of the event at the revision. */
  eventId: string | undefined
}

/** What was read of each store's register, so that only what is new is read. */
const known = new WeakMap<EventStore, Folded>()

const nothing = (): Folded => ({ requests: new Map(), commands: new Map(), revision: -1, eventId: undefined })

/** @throws EventStoreUnavailable */
export const readRegister = (eventStore: EventStore): Promise<Register> => fold(eventStore)

async function fold(eventStore: EventStore): Promise<Folded> {
  const folded = known.get(eventStore) ?? nothing()
  const { eventId } = folded // other reads go on with it meanwhile
  let isSame = folded.revision < 0
  for await (const stored of orNone(eventStore.readStream(STREAM, { from: Math.max(folded.revision, 0) }))) {
    isSame ||= stored.id === eventId
    if (!isSame) break
    // Another read may have applied it meanwhile.
    if (stored.revision === folded.revision + 1) apply(folded, decode<RequestEvent>(stored))
  }
  if (isSame) {
    known.set(eventStore, folded)
    return folded
  }
  // The log was restored, and is another one.
  known.delete(eventStore)
  return fold(eventStore)
}

function apply(folded: Folded, event: Recorded<RequestEvent>): void {
  const { request: number } = event.data
  folded.requests.set(number, evolve(folded.requests.get(number), event))
  folded.commands.set(event.metadata.$causationId, number)
  folded.revision = event.revision
  folded.eventId = event.id
}

/** @throws AuditError if there is no such request; EventStoreUnavailable */
export async function findRequest(eventStore: EventStore, number: number): Promise<PrivacyRequest> {
  return requestIn(await readRegister(eventStore), number)
}

function requestIn({ requests }: Register, number: number): PrivacyRequest {
  const request = requests.get(number)
  if (request) return request
  throw new AuditError(`There is no request ${number}; there are ${requests.size}.`)
}

/** For metrics and an overview. @throws EventStoreUnavailable */
export async function countRequests(
  eventStore: EventStore,
  now: Date,
): Promise<{
  readonly open: number
  readonly overdue: number
  /** Seconds until the end of the day on which the first open one is due; negative: overdue. undefined: none is open. */
  readonly oldestDueSeconds: number | undefined
}> {
  const { requests } = await readRegister(eventStore)
  const due = [...requests.values()].filter(isOpen).map((request) => secondsUntilDue(request, now))
  return {
    open: due.length,
    overdue: due.filter((seconds) => seconds < 0).length,
    oldestDueSeconds: due.length > 0 ? Math.min(...due) : undefined,
  }
}

/** Who decides, when and how. */
export interface Officer {
  /** `operator:<user>`, or as the console signs people in. */
  readonly actor: string
  /** A UUID, made once for the command: a repetition is written once. */
  readonly commandId: string
  readonly now: Date
  readonly rules: RequestRules
  /** With it, people who are known by their e-mail address can't approve a request about themselves. */
  readonly emailHashKey?: string | undefined
  /** The officer's address, if it is known and is not the name. */
  readonly email?: string | undefined
}

/** What an officer says with a command. */
export interface Said {
  /** Encrypted with the person's key, and erased with it. */
  readonly note?: string | undefined
  /** The version of the request that the officer has seen. Absent: whichever it has. */
  readonly seen?: number | undefined
}

/**
 * Enters a new request.
 * @throws AuditError for a customer who does not exist; RequestRefused; EventStoreUnavailable
 */
export async function receiveRequest(
  eventStore: EventStore,
  command: Receive,
  officer: Officer,
  { note }: Said = {},
): Promise<PrivacyRequest> {
  const { customerId } = command.subject
  if (customerId !== undefined && !isKnown(await readAccount(eventStore, customerId))) {
    throw new AuditError(`There is no customer ${customerId}.`)
  }
  const { subject } = command
  return append(eventStore, officer, note, async (register, circumstances) => {
    const number = register.requests.size + 1
    const held = { ...circumstances, heldBy: await heldBy(eventStore, register, subject) }
    return { number, subject, events: decideReceipt(number, command, held) }
  })
}

/**
 * Changes a request.
 * @returns the request after it
 * @throws AuditError if there is none; RequestRefused; RequestConflict if it changed since the officer saw it;
 * EventStoreUnavailable, after which the same command can be repeated
 */
export function changeRequest(
  eventStore: EventStore,
  number: number,
  command: RequestCommand,
  officer: Officer,
  said: Said = {},
): Promise<PrivacyRequest> {
  return changeRequestBy(eventStore, number, [command], officer, said)
}

/** Like {@link changeRequest}, for several commands that are one append: all of them, or none. */
export function changeRequestBy(
  eventStore: EventStore,
  number: number,
  commands: readonly RequestCommand[],
  officer: Officer,
  { note, seen }: Said = {},
): Promise<PrivacyRequest> {
  return append(eventStore, officer, note, async (register, circumstances) => {
    let request = requestIn(register, number)
    const isOwn =
      commands.some(({ type }) => type === 'approve') && (await isAbout(eventStore, request.subject, officer))
    if (seen !== undefined && request.version !== seen) {
      const { by, at } = request.history.at(-1) ?? request.recorded
      throw new RequestConflict(`Request ${number} was changed by ${by} at ${at}, after you had looked at it.`)
    }
    const { subject } = request
    const held = await heldBy(eventStore, register, subject, number)
    const events: RequestEvent[] = []
    for (const command of commands) {
      const decided = decide(request, command, { ...circumstances, isOwn, heldBy: held })
      for (const event of decided)
        request = evolve(request, recorded(event, officer, register.revision + events.length))
      events.push(...decided)
    }
    return { number, subject, events }
  })
}

/** An event as if it were written: for the decision that follows it in the same append. */
const recorded = (event: RequestEvent, { actor, now }: Officer, revision: number) =>
  ({ ...event, revision, metadata: { actor, at: now.toISOString() } }) as unknown as Recorded<RequestEvent>

/** Whether the officer is the person that a request is about, by the e-mail addresses that the officer is known by. */
export async function isAbout(
  eventStore: EventStore,
  subject: Subject,
  { actor, email = '', emailHashKey }: Pick<Officer, 'actor' | 'email' | 'emailHashKey'>,
): Promise<boolean> {
  if (emailHashKey === undefined) return false
  const own = [actor.slice(actor.indexOf(':') + 1), email].filter((address) => address.includes('@'))
  for (const key of own.flatMap((address) => emailKeysAsTyped(emailHashKey, address))) {
    if (subject.customerId === undefined && subject.emailKeys.includes(key)) return true
    const claim = await newestEvent<EmailEvent>(eventStore, streamOf.email(key))
    if (claim !== undefined && claim.data.customerId === subject.customerId) return true
  }
  return false
}

/** Whether a legal hold stops the erasure of the customer. @throws EventStoreUnavailable */
export const isHeld = async (eventStore: EventStore, customerId: number): Promise<boolean> =>
  (await heldBy(eventStore, await fold(eventStore), { customerId })) !== undefined

/**
 * The number of another request of the same person that is on legal hold. A customer and an address that the customer has,
 * or had last, are one person: erasing the one erases data of the other.
 * @throws EventStoreUnavailable
 */
export async function heldBy(
  eventStore: EventStore,
  { requests }: Register,
  subject: Subject,
  except?: number,
): Promise<number | undefined> {
  for (const { number, hold, subject: held } of requests.values()) {
    if (number === except || !hold) continue
    if (isSameSubject(held, subject) || (await isHolder(eventStore, held, subject))) return number
  }
  return undefined
}

/** Whether one of the two is a customer, and the other an address that this customer has, or had last. */
async function isHolder(eventStore: EventStore, a: Subject, b: Subject): Promise<boolean> {
  const [customer, address] = a.customerId === undefined ? [b, a] : [a, b]
  if (customer.customerId === undefined || address.customerId !== undefined) return false
  for (const key of address.emailKeys) {
    const claim = await newestEvent<EmailEvent>(eventStore, streamOf.email(key))
    if (claim?.data.customerId === customer.customerId) return true
  }
  return false
}

interface Decided {
  readonly number: number
  readonly subject: Subject
  readonly events: readonly RequestEvent[]
}

/** Decides on the newest register and appends; decides again after a conflict. */
async function append(
  eventStore: EventStore,
  officer: Officer,
  note: string | undefined,
  decideOn: (register: Folded, circumstances: Circumstances) => Decided | Promise<Decided>,
): Promise<PrivacyRequest> {
  const { commandId, actor, now, rules } = officer
  const text = checkedNote(note)
  let noteId = text === undefined ? undefined : uuidOf(`${commandId}:note`)
  for (let round = 1; ; round++) {
    const register = await fold(eventStore)
    const done = register.commands.get(commandId)
    if (done !== undefined) return requestIn(register, done)
    const { number, subject, events } = await decideOn(register, { actor, now, rules, note: noteId })
    if (events.length === 0) return requestIn(register, number)
    if (noteId !== undefined && (await isErasedSubject(eventStore, subject))) {
      noteId = undefined // nothing can be encrypted for this person any more
      continue
    }
    try {
      // First: a note without its event is nothing, an event without its note would be missing its words.
      if (text !== undefined && noteId !== undefined) await writeNote(eventStore, subject, text, noteId, officer)
      const expected = register.revision < 0 ? 'no_stream' : register.revision
      const encoded = events.map((event, index) => encodedEvent(event, index, officer))
      await chained(eventStore).append(STREAM, encoded, { expected })
      return requestIn(await fold(eventStore), number)
    } catch (error) {
      if (!(error instanceof WrongExpectedRevision)) throw error
      if (round === MOST_ROUNDS)
        throw new EventStoreUnavailable('The register of requests has too many writers at once.')
    }
  }
}

function checkedNote(note: string | undefined): string | undefined {
  const text = note?.trim() ?? ''
  if (text.length <= MOST_NOTE) return text === '' ? undefined : text
  throw new AuditError(`A note has at most ${MOST_NOTE} characters; this one has ${text.length}.`)
}

const encodedEvent = (event: RequestEvent, index: number, { commandId, actor, now }: Officer) =>
  encode(event, index === 0 ? commandId : uuidOf(`${commandId}:${index}`), {
    $correlationId: commandId,
    $causationId: commandId,
    actor,
    at: now.toISOString(),
  })

/** The notes of a customer, or of an address. */
const notesOf = (subject: Subject): string =>
  streamOf.privacyNotes(subject.customerId ?? (subject as { emailKeys: readonly string[] }).emailKeys[0] ?? '')

const isErasedSubject = async (eventStore: EventStore, { customerId }: Subject): Promise<boolean> =>
  customerId !== undefined && keysOf(eventStore).isDestroyed(String(customerId))

async function writeNote(
  eventStore: EventStore,
  subject: Subject,
  text: string,
  id: string,
  { actor, commandId, now }: Officer,
): Promise<void> {
  const metadata = { $correlationId: commandId, $causationId: commandId, actor, at: now.toISOString() }
  const event = encode({ type: 'PrivacyNoteWritten', data: { text } }, id, metadata)
  await chained(eventStore).append(notesOf(subject), [event], { expected: 'any' })
}

/**
 * The notes about a person, by the id of the event: personal data, to be shown to whoever may see it. Erased ones read
 * `[erased:…]`.
 * @throws EventStoreUnavailable
 */
export async function readNotes(eventStore: EventStore, subject: Subject): Promise<ReadonlyMap<string, string>> {
  const notes = new Map<string, string>()
  for await (const stored of orNone(eventStore.readStream(notesOf(subject)))) {
    notes.set(stored.id, decode<NoteEvent>(stored).data.text)
  }
  return notes
}
