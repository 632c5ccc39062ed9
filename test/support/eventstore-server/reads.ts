/** The streams service, reading: streams and $all, once or for as long as the caller stays. */
import { once } from 'node:events'
import type { ServerHttp2Stream } from 'node:http2'
import { setImmediate as nextTurn } from 'node:timers/promises'
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

export function createReads(log: Log, controls: Controls) {
  return {
    read(call: Writable & { request: Message }) {
      serve(call, call.request.getOptions()).catch((reason) => refuse(call, reason))
    },
  }

  async function serve(call: Writable, options: Message): Promise<void> {
    controls.admit('read', call.metadata)
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
    if (log.isTombstoned(name)) throw new Deleted(name)
    if (log.isMissing(name)) {
      const missing = new streams.ReadResp.StreamNotFound()
      missing.setStreamIdentifier(identifierOf(name))
      const response = new streams.ReadResp()
      response.setStreamNotFound(missing)
      return reader.send(framed(response))
    }
    const { first, after, events } = log.visible(name)
    const place = options.getStream()
    const forwards = options.getReadDirection() === 0
    let left = Number(options.getCount())
    const end = forwards ? after : after - 1
    let index = place.hasStart() ? 0 : place.hasEnd() ? end : Number(place.getRevision())
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
    const place = options.getAll()
    let left = Number(options.getCount())
    // Backwards, the server begins before a position.
    let index = place.hasStart() ? 0 : place.hasEnd() ? log.records.length : indexOf(place.getPosition())
    const { length } = log.records
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

  function indexOf(position: Message): number {
    const commit = Number(position.getCommitPosition())
    const index = log.indexOf(commit)
    const isBoundary =
      log.records[index]?.position === commit && position.getPreparePosition() === position.getCommitPosition()
    // The server's own type for positions refuses it, with an error that nobody has thought of.
    if (Number(position.getPreparePosition()) > commit) {
      throw new Failure(status.UNKNOWN, 'Exception was thrown by handler.')
    }
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
    await reader.send(confirmation())
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
    if (interval === 0) throw new BadArgument('The checkpoint interval multiplier must be greater than 0')
    let index = place.hasStart() ? 0 : place.hasEnd() ? log.records.length : indexOf(place.getPosition())
    const from = place.hasPosition() ? Number(place.getPosition().getCommitPosition()) : -1
    if (log.records[index]?.position === from) index++
    await reader.send(confirmation())
    let considered = 0
    let told = -1
    const tellCheckpoint = async (at: number) => {
      if (!filter || at <= told) return
      told = at
      const message = new streams.ReadResp.Checkpoint()
      message.setCommitPosition(String(at))
      message.setPreparePosition(String(at))
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
    let isLive = false
    for (let seen = 0; !reader.ended(); ) {
      if (isLive && log.records.length - index > LIVE_BUFFER) {
        isLive = false
        await tellCheckpoint(last)
        if (controls.tellsCaughtUp) await reader.send(simple('FellBehind'))
      }
      while (index < log.records.length && !reader.ended()) {
        const record = log.records[index++] as LogRecord
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
          await tellCheckpoint(isLive ? record.position : Math.max(last, page, 0))
        }
        if (++seen % SCAN === 0) await nextTurn()
      }
      if (!isLive) {
        // Servers before 23.10 say neither.
        if (controls.tellsCaughtUp && log.records.length > 0) await tellCheckpoint(Math.max(last, page, 0))
        if (controls.tellsCaughtUp) await reader.send(simple('CaughtUp'))
        isLive = true
      }
      await reader.flush()
      if (index === log.records.length) await appended(reader)
    }
  }
}
