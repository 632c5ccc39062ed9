/** How far a subscription has come: what it has delivered, and what the server has reported about the log since. */
import { type EventPlace, placeOf } from '../event-place.ts'
import { comparePositions, LogReplaced, type Position, type RecordedEvent, type SubscriptionBatch } from '../port.ts'
import type { Source } from './subscription-sources.ts'
import type { ReadAnswer } from './wire.ts'

const START: Position = { commit: 0n, prepare: 0n }

export interface ProgressOptions {
  /** The initial position of the checkpoint, if it is known. */
  readonly from?: Position | undefined
  /** The most events of one batch. */
  readonly batchSize: number
  /** The event at the start. */
  readonly expects?: EventPlace | undefined
  /** Whether the log still has the event at its place. @throws EventStoreUnavailable */
  readonly holds: (place: EventPlace) => Promise<boolean>
}

export interface Progress<Place> {
  /**
   * Begins a call. After a loss of the connection, it resumes after the last delivered event, if the log still has it.
   * @returns the place to start from
   * @throws LogReplaced | InvalidArgument, which end the subscription | EventStoreUnavailable
   */
  begin(isAfterLoss: boolean): Promise<Place>
  /** Whether the server has confirmed the call. */
  isConfirmed(): boolean
  /** Whether the end of the log, as it was when the call was begun, has been reached. */
  isCaughtUp(): boolean
  /**
   * Processes one answer of the server.
   * @param more whether further answers have arrived already
   * @returns a batch to deliver, if one is complete and has news
   */
  apply(answer: ReadAnswer, more: boolean): SubscriptionBatch | undefined
  /** After a silence: a batch that reports the end of the log, if no relevant event is before it. */
  checkEnd(): Promise<SubscriptionBatch | undefined>
}

export function createProgress<Place>(
  source: Source<Place>,
  { from, batchSize, expects, holds }: ProgressOptions,
): Progress<Place> {
  let first: Place | undefined
  let place: Place
  /** The end when the call was begun. */
  let end: Place
  let checkpoint = from ?? START
  let confirmed = false
  let caughtUp = false
  /** The batch that is being filled. */
  let events: RecordedEvent[] = []
  /** What the consumer knows: of an answer that changes nothing of it, such as a confirmation, it gets no batch. */
  let last: SubscriptionBatch = { events, checkpoint, caughtUp }
  let handedOut: RecordedEvent | undefined

  /**
   * The store may have returned with another log. Only an event can be compared, so everything after the last one is
   * read again.
   */
  async function checkLog(start: Place): Promise<void> {
    const known = handedOut ? placeOf(handedOut) : expects
    if (known === undefined) await source.check(start)
    else if (!(await holds(known))) throw new LogReplaced()
  }

  /** The server's own checkpoint, if it sends one, may be far behind what it has read. */
  function reach(seen: Place): void {
    const position = source.positionOf(seen)
    if (position && comparePositions(position, checkpoint) > 0) checkpoint = position
    if (source.isBefore(place, seen)) place = seen
    caughtUp = true
  }

  return {
    async begin(isAfterLoss) {
      if (first === undefined) place = first = await source.begin()
      if (isAfterLoss) {
        await checkLog(first)
        place = handedOut ? source.after(handedOut) : first
        checkpoint = handedOut?.position ?? from ?? START
      }
      end = await source.end()
      caughtUp = !source.isBefore(place, end)
      confirmed = false
      events = []
      return place
    },

    isConfirmed: () => confirmed,
    isCaughtUp: () => caughtUp,

    apply(answer, more) {
      switch (answer.kind) {
        case 'event':
          events.push(answer.event)
          place = source.after(answer.event)
          checkpoint = answer.event.position
          break
        case 'checkpoint':
          place = source.at(answer.position) ?? place
          if (comparePositions(answer.position, checkpoint) > 0) checkpoint = answer.position
          break
        case 'caughtUp':
          reach(end)
          break
        case 'fellBehind':
          caughtUp = false
          break
        case 'confirmation':
          confirmed = true
      }
      caughtUp ||= !source.isBefore(place, end)
      if (more && events.length < batchSize) return undefined
      const batch = { events, checkpoint, caughtUp: caughtUp && !more }
      events = []
      if (!confirmed || (batch.events.length === 0 && isSame(batch, last))) return undefined
      last = batch
      handedOut = batch.events.at(-1) ?? handedOut
      return batch
    },

    async checkEnd() {
      const seen = await source.endIfNothingAfter(place).catch(() => undefined)
      if (seen === undefined) return undefined
      reach(seen)
      last = { events: [], checkpoint, caughtUp }
      return last
    },
  }
}

function isSame(batch: SubscriptionBatch, last: SubscriptionBatch): boolean {
  return last.caughtUp === batch.caughtUp && comparePositions(last.checkpoint, batch.checkpoint) === 0
}
