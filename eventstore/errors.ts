/** The errors of the event store: the same from every adapter, so callers decide by class or `code` alone. */
import { errorClass } from '../runtime/error-class.ts'
import type { ExpectedRevision } from './port.ts'

/** What each code means and what to do about it. docs/errors.md lists them. */
export const ERROR_CODES = {
  EVS_ERR_WRONG_EXPECTED_REVISION:
    'Another writer appended to the stream first. Nothing was written. Commands read the stream again and decide again.',
  EVS_ERR_STREAM_NOT_FOUND: 'The stream does not exist, or it was deleted.',
  EVS_ERR_STREAM_DELETED: 'The stream is deleted for good. Nothing can be appended to it.',
  EVS_ERR_APPEND_TOO_LARGE: 'The events of one append are larger together than the store accepts. Nothing was written.',
  EVS_ERR_LOG_REPLACED:
    'The store holds another log than before, for instance after a restore. See [Back up and restore](operations.md#back-up-and-restore).',
  EVS_ERR_INVALID_ARGUMENT: 'The call has an argument that no store accepts. This is a bug: report it.',
  EVS_ERR_GROUP_EXISTS: 'A persistent subscription of that name exists already.',
  EVS_ERR_GROUP_NOT_FOUND: 'There is no persistent subscription of that name.',
  EVS_ERR_UNAVAILABLE:
    'The store cannot be reached, refuses the credentials, or did not answer in time. Check `EVENTSTORE_URL` and the store. An append may have been carried out: repeat it with the same event ids.',
  EVS_ERR_INVALID_EVENT:
    'An event is not in the catalogue, or its data does not fit the schema. A newer version of the service may have written it.',
  EVS_ERR_SQLITE_FILE:
    'The SQLite file is damaged, belongs to another program, or cannot be opened. The message says which.',
} as const

/** The stream is not at the revision that the append expected. Nothing was written. */
export class WrongExpectedRevision extends Error {
  override readonly name = 'WrongExpectedRevision'
  readonly code = 'EVS_ERR_WRONG_EXPECTED_REVISION'
  readonly stream: string
  readonly expected: ExpectedRevision
  /** The stream's current revision. */
  readonly actual: number | 'no_stream'
  constructor(stream: string, expected: ExpectedRevision, actual: number | 'no_stream') {
    super(`Stream "${stream}" was expected at ${expected} but is at ${actual}.`)
    this.stream = stream
    this.expected = expected
    this.actual = actual
  }
}

/** There is no stream of that name, or it was deleted (and may be created again). */
export class StreamNotFound extends Error {
  override readonly name = 'StreamNotFound'
  readonly code = 'EVS_ERR_STREAM_NOT_FOUND'
  readonly stream: string
  constructor(stream: string) {
    super(`Stream "${stream}" does not exist.`)
    this.stream = stream
  }
}

/** The stream is tombstoned, or soft-deleted although an existing one is required. */
export class StreamDeleted extends Error {
  override readonly name = 'StreamDeleted'
  readonly code = 'EVS_ERR_STREAM_DELETED'
  readonly stream: string
  constructor(stream: string) {
    super(`Stream "${stream}" is deleted.`)
    this.stream = stream
  }
}

/** The events of one append are larger together than the store accepts. Nothing was written. */
export class AppendTooLarge extends Error {
  override readonly name = 'AppendTooLarge'
  readonly code = 'EVS_ERR_APPEND_TOO_LARGE'
  /** Bytes. */
  readonly maxAppendSize: number
  constructor(maxAppendSize: number) {
    super(`The events of one append may be ${maxAppendSize} bytes together at most.`)
    this.maxAppendSize = maxAppendSize
  }
}

/**
 * The log is not the one that was read so far: an event that was delivered is no longer at its position. Everything
 * derived from the log has to be compared with it before work continues.
 */
export class LogReplaced extends Error {
  override readonly name = 'LogReplaced'
  readonly code = 'EVS_ERR_LOG_REPLACED'
  constructor() {
    super('The event store came back with another log, or an older state of it.')
  }
}

/** An argument that no store accepts (a negative revision, an id that is not a UUID, an invalid position). */
export class InvalidArgument extends errorClass('InvalidArgument', 'EVS_ERR_INVALID_ARGUMENT') {}

/** A group of that name exists already. */
export class GroupExists extends errorClass('GroupExists', 'EVS_ERR_GROUP_EXISTS') {}

/** There is no group of that name, or it was deleted. */
export class GroupNotFound extends errorClass('GroupNotFound', 'EVS_ERR_GROUP_NOT_FOUND') {}

/**
 * The store can't be reached, or did not answer in time. After an append the outcome is unknown: retry it with the same
 * ids.
 */
export class EventStoreUnavailable extends errorClass('EventStoreUnavailable', 'EVS_ERR_UNAVAILABLE') {}

/**
 * An event that is not in the catalogue, or whose data does not fit its schema. Names fields, never values: they are
 * personal.
 */
export class InvalidEvent extends errorClass('InvalidEvent', 'EVS_ERR_INVALID_EVENT') {}

/** The file can't be used for its purpose. The message is one line for the operator. */
export class SqliteFileError extends errorClass('SqliteFileError', 'EVS_ERR_SQLITE_FILE') {}
