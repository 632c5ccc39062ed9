/** The streams service, reading: streams and $all, once or for as long as the caller stays. */
import { once } from 'node:events'
import type { ServerHttp2Stream } from 'node:http2'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { Metadata, status } from '@grpc/grpc-js'
import type { Controls } from './controls.ts'
import { BadArgument, Deleted, type Log, type LogRecord } from './log.ts'
import {
  encodedRecord,
  Failure,
  filterOf,
  framed,
  type IdForm,
  identifierOf,
  type Message,
  messages,
  nameOf,
  refuse,
  resolveLink,
  type Writable,
} from './wire.ts'

const { streams } = messages
/** Events that a read or a subscription looks at in one go. */
const SCAN = 1_000
/** Bytes of messages that go out together, where there are so many. */
const FRAMES = 16 * 1024
/** Until the first events of a subscription come. */
const READ_MS = 2
/** A live subscription that is further behind has lost its place among the live ones: it catches up from the log. */
const LIVE_BUFFER = 320

/** The caller's end of a read. */
interface Reader {
  readonly ended: () => boolean
  /** Waits while the caller does not take what was sent. */
  send(frame: Buffer): Promise<void>
  event(record: LogRecord): Promise<void>
  flush(): Promise<void>
}

/** The end of the log or of a stream, and the server's own -1, as an unsigned number of 64 bits. */
const UNSIGNED_END = 2 ** 64

const unsigned = (position: number) => String(BigInt.asUintN(64, BigInt(position)))

/** What the server's own types refuse: an error that nobody has thought of. */
const unforeseen = () => new Failure(status.UNKNOWN, 'Exception was thrown by handler.')

const isEnd = (position: Message) => Number(position.getCommitPosition()) === UNSIGNED_END

const failed = (result: string, kind: 'Error' | 'InvalidPosition') =>
  new Failure(status.UNKNOWN, `Unexpected ${result}: ${kind}`)

