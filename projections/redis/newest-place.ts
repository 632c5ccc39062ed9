/**
 * The newest event that a document of the generation may reflect. It never goes back while the server keeps what it was
 * given, so it shows when somebody has put older keys in the place of the present ones, seals included. (A restart, a
 * failover and a flush are noticed by the seals.)
 */
import type { EventPlace } from '../../eventstore/event-place.ts'
import type { RedisConnection } from './connection.ts'
import type { Handle } from './generations.ts'
import type { Seals } from './seals.ts'
import { formatPlace, parsePlace, readText } from './values.ts'

/** What was seen longer ago is not compared: another process may have emptied and filled the generation since. */
const FRESH_MS = 5_000
/** The digits of a position, at the beginning of a place as it is stored. */
const POSITION_DIGITS = 40

export interface NewestPlace {
  /** As in the port. Hides the documents if it finds that they were set back. */
  read(): Promise<EventPlace | null>
  /** Stores a later place; the same check. @throws ReadModelUnavailable */
  raise(place: EventPlace): Promise<void>
  /** Call it when the generation was emptied, or the handle has switched to another one. */
  forget(): void
}

export function createNewestPlace(redis: RedisConnection, handle: Handle, seals: Seals): NewestPlace {
  /** The position that the server was known to have, in digits that sort like it, and when. */
  let known = { digits: '', at: 0 }

  /** @param before what was known when the command was sent @param found what the server had; '' for nothing */
  async function compare(before: typeof known, found: string, now = found): Promise<void> {
    const isFresh = performance.now() - before.at < FRESH_MS
    const isSetBack = isFresh && found !== '' && found < before.digits
    const isForgotten = !isFresh || isSetBack || found === ''
    known = { digits: isForgotten || now > known.digits ? now : known.digits, at: performance.now() }
    // An incomplete generation is hidden already.
    if (isSetBack && (await seals.step('check'))) await seals.drop()
  }

  return {
    async read() {
      const before = known
      const stored = await redis.call((commands) => readText(commands, handle.keys.newest), 'newest')
      const place = parsePlace(stored)
      await compare(before, place ? (stored as string).slice(0, POSITION_DIGITS) : '')
      return place
    },

    async raise(place) {
      const before = known
      const text = formatPlace(place)
      const found = (await redis.call((commands) => commands.raisePlace(handle.keys.newest, text))) ?? ''
      const own = text.slice(0, POSITION_DIGITS)
      await compare(before, found, found > own ? found : own)
    },

    forget() {
      known = { digits: '', at: 0 }
    },
  }
}
