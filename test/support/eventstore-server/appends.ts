/** The streams service, writing: appends in both ways, deletions. */
import { status } from '@grpc/grpc-js'
import { type Controls, isNotReady } from './controls.ts'
import {
  BadArgument,
  Deleted,
  EventTooLarge,
  type Expected,
  type Log,
  MAX_APPEND_SIZE,
  type ProposedEvent,
  type Written,
  WrongVersion,
} from './log.ts'
import {
  eventTooLarge,
  expectedOf,
  Failure,
  identifierOf,
  idOf,
  type Message,
  messages,
  nameOf,
  refuse,
  toFailure,
} from './wire.ts'

const { streams, shared } = messages
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const NIL = '00000000-0000-0000-0000-000000000000'

export function createAppends(log: Log, controls: Controls) {
  /** @throws Failure as the call of one append does; that of batches has words of its own */
  const proposed = (message: Message, isBatch = false): ProposedEvent => {
    const refused = (word: string, otherwise = new Failure(status.UNKNOWN, 'Exception was thrown by handler.')) =>
      isBatch ? new BadArgument(word) : otherwise
    const metadata = message.getMetadataMap()
    const type: string | undefined = metadata.get('type')
    const contentType: string | undefined = metadata.get('content-type')
    const absent = type === undefined ? 'type' : contentType === undefined ? 'content-type' : undefined
    if (type === undefined || contentType === undefined) {
      throw refused(
        'The given key was not present in the dictionary.',
        new Failure(status.INVALID_ARGUMENT, `Required Metadata Property '${absent}' is missing`, {
          exception: 'missing-required-metadata-property',
          'required-metadata-properties': 'type,content-type',
        }),
      )
    }
    const uuid = message.getId()
    if (!uuid?.hasString() && !uuid?.hasStructured()) throw refused("Invalid argument: None (Parameter 'dto')")
    const id = idOf(uuid)
    if (!UUID.test(id)) throw refused('Unrecognized Guid format.')
    if (id === NIL) throw refused("Empty eventId provided. (Parameter 'eventId')")
    if (type === '') throw refused("Empty eventType provided. (Parameter 'eventType')")
    const { length } = message.getData_asU8()
    if (isBatch && length > MAX_APPEND_SIZE) throw new EventTooLarge(id, length, MAX_APPEND_SIZE)
    return {
      id,
      type,
      contentType,
      data: Buffer.from(message.getData_asU8()),
      metadata: Buffer.from(message.getCustomMetadata_asU8()),
    }
  }

  function position(Position: Message, { position }: Written): Message | undefined {
    if (position === undefined) return undefined
    const message = new Position()
    message.setCommitPosition(String(position))
    message.setPreparePosition(String(position))
    return message
  }

  return {
    append(call: Message, answer: (error: unknown, response?: Message) => void) {
      let target: { name: string; expected: Expected } | undefined
      const events: ProposedEvent[] = []
      let failure: unknown
      call.on('data', (request: Message) => {
        try {
          if (request.hasOptions()) {
            const options = request.getOptions()
            target = { name: nameOf(options.getStreamIdentifier()), expected: expectedOf(options) }
          } else events.push(proposed(request.getProposedMessage()))
        } catch (error) {
          failure ??= error
        }
      })
      const write = () => {
        try {
          controls.admit('write', call.metadata)
          if (failure) throw failure
          if (!target || target.name === '') throw new Failure(status.UNKNOWN, 'Exception was thrown by handler.')
          if (!controls.role().commits) return uncommitted(controls, () => answer(timedOut()))
          const written = log.append(target.name, events, target.expected)
          if (controls.dropsResponse()) return controls.cut()
          const success = new streams.AppendResp.Success()
          if (written.revision === -1) success.setNoStream(new shared.Empty())
          else success.setCurrentRevision(String(written.revision))
          const at = position(streams.AppendResp.Position, written)
          if (at) success.setPosition(at)
          else success.setNoPosition(new shared.Empty())
          const response = new streams.AppendResp()
          response.setSuccess(success)
          answer(null, response)
        } catch (reason) {
          if (!(reason instanceof WrongVersion)) return answer(toFailure(reason))
          const { expected, actual } = reason
          const wrong = new streams.AppendResp.WrongExpectedVersion()
          if (actual === -1) wrong.setCurrentNoStream(new shared.Empty())
          else wrong.setCurrentRevision(String(actual))
          if (expected === 'any') wrong.setExpectedAny(new shared.Empty())
          else if (expected === 'stream_exists') wrong.setExpectedStreamExists(new shared.Empty())
          else if (expected === 'no_stream') wrong.setExpectedNoStream(new shared.Empty())
          else wrong.setExpectedRevision(String(expected))
          const response = new streams.AppendResp()
          response.setWrongExpectedVersion(wrong)
          answer(null, response)
        }
      }
      call.on('end', () => controls.whenAwake(write))
    },

    batchAppend(call: Message) {
      const batches = new Map<
        string,
        { readonly options: Message; readonly events: ProposedEvent[]; failure?: unknown }
      >()
      call.on('end', () => call.end())
      call.on('data', (request: Message) => controls.whenAwake(() => take(request)))

      function take(request: Message): unknown {
        const correlationId = idOf(request.getCorrelationId())
        let batch = batches.get(correlationId)
        if (!batch) {
          if (!request.hasOptions()) return // as the server: nothing is answered
          batch = { options: request.getOptions(), events: [] }
          batches.set(correlationId, batch)
        }
        const response = new streams.BatchAppendResp()
        response.setCorrelationId(request.getCorrelationId())
        response.setStreamIdentifier(batch.options.getStreamIdentifier())
        try {
          batch.events.push(...request.getProposedMessagesList().map((message: Message) => proposed(message, true)))
        } catch (reason) {
          if (reason instanceof EventTooLarge) {
            batches.delete(correlationId)
            response.setError(batchError(reason))
            return call.write(response)
          }
          batch.failure ??= reason // told once, when the batch is complete
        }
        if (!request.getIsFinal()) return
        batches.delete(correlationId)
        try {
          controls.admit('write', call.metadata)
        } catch (reason) {
          if (!isNotReady(reason)) return refuse(call, reason)
          response.setError(notHandled((reason as Failure).details))
          return call.write(response)
        }
        if (isOver(batch.options)) {
          response.setError(timeout())
          return call.write(response)
        }
        try {
          if (batch.failure !== undefined) throw batch.failure
          if (!controls.role().commits) {
            return uncommitted(controls, () => {
              response.setError(timeout())
              call.write(response)
            })
          }
          const written = log.append(
            nameOf(batch.options.getStreamIdentifier()),
            batch.events,
            expectedOf(batch.options),
          )
          if (controls.dropsResponse()) return controls.cut()
          if (controls.withholdsResponse()) return
          const success = new streams.BatchAppendResp.Success()
          if (written.revision === -1) success.setNoStream(new messages.empty.Empty())
          else success.setCurrentRevision(String(written.revision))
          const at = position(shared.AllStreamPosition, written)
          if (at) success.setPosition(at)
          else success.setNoPosition(new messages.empty.Empty())
          response.setSuccess(success)
        } catch (reason) {
          response.setError(batchError(reason))
        }
        call.write(response)
      }
    },

    delete: (call: Message, answer: (error: unknown, response?: Message) => void) =>
      remove(call, answer, streams.DeleteResp, (name, expected) => log.delete(name, expected)),

    tombstone: (call: Message, answer: (error: unknown, response?: Message) => void) =>
      remove(call, answer, streams.TombstoneResp, (name, expected) => log.tombstone(name, expected)),
  }

  function remove(
    call: Message,
    answer: (error: unknown, response?: Message) => void,
    Response: Message,
    work: (name: string, expected: Expected) => Written,
  ) {
    try {
      controls.admit('write', call.metadata)
      if (!controls.role().commits) return uncommitted(controls, () => answer(timedOut()))
      const options = call.request.getOptions()
      const name = nameOf(options.getStreamIdentifier())
      if (name === '') throw new Failure(status.UNKNOWN, 'Exception was thrown by handler.')
      const written = work(name, expectedOf(options))
      const response = new Response()
      const at = position(Response.Position, written)
      if (at) response.setPosition(at)
      else response.setNoPosition(new shared.Empty())
      answer(null, response)
    } catch (reason) {
      answer(toFailure(reason))
    }
  }
}

