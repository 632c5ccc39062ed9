/** What a person is told when something goes wrong: plain words, never an internal message. */
import { AuditError, LogCheckpointError, NoProofError, RequestConflict, RequestRefused } from '../audit/errors.ts'
import { EventStoreUnavailable } from '../eventstore/port.ts'
import { ReadModelUnavailable } from '../projections/read-model.ts'
import { UsageError } from '../runtime/errors.ts'
import type { Log } from '../runtime/log.ts'
import { Refused } from './errors.ts'

/** A page about a fault. */
export interface Fault {
  readonly status: number
  readonly title: string
  readonly text: string
}

/** @param log where what nobody foresaw is logged */
export function describeFault(error: unknown, log: Log): Fault {
  if (error instanceof Refused) return { status: error.status, title: titleOf(error.status), text: error.message }
  if (error instanceof UsageError) return { status: 400, title: titleOf(400), text: error.message }
  if (error instanceof AuditError || error instanceof NoProofError) {
    return { status: 404, title: titleOf(404), text: error.message }
  }
  if (error instanceof LogCheckpointError || error instanceof RequestRefused || error instanceof RequestConflict) {
    return { status: 409, title: titleOf(409), text: error.message }
  }
  if (error instanceof EventStoreUnavailable) {
    return { status: 503, title: titleOf(503), text: 'The event store does not answer. Try again in a moment.' }
  }
  if (error instanceof ReadModelUnavailable) {
    return { status: 503, title: titleOf(503), text: 'The read model does not answer. Try again in a moment.' }
  }
  const { statusCode } = error as { statusCode?: unknown }
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
    return { status: statusCode, title: titleOf(statusCode), text: "The request can't be understood." }
  }
  const reference = crypto.randomUUID()
  log.error({ err: error, correlationId: reference }, 'a page of the console failed')
  return {
    status: 500,
    title: titleOf(500),
    text: `Something went wrong here, and it is logged as ${reference}. Try again; if it happens again, tell an operator this number.`,
  }
}

const TITLES: Readonly<Record<number, string>> = {
  400: "That can't be used",
  401: 'Not signed in',
  403: 'Not allowed',
  404: 'Not found',
  409: 'Not possible now',
  429: 'Too much at once',
  503: 'Not available now',
}

const titleOf = (status: number): string => TITLES[status] ?? 'Something went wrong'