export function createReads(log: Log, controls: Controls) {
  return {
    read(call: Writable & { request: Message }) {
      serve(call, call.request.getOptions()).catch((reason) => refuse(call, reason))
    },
  }

  async function serve(call: Writable, options: Message): Promise<void> {
    controls.admit('read', call.metadata)
    if (options.hasStream() && nameOf(options.getStream().getStreamIdentifier()) === '') throw unforeseen()
    const reader = readerOf(call, options)
    if (options.hasStream()) {
      const name = nameOf(options.getStream().getStreamIdentifier())
      if (options.hasSubscription()) await followStream(name, options, reader)
      else await readStream(name, options, reader)
    } else if (options.hasSubscription()) await followAll(options, reader)
    else await readAll(options, reader)
    await reader.flush()
    call.end()
  }

  function readerOf(call: Writable, options: Message): Reader {
    const form: IdForm = options.getUuidOption()?.hasString() ? 'string' : 'structured'
    const resolves: boolean = options.getResolveLinks()
    // The real server puts many messages into one frame of HTTP/2; gRPC for Node does not. So this writes past it.
    const { stream } = (call as unknown as { call: { stream: ServerHttp2Stream } }).call
    call.sendMetadata(new Metadata())
    let ended = false
    let waiting: Buffer[] = []
    let bytes = 0
    stream.once('close', () => {
      ended = true
      stream.emit('drain') // whoever waits goes on, and ends
    })
    const flush = async () => {
      if (controls.hanging) await new Promise<void>((resolve) => controls.whenAwake(resolve))
      if (bytes === 0 || ended) return
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
    const event = (record: LogRecord) => send(encodedRecord(resolves ? resolveLink(log, record) : { record }, form))
    return { ended: () => ended, send, event, flush }
  }

  async function readStream(name: string, options: Message, reader: Reader): Promise<void> {
    const place = options.getStream()
    const forwards = options.getReadDirection() === 0
    let left = Number(options.getCount())
    const fromEnd = place.hasEnd() || (place.hasRevision() && Number(place.getRevision()) === UNSIGNED_END)
    // The server takes the end for -1, which is no place to go forwards from.
    if ((forwards && fromEnd) || left === 0) throw failed('ReadStreamResult', 'Error')
    if (log.isTombstoned(name)) throw new Deleted(name)
    if (log.isMissing(name)) {
      const missing = new streams.ReadResp.StreamNotFound()
      missing.setStreamIdentifier(identifierOf(name))
      const response = new streams.ReadResp()
      response.setStreamNotFound(missing)
      return reader.send(framed(response))
    }
    const { first, after, events } = log.visible(name)
    let index = place.hasStart() ? 0 : fromEnd ? after - 1 : Number(place.getRevision())
    if (forwards) {
      for (index = Math.max(index, first); index < after && left > 0 && !reader.ended(); index++, left--) {
        await reader.event(events[index] as LogRecord)
      }
    } else {
      for (index = Math.min(index, after - 1); index >= first && left > 0 && !reader.ended(); index--, left--) {
        await reader.event(events[index] as LogRecord)
      }
    }
  }

  async function readAll(options: Message, reader: Reader): Promise<void> {
    const forwards = options.getReadDirection() === 0
    const isWanted = filterOf(options)
    let left = Number(options.getCount())
    if (left === 0) return new Promise(() => {}) // as the server: it never answers
    const { length } = log.records
    let index = readFrom(options.getAll(), forwards, options.hasFilter() ? 'FilteredReadAllResult' : 'ReadAllResult')
    for (let seen = 0; left > 0 && !reader.ended(); seen++) {
      const at = forwards ? index++ : --index
      if (at < 0 || at >= length) return
      const record = log.records[at] as LogRecord
      if (isWanted(record)) {
        left--
        await reader.event(record)
      }
      if (seen % SCAN === SCAN - 1) await nextTurn()
    }
  }

  /**
   * Where a read of $all begins: forwards at the index, backwards before it (the server's AllReader).
   * @throws Failure for a position within the log that is not a record's, and backwards for one past the log's end
   */
  function readFrom(place: Message, forwards: boolean, result: string): number {
    const { length } = log.records
    if (place.hasStart()) return 0
    if (place.hasEnd() || isEnd(place.getPosition())) return length
    const { commit, prepare } = positionOf(place)
    const index = log.indexOf(commit)
    if (forwards && index === length) return length
    if (commit > log.end()) throw failed(result, 'Error')
    const isBoundary = log.records[index]?.position === commit || commit === log.end() || commit === 0
    if (!isBoundary) throw failed(result, 'InvalidPosition')
    return !forwards && prepare < commit ? Math.max(0, index - 1) : index
  }

  /** Numbers: a test's log is short. */
  function positionOf(place: Message): { readonly commit: number; readonly prepare: number } {
    const position = place.getPosition()
    const [commit, prepare] = [Number(position.getCommitPosition()), Number(position.getPreparePosition())]
    if (prepare > commit) throw unforeseen()
    return { commit, prepare }
  }

  /** Where a subscription to $all begins: after the position, also where it is past the end. */
  function followFrom(place: Message): { index: number; readonly from: number; readonly isInvalid: boolean } {
    const { length } = log.records
    const newest = log.records.at(-1)?.position ?? -1
    if (place.hasStart()) return { index: 0, from: -1, isInvalid: false }
    if (place.hasEnd() || isEnd(place.getPosition())) return { index: length, from: newest, isInvalid: false }
    const { commit, prepare } = positionOf(place)
    const index = log.indexOf(commit)
    const isRecord = log.records[index]?.position === commit
    const isInvalid = index < length && !isRecord && commit !== 0
    return { index: isRecord && prepare === commit ? index + 1 : index, from: commit, isInvalid }
  }

  function simple(kind: 'CaughtUp' | 'FellBehind'): Buffer {
    const response = new streams.ReadResp()
    if (kind === 'CaughtUp') response.setCaughtUp(new streams.ReadResp.CaughtUp())
    else response.setFellBehind(new streams.ReadResp.FellBehind())
    return framed(response)
  }

  /** Alone, as KurrentDB does: it begins to read only then. */
  async function confirm(reader: Reader): Promise<void> {
    const confirmed = new streams.ReadResp.SubscriptionConfirmation()
    confirmed.setSubscriptionId(crypto.randomUUID())
    const response = new streams.ReadResp()
    response.setConfirmation(confirmed)
    await reader.send(framed(response))
    await reader.flush()
    await delay(READ_MS)
  }

  /** Waits for an append, or for the call's end. */
  async function appended(reader: Reader): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = () => {
        clearInterval(timer)
        stop()
        resolve()
      }
      const stop = log.onAppend(() => setImmediate(done))
      const timer = setInterval(() => reader.ended() && done(), 20)
    })
  }

  async function followStream(name: string, options: Message, reader: Reader): Promise<void> {
    const place = options.getStream()
    if (log.isTombstoned(name)) throw new Deleted(name)
    let done = place.hasStart() ? -1 : place.hasEnd() ? log.lastRevision(name) : Number(place.getRevision())
    await confirm(reader)
    let isLive = false
    while (!reader.ended()) {
      if (log.isTombstoned(name)) throw new Deleted(name)
      const { first, after, events } = log.isMissing(name) ? { first: 0, after: 0, events: [] } : log.visible(name)
      if (isLive && after - 1 - done > LIVE_BUFFER) {
        isLive = false
        if (controls.tellsCaughtUp) await reader.send(simple('FellBehind'))
      }
      for (let index = Math.max(done + 1, first); index < after && !reader.ended(); index++) {
        await reader.event(events[index] as LogRecord)
      }
      done = Math.max(done, after - 1)
      if (log.lastRevision(name) > done && !log.isMissing(name)) continue
      if (!isLive && controls.tellsCaughtUp) await reader.send(simple('CaughtUp'))
      isLive = true
      await reader.flush()
      while (!reader.ended() && isDone(name, done)) await appended(reader)
    }
  }

  function isDone(name: string, done: number): boolean {
    return !log.isTombstoned(name) && (log.isMissing(name) || log.lastRevision(name) <= done)
  }

  async function followAll(options: Message, reader: Reader): Promise<void> {
    const isWanted = filterOf(options)
    const place = options.getAll()
    const filter = options.hasFilter() ? options.getFilter() : undefined
    const interval = filter ? (filter.getMax() || 32) * filter.getCheckpointintervalmultiplier() : undefined
    if (interval === 0) throw unforeseen()
    const { from, isInvalid, ...begin } = followFrom(place)
    let { index } = begin
    await confirm(reader)
    if (isInvalid) throw new BadArgument('Trying to read from an invalid position.')
    let considered = 0
    let told: number | undefined
    /** @param prepare less than the commit where a page begins at it; -1: the server's place before the first record */
    const tellCheckpoint = async (commit: number, prepare = commit) => {
      if (!filter || (told !== undefined && commit <= told)) return
      told = commit
      const message = new streams.ReadResp.Checkpoint()
      message.setCommitPosition(unsigned(commit))
      message.setPreparePosition(unsigned(prepare))
      const response = new streams.ReadResp()
      response.setCheckpoint(message)
      await reader.send(framed(response))
    }
    // While it catches up the server reads pages, and its checkpoint is the last event that it let through, or where the
    // page begins that it has read: never the last record that it looked at.
    const pageSize = filter?.getMax() || 32
    let page = from
    let inPage = 0
    let last = from
    const tellCaughtUpTo = () => (page > last ? tellCheckpoint(page, 0) : tellCheckpoint(last))
    const catchesUp = index < log.records.length
    const isPastEnd = index === log.records.length
    let isLive = false
    for (let seen = 0; !reader.ended(); ) {
      if (isLive && log.records.length - index > LIVE_BUFFER) {
        isLive = false
        await tellCheckpoint(last)
        if (controls.tellsCaughtUp) await reader.send(simple('FellBehind'))
      }
      while (index < log.records.length && !reader.ended()) {
        const record = log.records[index++] as LogRecord
        if (isPastEnd && record.position <= from) continue // a node that is behind, and catches up
        if (!isLive && inPage++ === pageSize) {
          page = record.position
          inPage = 1
        }
        if (isWanted(record)) {
          await reader.event(record)
          last = record.position
        }
        if (++considered === interval) {
          considered = 0
          if (isLive) await tellCheckpoint(record.position)
          else if (page > last) await tellCheckpoint(Math.max(page, 0), 0)
          else await tellCheckpoint(Math.max(last, 0))
        }
        if (++seen % SCAN === 0) await nextTurn()
      }
      if (!isLive) {
        // Servers before 23.10 say neither.
        if (controls.tellsCaughtUp && catchesUp) await tellCaughtUpTo()
        if (controls.tellsCaughtUp) await reader.send(simple('CaughtUp'))
        isLive = true
      }
      await reader.flush()
      if (index === log.records.length) await appended(reader)
    }
  }
}