/** The server's CommitTimeoutMs. */
const COMMIT_TIMEOUT_MS = 2_000

/**
 * A write that no majority confirms: it is told after a while, and gone with the next leader. A leader that steps down
 * before forgets what it has in hand, and tells nothing (RequestManagementService).
 */
function uncommitted({ role }: Controls, tell: () => void): void {
  const wasLeader = role().state === 'LEADER'
  setTimeout(() => {
    if (!wasLeader || role().state === 'LEADER') tell()
  }, COMMIT_TIMEOUT_MS).unref()
}
const timedOut = () => new Failure(status.ABORTED, 'Operation timed out: Request timed out.')

/** The server's own clock: a test that sets the one of its process sets its client's alone. */
const { now } = Date

/** Whether its sender has given up: the server writes nothing for it. */
function isOver(options: Message): boolean {
  if (options.hasDeadline21100()) return options.getDeadline21100().toDate().getTime() <= now()
  if (!options.hasDeadline()) return false
  const duration = options.getDeadline()
  return duration.getSeconds() < 0 || (duration.getSeconds() === 0 && duration.getNanos() <= 0)
}

function timeout(): Message {
  const details = new messages.any.Any()
  details.pack(new shared.Timeout().serializeBinary(), 'event_store.client.Timeout')
  const error = new messages.status.Status()
  error.setCode(status.DEADLINE_EXCEEDED)
  error.setMessage('Timeout')
  error.setDetails(details)
  return error
}

