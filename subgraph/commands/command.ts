/** A command: who issued it, when, and the event ids that make a retry write nothing twice. */
import { randomUUID } from 'node:crypto'
import { encode } from '../../eventstore/codec.ts'
import { uuidOf } from '../../eventstore/derived-uuid.ts'
import type { NewEvent } from '../../eventstore/port.ts'
import type { DomainEvent } from '../../schema/events.ts'
import { serviceUnavailable } from '../errors.ts'
import type { CommandIds } from './idempotency-key.ts'

export interface Command {
  /** A UUID: the cause of the command's events, and, unless it is repeatable, the id of the first. */
  readonly id: string
  /** Whether a client may retry it: true if it came with an Idempotency-Key. */
  readonly repeatable: boolean
  /**
   * Distinguishes this attempt from others of the same request that may be under way, here or in another instance. They
   * may decide otherwise (each instance has addresses' ids of its own), so the events of one must not count as those of
   * the other.
   */
  readonly attempt?: string | undefined
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
  /** How much of the mutation's time is over already, in milliseconds. */
  readonly waitedMs?: number | undefined
}): Command {
  const { operation, actor, correlationId, traceparent, idempotency, at, client, waitedMs = 0 } = options
  const ids = idempotency?.ids(JSON.stringify([actor, idempotency.key, operation, options.arguments]))
  const deadline = performance.now() + MUTATION_MS - waitedMs
  const repeatable = ids !== undefined
  const attempt = repeatable ? randomUUID() : undefined
  return { id: randomUUID(), ...ids, repeatable, attempt, actor, correlationId, traceparent, at, deadline, client }
}

/**
 * Call it before costly work that had to wait for its turn.
 * @throws CustomerError (SERVICE_UNAVAILABLE) after the command's deadline: the caller has been answered that it failed,
 * so nothing more is begun
 */
export function checkDeadline({ deadline }: Command): void {
  if (deadline !== undefined && performance.now() > deadline) throw serviceUnavailable()
}

/**
 * Events of a command ready to append.
 * @param part distinguishes the command's appends to different streams; the main one has none
 * @throws CustomerError as {@link checkDeadline}
 */
export function encodeAll(command: Command, events: readonly DomainEvent[], part = ''): NewEvent[] {
  checkDeadline(command)
  const metadata = {
    $correlationId: command.correlationId,
    $causationId: command.id,
    actor: command.actor,
    at: textOf(command.at),
    ...(command.traceparent && { traceparent: command.traceparent }),
  }
  return events.map((event, index) => encode(event, eventId(command, part, index), metadata))
}

/**
 * The newest moment as text. The appends of a command have the same one, all rows of an import, and under load several
 * commands.
 */
let newest: { readonly time: number; readonly text: string } | undefined

function textOf(at: Date): string {
  const time = at.getTime()
  if (newest?.time !== time) newest = { time, text: at.toISOString() }
  return newest.text
}

/** The id of the command's event at `index` of the append named `part`. */
function eventId(command: Command, part = '', index = 0): string {
  return part === '' && index === 0 ? command.id : uuidOf(`${command.id}:${part}:${index}`)
}
