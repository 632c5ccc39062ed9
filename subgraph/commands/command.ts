/** A command: who issued it, when, and the event ids that make a retry write nothing twice. */
import { createHmac, hash, hkdfSync, randomUUID } from 'node:crypto'
import { encode } from '../../eventstore/codec.ts'
import type { NewEvent } from '../../eventstore/port.ts'
import type { DomainEvent } from '../../schema/events.ts'
import { serviceUnavailable } from '../errors.ts'

export interface Command {
  /** A UUID: the id of the command's first event, and the cause of all of them. */
  readonly id: string
  /** Whether a client may retry it: true if it came with an Idempotency-Key. */
  readonly repeatable: boolean
  /** The id that the previous release would have derived, so that a command begun there can be retried here. */
  readonly formerId?: string | undefined
  /** `customer:<id>`, `service:<name>`, `guest`, or the name of a part of the service. */
  readonly actor: string
  readonly correlationId: string
  readonly traceparent?: string | undefined
  readonly at: Date
  /**
   * The deadline by `performance.now()`, after which the caller is answered that the service is unavailable. Absent:
   * none.
   */
  readonly deadline?: number | undefined
  /** Where it came from: for the access log, never for the command's own events. */
  readonly client?: Client | undefined
}

export interface Client {
  readonly address?: string | undefined
  readonly userAgent?: string | undefined
}

/** Derives the same id for a retried request on every instance; see {@link createCommandIds}. */
export type CommandIds = (request: string) => { readonly id: string; readonly formerId: string }

/**
 * The ids of commands that come with an Idempotency-Key. They depend on all arguments, including passwords, and are
 * stored in the log in clear text. So they are keyed hashes, and nobody can check a guess against them.
 * @param emailHashKey the service's key that never changes
 */
export function createCommandIds(emailHashKey: string): CommandIds {
  const key = Buffer.from(hkdfSync('sha256', emailHashKey, '', 'command ids', 32))
  return (request) => ({
    id: toUuid(createHmac('sha256', key).update(request).digest()),
    formerId: uuidOf(request),
  })
}

/** Whether an event with that cause comes from this command or a retry of it. */
export const isCause = (command: Command, causationId: string | undefined): boolean =>
  causationId !== undefined && (causationId === command.id || causationId === command.formerId)
/** How long a mutation may take, in milliseconds: the documentation promises an answer within 5 s. */
export const MUTATION_MS = 4_500

/**
 * A new command, with a mutation's deadline. With an idempotency key, its id is derived from the actor, the key, the
 * operation and its arguments: only the same request of the same actor gives the same id.
 */
export function createCommand(options: {
  readonly operation: string
  readonly arguments: unknown
  readonly actor: string
  readonly correlationId: string
  readonly traceparent?: string | undefined
  readonly idempotency?: { readonly key: string; readonly ids: CommandIds } | undefined
  readonly at: Date
  readonly client?: Client | undefined
}): Command {
  const { operation, actor, correlationId, traceparent, idempotency, at, client } = options
  const ids = idempotency?.ids(JSON.stringify([actor, idempotency.key, operation, options.arguments]))
  const deadline = performance.now() + MUTATION_MS
  const repeatable = ids !== undefined
  return { id: randomUUID(), ...ids, repeatable, actor, correlationId, traceparent, at, deadline, client }
}

/**
 * A UUID (version 8) that is always the same for the same name. A guess of the name can be checked against it, so the
 * name must not contain secrets.
 */
export function uuidOf(name: string): string {
  return toUuid(hash('sha256', name, 'buffer'))
}

function toUuid(bytes: Buffer): string {
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`
}

/**
 * Events of a command ready to append.
 * @param part distinguishes the command's appends to different streams; the main one has none
 * @throws CustomerError (SERVICE_UNAVAILABLE) after the command's deadline: the caller has been answered that it
 * failed, so nothing more is begun
 */
export function encodeAll(command: Command, events: readonly DomainEvent[], part = ''): NewEvent[] {
  if (command.deadline !== undefined && performance.now() > command.deadline) throw serviceUnavailable()
  const metadata = {
    $correlationId: command.correlationId,
    $causationId: command.id,
    actor: command.actor,
    at: command.at.toISOString(),
    ...(command.traceparent && { traceparent: command.traceparent }),
  }
  return events.map((event, index) => encode(event, eventId(command, part, index), metadata))
}

/** The id of the command's event at `index` of the append named `part`. */
function eventId(command: Command, part = '', index = 0): string {
  return part === '' && index === 0 ? command.id : uuidOf(`${command.id}:${part}:${index}`)
}
