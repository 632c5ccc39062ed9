/**
 * Finds the part of the log that was written between two times. Stores date each event when they write it, so times
 * increase with positions, except where a clock was set back or the clocks of a server's nodes differ.
 */
import { STREAMS } from '../schema/streams.ts'
import { type EventStore, type Position, type RecordedEvent, StreamDeleted } from './port.ts'
import { firstOf, logEnd } from './read.ts'

/** By how much a clock may be wrong before an event is missed. */
const CLOCK_MARGIN_MS = 5 * 60_000

/**
 * Single streams that regularly receive events and keep them: checkpoints of the log, blocks of ids. If a store can
 * only read from the positions of events, the positions of theirs are known without reading the log.
 */
const LANDMARKS = STREAMS.filter(({ of, kept }) => of === undefined && kept === 'for good').map(({ name }) => name)

/** A part of the log. */
export interface LogRange {
  /** Inclusive. */
  readonly from: Position | 'start'
  /** Inclusive; undefined: to the end. */
  readonly to: Position | undefined
}

/**
 * The part of the log that contains every event written between two times. The number of reads to find it grows with
 * the logarithm of the log's length. Events near its ends may be outside the times, so the caller still compares each.
 * @param since undefined: from the start
 * @param until undefined: to the end
 * @param margin in milliseconds: see {@link CLOCK_MARGIN_MS}
 * @throws EventStoreUnavailable
 */
export async function rangeBetween(
  eventStore: EventStore,
  since: Date | undefined,
  until: Date | undefined,
  margin: number = CLOCK_MARGIN_MS,
): Promise<LogRange> {
  const earliest = since && since.getTime() - margin
  const latest = until && until.getTime() + margin
  return {
    from: (earliest !== undefined && (await around(eventStore, earliest)).before) || 'start',
    to: latest === undefined ? undefined : (await around(eventStore, latest)).after,
  }
}

/**
 * @returns a function that returns which share of the range is before a position, from 0 to 1
 * @throws EventStoreUnavailable
 */
export async function shareBetween(eventStore: EventStore, from: LogRange['from'], to: LogRange['to']) {
  const end = to ?? (await logEnd(eventStore))
  const first = from === 'start' ? 0n : from.commit
  const length = Math.max(1, Number((end?.commit ?? 0n) - first))
  return ({ commit }: Position) => Math.min(1, Number(commit - first) / length)
}

/** The last event known to be written before a time, and the first one known to be written after it. */
interface Around {
  readonly before?: Position | undefined
  readonly after?: Position | undefined
}

function around(eventStore: EventStore, time: number): Promise<Around> {
  return eventStore.readsFromAnyPosition ? aroundInLog(eventStore, time) : aroundInLandmarks(eventStore, time)
}

async function aroundInLog(eventStore: EventStore, time: number): Promise<Around> {
  const end = await logEnd(eventStore)
  if (end === undefined) return {}
  const at = (number: number) => {
    const from = { commit: BigInt(number), prepare: BigInt(number) }
    return firstOf(eventStore.readAll({ from, maxCount: 1, systemEvents: true }))
  }
  return bisect(Number(end.commit) + 1, at, time)
}

/** The events around the time that are nearest to it among the events of all landmark streams. */
async function aroundInLandmarks(eventStore: EventStore, time: number): Promise<Around> {
  let nearest: Around = {}
  for (const stream of LANDMARKS) {
    const { before, after } = await aroundInStream(eventStore, stream, time)
    nearest = {
      before: later(nearest.before, before),
      after: nearest.after && after ? earlier(nearest.after, after) : (nearest.after ?? after),
    }
  }
  return nearest
}

async function aroundInStream(eventStore: EventStore, stream: string, time: number): Promise<Around> {
  const read = (from: number | 'end') =>
    firstOf(
      eventStore.readStream(stream, { direction: from === 'end' ? 'backwards' : 'forwards', from, maxCount: 1 }),
    ).catch((error: unknown) => {
      if (error instanceof StreamDeleted) return undefined
      throw error
    })
  const newest = await read('end')
  return newest ? bisect(newest.revision + 1, read, time) : {}
}

/**
 * Binary search for a time.
 * @param count the search covers the numbers below this
 * @param read returns the first event at the number or later; undefined if there is none
 */
async function bisect(
  count: number,
  read: (number: number) => Promise<RecordedEvent | undefined>,
  time: number,
): Promise<Around> {
  let before: Position | undefined
  let after: Position | undefined
  for (let low = 0, high = count; low < high; ) {
    const middle = Math.floor((low + high) / 2)
    const event = await read(middle)
    if (event !== undefined && event.created.getTime() < time) {
      before = event.position
      low = middle + 1
    } else {
      after = event && event.created.getTime() > time ? event.position : after
      high = middle
    }
  }
  return { before, after }
}

const later = (a: Position | undefined, b: Position | undefined) => (a && b && a.commit > b.commit ? a : (b ?? a))
const earlier = (a: Position, b: Position) => (a.commit < b.commit ? a : b)
