/** The client's errors as the port's. */
import {
  AccessDeniedError,
  convertToCommandError,
  isCommandError,
  MaxAppendSizeExceededError,
  StreamDeletedError,
  StreamNotFoundError,
  StreamTombstonedError,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client'
import {
  AppendTooLarge,
  EventStoreUnavailable,
  type ExpectedRevision,
  InvalidArgument,
  StreamDeleted,
  StreamNotFound,
  WrongExpectedRevision,
} from './port.ts'

const INVALID_ARGUMENT = 3
/** What a read of $all answers to a position within the log that is not a record's, with the code UNKNOWN. */
const INVALID_POSITION = /^Unexpected \w*ReadAllResult: InvalidPosition/

/**
 * @param stream the stream of the call; the server's own word counts where it gives one
 * @param expected what the append expected: the server repeats it in another form
 */
export function toPortError(raised: unknown, stream = '', expected: ExpectedRevision = 'any'): unknown {
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
      'The event store refuses these credentials: see EVENTSTORE_URL and the streams’ access lists.',
    )
  }
  if (error instanceof TypeError || error instanceof RangeError) return error // a fault of ours
  if (Number((error as { code?: unknown }).code) === INVALID_ARGUMENT) {
    return new InvalidArgument(`The event store refuses the call: ${detailsOf(error)}.`)
  }
  if (INVALID_POSITION.test(detailsOf(error))) {
    return new InvalidArgument('The position is not one of this log.')
  }
  if (isCommandError(error as Error) || 'code' in (error as object)) {
    return new EventStoreUnavailable(`The event store does not answer: ${detailsOf(error)}.`)
  }
  if (/^Failed to discover/.test((error as Error).message)) {
    return new EventStoreUnavailable('The event store does not answer: no node of the cluster was found.')
  }
  return error
}

/** As the stub gives them; the client's own are converted already. */
function isGrpcError(error: unknown): error is Error {
  return error instanceof Error && 'metadata' in error && 'details' in error
}

/** gRPC's own words, without the number before them and without the address list of a failed connection. */
function detailsOf(error: unknown): string {
  const { message, type } = error as { message?: string; type?: string }
  const details = (message ?? '').replace(/^\d+ [A-Z_]+: /, '').split('. Last error')[0]
  return (details || type || 'no reason given').replace(/\.$/, '')
}
