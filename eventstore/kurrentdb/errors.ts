/** Translates the client's errors to those of the port. */
import {
  AccessDeniedError,
  CancelledError,
  convertToCommandError,
  DeadlineExceededError,
  isCommandError,
  MaxAppendSizeExceededError,
  NotLeaderError,
  PersistentSubscriptionDoesNotExistError,
  PersistentSubscriptionDroppedError,
  PersistentSubscriptionExistsError,
  StreamDeletedError,
  StreamNotFoundError,
  StreamTombstonedError,
  TimeoutError,
  UnavailableError,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client'
import { type ConnectionFault, connectionFaultIn } from '../../runtime/connection-faults.ts'
import {
  AppendTooLarge,
  EventStoreUnavailable,
  type ExpectedRevision,
  GroupExists,
  GroupNotFound,
  InvalidArgument,
  StreamDeleted,
  StreamNotFound,
  WrongExpectedRevision,
} from '../port.ts'
import type { Endpoint } from './connection/url.ts'

const CANCELLED = 1
const INVALID_ARGUMENT = 3
const DEADLINE_EXCEEDED = 4
const UNAVAILABLE = 14

/**
 * What a failed call says about its node and itself:
 * - `leader`: another node leads, at that place; nothing was done, unless the call was of several appends
 * - `notReady`: the node accepts no calls, or knows no leader; nothing was done
 * - `busy`: nothing was done, or nothing was sent; a retry may succeed
 * - `broken`: no answer, or one that does not say what was done
 * - `answered`: a definite answer; a retry would get it again
 */
export type Failure =
  | { readonly kind: 'leader'; readonly leader: Endpoint; readonly isOfSeveral: boolean }
  | { readonly kind: 'notReady' | 'busy' | 'broken' | 'answered' }

/** What the server says if it has not accepted a call (EventStoreDB's RpcExceptions and its BatchAppend). */
const NOT_READY = /Server Is Not Ready|No leader info available/
const BUSY = /Server Is (Too )?Busy/

const OF_SEVERAL = Symbol('of several appends')

/**
 * Marks the error of a call that several appends were waiting on. A node that has stepped down ends it with what it says of
 * one of them. Those that it was given before may have been written, and it answers them no more.
 */
export const ofSeveral = (error: unknown): unknown => Object.assign(error as object, { [OF_SEVERAL]: true })

export function failureOf(raised: unknown): Failure {
  if (raised instanceof EventStoreUnavailable) return { kind: 'broken' }
  if (isPortError(raised)) return { kind: 'answered' }
  const error = isGrpcError(raised) ? convertToCommandError(raised) : raised
  if (error instanceof NotLeaderError) {
    const { address, port } = error.leader
    return { kind: 'leader', leader: { host: address, port }, isOfSeveral: OF_SEVERAL in (raised as object) }
  }
  if (isOfClosedChannel(error)) return { kind: 'busy' }
  if (!('code' in (error as object))) return { kind: 'answered' }
  const { message } = error as Error
  if (NOT_READY.test(message)) return { kind: 'notReady' }
  if (BUSY.test(message)) return { kind: 'busy' }
  const isBroken =
    error instanceof UnavailableError ||
    error instanceof CancelledError ||
    error instanceof TimeoutError ||
    error instanceof DeadlineExceededError ||
    [CANCELLED, UNAVAILABLE].includes((error as { code?: number }).code ?? 0)
  return { kind: isBroken ? 'broken' : 'answered' }
}
/**
 * The answer of a read of $all from a position within the log that is not the position of a record, with the code
 * UNKNOWN.
 */
const INVALID_POSITION = /^Unexpected \w*ReadAllResult: InvalidPosition/

/**
 * @param stream the stream of the call
 * @param expected what the append expected; the server repeats it in another form
 */
export function toPortError(raised: unknown, stream = '', expected: ExpectedRevision = 'any'): unknown {
  if (isPortError(raised)) return raised
  const error = isGrpcError(raised) ? convertToCommandError(raised) : raised
  if (error instanceof WrongExpectedVersionError) {
    const { actualState } = error
    return new WrongExpectedRevision(
      stream,
      expected,
      typeof actualState === 'bigint' ? Number(actualState) : 'no_stream',
    )
  }
  if (error instanceof StreamDeletedError || error instanceof StreamTombstonedError) return new StreamDeleted(stream)
  if (error instanceof StreamNotFoundError) return new StreamNotFound(stream)
  if (error instanceof MaxAppendSizeExceededError) return new AppendTooLarge(error.maxAppendSize)
  if (error instanceof AccessDeniedError) {
    return new EventStoreUnavailable(
      'The event store refuses these credentials: see EVENTSTORE_URL or KEYS_URL, and the streams’ access lists.',
    )
  }
  if (error instanceof TypeError || error instanceof RangeError) return error // a fault of ours
  if (Number((error as { code?: unknown }).code) === INVALID_ARGUMENT) {
    return new InvalidArgument(`The event store refuses the call: ${detailsOf(error)}.`)
  }
  if (INVALID_POSITION.test(detailsOf(error))) {
    return new InvalidArgument('The position is not one of this log.')
  }
  if (isOfClosedChannel(error)) return new EventStoreUnavailable('The event store does not answer: connection lost.')
  if (isCommandError(error as Error) || 'code' in (error as object)) {
    return new EventStoreUnavailable(`The event store does not answer: ${detailsOf(error)}.`)
  }
  return error
}

/** Whether it is an error of the port already. */
function isPortError(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && code.startsWith('EVS_ERR_')
}

/** Whether a call ended because no answer came in time. */
export function isTimeout(error: unknown): boolean {
  return (error as { code?: unknown }).code === DEADLINE_EXCEEDED
}

/** What gRPC says of a call whose node was dropped before it began. */
const CLOSED_CHANNEL = /Channel has been shut down|Channel closed before call started/

/** Whether nothing was sent, because the node had just been dropped. */
function isOfClosedChannel(error: unknown): boolean {
  return error instanceof Error && CLOSED_CHANNEL.test(error.message)
}

/** Errors of the stub; those of the client are converted already. */
function isGrpcError(error: unknown): error is Error {
  return error instanceof Error && 'metadata' in error && 'details' in error
}

/** The message of gRPC, without the number in front and without the address list of a failed connection. */
function detailsOf(error: unknown): string {
  const { message, type } = error as { message?: string; type?: string }
  if (isTimeout(error)) return 'no answer in time'
  const details = (message ?? '').replace(/^\d+ [A-Z_]+: /, '').split('. Last error')[0]
  return (details || type || 'no reason given').replace(/\.$/, '')
}

/** What is wrong where no connection comes about, and which part of the connection string to look at. */
const CONNECTION_FAULTS: Readonly<Record<ConnectionFault, (address: string) => string>> = {
  unresolved: (address) => `the name of ${address} does not resolve; check the host`,
  refused: (address) => `nothing listens at ${address}; check host and port`,
  unreachable: (address) => `there is no route to ${address}; check the host and the network`,
  noTls: (address) => `${address} does not speak TLS; check the port, or say tls=false if that server has no TLS`,
  untrusted: (address) => `the certificate of ${address} is not signed by a known authority; name it by tlsCAFile`,
  otherName: (address) => `the certificate of ${address} is for other names; use one of them as the host`,
  expired: (address) => `the certificate of ${address} has expired, or is not valid yet`,
  protocol: (address) => `${address} does not speak gRPC; check the port`,
  closed: (address) => `${address} closes the connection; check the port, and remove tls=false if it requires TLS`,
  silent: (address) => `${address} sends no answer; check host and port`,
}

/** Why a node that was asked can't be used, for the operator. @param address where it was asked */
export function connectFailure(error: unknown, address: string): string {
  if (error instanceof EventStoreUnavailable) return error.message
  const { message = '', code } = error as { message?: string; code?: unknown }
  const fault = isTimeout(error) ? 'silent' : connectionFaultIn(`${String(code)} ${message}`)
  return fault === undefined ? `${address}: ${detailsOf(error)}` : CONNECTION_FAULTS[fault](address)
}

/** Translates a failure of a persistent subscription to the port's errors. */
export function toGroupError(error: unknown, group: string): unknown {
  if (error instanceof PersistentSubscriptionExistsError) return new GroupExists(`Group "${group}" exists already.`)
  if (error instanceof PersistentSubscriptionDoesNotExistError) {
    return new GroupNotFound(`Group "${group}" does not exist.`)
  }
  // Sent by a node that no longer leads, or after a change of the group. The next attempt shows whether the group is
  // gone.
  if (error instanceof PersistentSubscriptionDroppedError) {
    return new EventStoreUnavailable('The event store dropped the subscription.')
  }
  return toPortError(error, '$all')
}