/** Of a node that takes no calls: an error without a code. */
function notHandled(message: string): Message {
  const details = new messages.any.Any()
  details.pack(new messages.empty.Empty().serializeBinary(), 'google.protobuf.Empty')
  const error = new messages.status.Status()
  error.setMessage(message)
  error.setDetails(details)
  return error
}

/** A google.rpc.Status with the details of one failure. */
function batchError(reason: unknown): Message {
  const error = new messages.status.Status()
  const details = new messages.any.Any()
  const pack = (code: number, text: string, message: { serializeBinary(): Uint8Array }, name: string) => {
    error.setCode(code)
    error.setMessage(text)
    details.pack(message.serializeBinary(), `event_store.client.${name}`)
  }
  const failure = toFailure(reason)
  if (reason instanceof WrongVersion) {
    const wrong = new shared.WrongExpectedVersion()
    const { expected, actual } = reason
    if (actual === -1) wrong.setCurrentNoStream(new messages.empty.Empty())
    else wrong.setCurrentStreamRevision(String(actual))
    if (expected === 'any') wrong.setExpectedAny(new messages.empty.Empty())
    else if (expected === 'stream_exists') wrong.setExpectedStreamExists(new messages.empty.Empty())
    else if (expected === 'no_stream') wrong.setExpectedNoStream(new messages.empty.Empty())
    else wrong.setExpectedStreamPosition(String(expected))
    pack(status.ALREADY_EXISTS, 'WrongExpectedVersion', wrong, 'WrongExpectedVersion')
  } else if (reason instanceof Deleted) {
    const deleted = new shared.StreamDeleted()
    deleted.setStreamIdentifier(identifierOf(reason.stream))
    pack(status.NOT_FOUND, 'StreamDeleted', deleted, 'StreamDeleted')
  } else if (reason instanceof EventTooLarge) {
    const kind = 'MaximumAppendEventSizeExceeded'
    pack(status.INVALID_ARGUMENT, kind, eventTooLarge(reason), kind)
  } else if (failure.metadata.get('exception')[0] === 'maximum-append-size-exceeded') {
    const size = new shared.MaximumAppendSizeExceeded()
    size.setMaxappendsize(Number(failure.metadata.get('maximum-append-size')[0]))
    pack(status.INVALID_ARGUMENT, 'MaximumAppendSizeExceeded', size, 'MaximumAppendSizeExceeded')
  } else if (failure.code === status.INVALID_ARGUMENT) {
    const bad = new shared.BadRequest()
    bad.setMessage(failure.details)
    pack(status.INVALID_ARGUMENT, 'BadRequest', bad, 'BadRequest')
  } else pack(status.UNKNOWN, failure.details, new shared.Unknown(), 'Unknown')
  error.setDetails(details)
  return error
}
