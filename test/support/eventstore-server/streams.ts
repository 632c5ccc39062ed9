/** The streams service: appends in both ways, reads, subscriptions, deletions. */
import { once } from 'node:events'
import type { ServerHttp2Stream } from 'node:http2'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Metadata, status } from '@grpc/grpc-js'
import type { Controls } from './controls.ts'
import {
  BadArgument,
  Deleted,
  type Expected,
  type Log,
  type LogRecord,
  type ProposedEvent,
  type Written,
  WrongVersion,
} from './log.ts'
import {
  encodedRecord,
  expectedOf,
  Failure,
  filterOf,
  framed,
  type IdForm,
  identifierOf,
  idOf,
  type Message,
  messages,
  nameOf,
  refuse,
  toFailure,
  type Writable,
} from './wire.ts'

const { streams, shared } = messages
/** Events that a subscription's filter looks at in one go. */
const SCAN = 1_000
/** Bytes of messages that go out together, where there are so many. */
const FRAMES = 16 * 1024

export function createStreams(log: Log, controls: Controls) {
  const proposed = (message: Message): ProposedEvent => {
    const metadata = message.getMetadataMap()
    const type = metadata.get('type')
    const contentType = metadata.get('content-type')
    if (!type)
      throw new Failure(status.INVALID_ARGUMENT, 'Required Metadata Property type missing', {
        exception: 'missing-required-metadata-property',
        'required-metadata-properties': 'type,content-type',
      })
    return {
      id: idOf(message.getId()),
      type,
      contentType: contentType ?? 'application/octet-stream',
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
      call.on('end', () => {
        if (controls.hanging) return
        try {
          controls.checkLeader()
          if (failure) throw failure
          if (!target) throw new BadArgument('no options')
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
      })
    },

    batchAppend(call: Message) {
      const batches = new Map<string, { options: Message; events: ProposedEvent[] }>()
      call.on('end', () => call.end())
      call.on('data', (request: Message) => {
        if (controls.hanging) return
        try {
          controls.checkLeader()
        } catch (reason) {
          return refuse(call, reason)
        }
        const correlationId = idOf(request.getCorrelationId())
        let batch = batches.get(correlationId)
        if (!batch) {
          if (!request.hasOptions()) return refuse(call, new BadArgument('The first frame of a batch has no options'))
          batch = { options: request.getOptions(), events: [] }
          batches.set(correlationId, batch)
        }
        const response = new streams.BatchAppendResp()
        response.setCorrelationId(request.getCorrelationId())
        response.setStreamIdentifier(batch.options.getStreamIdentifier())
        try {
          batch.events.push(...request.getProposedMessagesList().map(proposed))
          if (!request.getIsFinal()) return
          batches.delete(correlationId)
          const written = log.append(
            nameOf(batch.options.getStreamIdentifier()),
            batch.events,
            expectedOf(batch.options),
          )
          if (controls.dropsResponse()) return controls.cut()
          const success = new streams.BatchAppendResp.Success()
          if (written.revision === -1) success.setNoStream(new messages.empty.Empty())
          else success.setCurrentRevision(String(written.revision))
          const at = position(shared.AllStreamPosition, written)
          if (at) success.setPosition(at)
          else success.setNoPosition(new messages.empty.Empty())
          response.setSuccess(success)
        } catch (reason) {
          batches.delete(correlationId)
          response.setError(batchError(reason))
        }
        call.write(response)
      })
    },

    delete: (call: Message, answer: (error: unknown, response?: Message) => void) =>
      remove(call, answer, streams.DeleteResp, (name, expected) => log.delete(name, expected)),

    tombstone: (call: Message, answer: (error: unknown, response?: Message) => void) =>
      remove(call, answer, streams.TombstoneResp, (name, expected) => log.tombstone(name, expected)),

    read(call: Writable & { request: Message }) {
      if (controls.hanging) return
      serve(call, call.request.getOptions()).catch((reason) => refuse(call, reason))
    },
  }

  function remove(
    call: Message,
    answer: (error: unknown, response?: Message) => void,
    Response: Message,
    work: (name: string, expected: Expected) => Written,
  ) {
    if (controls.hanging) return
    try {
      controls.checkLeader()
      const options = call.request.getOptions()
      const written = work(nameOf(options.getStreamIdentifier()), expectedOf(options))
      const response = new Response()
      const at = position(Response.Position, written)
      if (at) response.setPosition(at)
      else response.setNoPosition(new shared.Empty())
      answer(null, response)
    } catch (reason) {
      answer(toFailure(reason))
    }
  }

  async function serve(call: Writable, options: Message): Promise<void> {
    if (call.metadata.get('requires-leader')[0] === 'true') controls.checkLeader()
    const form: IdForm = options.getUuidOption()?.hasString() ? 'string' : 'structured'
    const ended = { now: false }
    // The real server puts many messages into one frame of HTTP/2; gRPC for Node does not. So this writes past it.
    const { stream } = (call as unknown as { call: { stream: ServerHttp2Stream } }).call
    call.sendMetadata(new Metadata())
    let waiting: Buffer[] = []
    let bytes = 0
    stream.once('close', () => {
      ended.now = true
      stream.emit('drain') // whoever waits goes on, and ends
    })
    const flush = async () => {
      if (bytes === 0 || ended.now) return
      const frames = Buffer.concat(waiting)
      waiting = []
      bytes = 0
      if (!stream.write(frames)) await once(stream, 'drain')
    }
    const send = async (frame: Buffer) => {
      waiting.push(frame)
      bytes += frame.length
      if (bytes >= FRAMES) await flush()
    }
    send.flush = flush
    if (options.hasStream()) {
      const name = nameOf(options.getStream().getStreamIdentifier())
      if (options.hasSubscription()) await followStream(name, options, form, send, ended)
      else await readStream(name, options, form, send, ended)
    } else if (options.hasSubscription()) await followAll(options, form, send, ended)
    else await readAll(options, form, send, ended)
    await flush()
    call.end()
  }

  type Send = ((frame: Buffer) => Promise<void>) & { flush(): Promise<void> }
  type Ended = { readonly now: boolean }

  async function readStream(name: string, options: Message, form: IdForm, send: Send, ended: Ended): Promise<void> {
    if (log.isTombstoned(name)) throw new Deleted(name)
    if (log.isMissing(name)) {
      const missing = new streams.ReadResp.StreamNotFound()
      missing.setStreamIdentifier(identifierOf(name))
      const response = new streams.ReadResp()
      response.setStreamNotFound(missing)
      return send(framed(response))
    }
    const { first, after, events } = log.visible(name)
    const place = options.getStream()
    const forwards = options.getReadDirection() === 0
    let left = Number(options.getCount())
    let index = place.hasStart() ? 0 : place.hasEnd() ? (forwards ? after : after - 1) : Number(place.getRevision())
    if (forwards) {
      for (index = Math.max(index, first); index < after && left > 0 && !ended.now; index++, left--) {
        await send(encodedRecord(events[index] as LogRecord, form))
      }
    } else {
      for (index = Math.min(index, after - 1); index >= first && left > 0 && !ended.now; index--, left--) {
        await send(encodedRecord(events[index] as LogRecord, form))
      }
    }
  }

  async function readAll(options: Message, form: IdForm, send: Send, ended: Ended): Promise<void> {
    const forwards = options.getReadDirection() === 0
    const isWanted = filterOf(options)
    const place = options.getAll()
    let left = Number(options.getCount())
    // Backwards, the server begins before a position.
    let index = place.hasStart() ? 0 : place.hasEnd() ? log.records.length : indexOf(place.getPosition())
    const { length } = log.records
    for (let seen = 0; left > 0 && !ended.now; seen++) {
      const at = forwards ? index++ : --index
      if (at < 0 || at >= length) return
      const record = log.records[at] as LogRecord
      if (isWanted(record)) {
        left--
        await send(encodedRecord(record, form))
      }
      if (seen % SCAN === SCAN - 1) await nextTurn()
    }
  }

  function indexOf(position: Message): number {
    const commit = Number(position.getCommitPosition())
    const index = log.indexOf(commit)
    const isBoundary =
      log.records[index]?.position === commit && position.getPreparePosition() === position.getCommitPosition()
    if (commit !== 0 && !isBoundary) throw new BadArgument('Invalid position: it is not the position of a record')
    return index
  }

  function simple(kind: 'CaughtUp' | 'FellBehind'): Buffer {
    const response = new streams.ReadResp()
    if (kind === 'CaughtUp') response.setCaughtUp(new streams.ReadResp.CaughtUp())
    else response.setFellBehind(new streams.ReadResp.FellBehind())
    return framed(response)
  }

  function confirmation(): Buffer {
    const confirmed = new streams.ReadResp.SubscriptionConfirmation()
    confirmed.setSubscriptionId(crypto.randomUUID())
    const response = new streams.ReadResp()
    response.setConfirmation(confirmed)
    return framed(response)
  }

  /** Waits for an append, or for the call's end. */
  async function appended(call: Ended): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = () => {
        clearInterval(timer)
        stop()
        resolve()
      }
      const stop = log.onAppend(() => setImmediate(done))
      const timer = setInterval(() => call.now && done(), 20)
    })
  }

  async function followStream(name: string, options: Message, form: IdForm, send: Send, ended: Ended): Promise<void> {
    const place = options.getStream()
    if (log.isTombstoned(name)) throw new Deleted(name)
    const start = place.hasStart() ? -1 : place.hasEnd() ? log.lastRevision(name) : Number(place.getRevision())
    await send(confirmation())
    let told = false
    for (let done = start; !ended.now; ) {
      if (log.isTombstoned(name)) throw new Deleted(name)
      const { first, after, events } = log.isMissing(name) ? { first: 0, after: 0, events: [] } : log.visible(name)
      const from = Math.max(done + 1, first)
      for (let index = from; index < after && !ended.now; index++)
        await send(encodedRecord(events[index] as LogRecord, form))
      done = Math.max(done, after - 1)
      if (log.lastRevision(name) > done && !log.isMissing(name)) continue
      if (!told && controls.tellsCaughtUp) await send(simple('CaughtUp'))
      told = true
      const before = log.lastRevision(name)
      await send.flush()
      while (!ended.now && log.lastRevision(name) === before && !log.isTombstoned(name)) await appended(ended)
    }
  }

  async function followAll(options: Message, form: IdForm, send: Send, ended: Ended): Promise<void> {
    const isWanted = filterOf(options)
    const place = options.getAll()
    const filter = options.hasFilter() ? options.getFilter() : undefined
    const interval = filter
      ? (filter.getMax() || 32) * filter.getCheckpointintervalmultiplier()
      : Number.POSITIVE_INFINITY
    if (filter && filter.getCheckpointintervalmultiplier() === 0) {
      throw new BadArgument('The checkpoint interval multiplier must be greater than 0')
    }
    let index = place.hasStart() ? 0 : place.hasEnd() ? log.records.length : indexOf(place.getPosition())
    const from = place.hasPosition() ? Number(place.getPosition().getCommitPosition()) : -1
    if (log.records[index]?.position === from) index++
    await send(confirmation())
    let checkpoint = from
    let considered = 0
    const tellCheckpoint = async () => {
      const last = log.records[index - 1]?.position
      considered = 0
      if (!filter || last === undefined || last <= checkpoint) return
      checkpoint = last
      const message = new streams.ReadResp.Checkpoint()
      message.setCommitPosition(String(last))
      message.setPreparePosition(String(last))
      const response = new streams.ReadResp()
      response.setCheckpoint(message)
      await send(framed(response))
    }
    let live = false
    while (!ended.now) {
      while (index < log.records.length && !ended.now) {
        const record = log.records[index++] as LogRecord
        if (isWanted(record)) await send(encodedRecord(record, form))
        if (++considered >= interval) await tellCheckpoint()
        if (considered % SCAN === SCAN - 1) await nextTurn()
      }
      if (!live) {
        await tellCheckpoint()
        if (controls.tellsCaughtUp) await send(simple('CaughtUp'))
        live = true
      }
      await send.flush()
      if (index === log.records.length) await appended(ended)
    }
  }
}

/** A google.rpc.Status with the details of one failure. */
function batchError(reason: unknown): Message {
  const error = new messages.status.Status()
  const details = new messages.any.Any()
  const pack = (code: number, text: string, message: Message, name: string) => {
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
    pack(status.FAILED_PRECONDITION, 'StreamDeleted', deleted, 'StreamDeleted')
  } else if (failure.metadata.get('exception')[0] === 'maximum-append-size-exceeded') {
    const size = new shared.MaximumAppendSizeExceeded()
    size.setMaxappendsize(Number(failure.metadata.get('maximum-append-size')[0]))
    pack(status.INVALID_ARGUMENT, 'MaximumAppendSizeExceeded', size, 'MaximumAppendSizeExceeded')
  } else if (reason instanceof BadArgument) {
    pack(status.INVALID_ARGUMENT, reason.message, new shared.BadRequest(), 'BadRequest')
  } else pack(status.UNKNOWN, failure.details, new shared.Unknown(), 'Unknown')
  error.setDetails(details)
  return error
}
