/** What proves an event: its hash, its place in the log, and the checkpoint that covers it. */
import { comparePositions, type EventStore, type Position, type RecordedEvent } from '../eventstore/port.ts'
import { firstOf, newestRevision, orGone } from '../eventstore/read.ts'
import { metadataOf } from './criteria.ts'
import type { Place } from './places.ts'
import { CHECKPOINT_STREAM } from './proof/signed-checkpoints.ts'
import { isInTree } from './proof/tree.ts'

export interface Evidence {
  /** Base64url; undefined: written before hashes were introduced. */
  readonly hash: string | undefined
  readonly position: Position
  /** The reason that stands in it, as in a deletion. Never personal: it is stored in clear. */
  readonly reason: string | undefined
  /** Whether checkpoints cover events of its stream. */
  readonly isInTree: boolean
}

/** Which checkpoint covers an event, as it is stored: whether it is valid is what a verification says. */
export interface Covering {
  readonly revision: number
  /** ISO 8601, UTC. */
  readonly time: string
  /** Events in it. */
  readonly size: number
}

/** A place as a key. */
export const placeKey = ({ stream, revision }: Place): string => `${stream} ${revision}`

/**
 * The evidence of events, by {@link placeKey}.
 * @param stored the log as stored
 * @throws EventStoreUnavailable
 */
export async function evidenceOf(stored: EventStore, places: readonly Place[]): Promise<ReadonlyMap<string, Evidence>> {
  const found = new Map<string, Evidence>()
  for (const [stream, ofStream] of Map.groupBy(places, ({ stream }) => stream)) {
    const revisions = ofStream.map(({ revision }) => revision)
    const [from, to] = [Math.min(...revisions), Math.max(...revisions)]
    for await (const event of orGone(stored.readStream(stream, { from, maxCount: to - from + 1 }))) {
      found.set(placeKey(event), {
        hash: metadataOf(event).$hash,
        position: event.position,
        reason: reasonOf(event),
        isInTree: isInTree(stream),
      })
    }
  }
  return found
}

function reasonOf({ data }: RecordedEvent): string | undefined {
  const { reason } = (data ?? {}) as { readonly reason?: unknown }
  return typeof reason === 'string' ? reason : undefined
}

/**
 * Returns a function that finds the first checkpoint that covers an event; undefined: none does, or none does yet. It reads as many
 * checkpoints as the logarithm of their number.
 * @throws EventStoreUnavailable
 */
export async function createCoverage(stored: EventStore): Promise<(event: Evidence) => Promise<Covering | undefined>> {
  const newest = await newestRevision(stored, CHECKPOINT_STREAM)
  const read = new Map<number, Promise<(Covering & { readonly position: Position }) | undefined>>()
  const at = (revision: number) => {
    const known = read.get(revision) ?? readCheckpoint(stored, revision)
    read.set(revision, known)
    return known
  }
  return async ({ position, isInTree }) => {
    if (!isInTree) return undefined
    let [low, high] = [0, (newest ?? -1) + 1]
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      const checkpoint = await at(middle)
      if (checkpoint && comparePositions(checkpoint.position, position) < 0) low = middle + 1
      else high = middle
    }
    const found = newest !== undefined && low <= newest ? await at(low) : undefined
    return found && { revision: found.revision, time: found.time, size: found.size }
  }
}

async function readCheckpoint(stored: EventStore, revision: number) {
  const event = await firstOf(stored.readStream(CHECKPOINT_STREAM, { from: revision, maxCount: 1 }))
  const { position, time, size } = (event?.data ?? {}) as {
    readonly position?: { readonly commit?: unknown; readonly prepare?: unknown }
    readonly time?: unknown
    readonly size?: unknown
  }
  const isWhole =
    typeof time === 'string' && typeof size === 'number' && [position?.commit, position?.prepare].every(isNumber)
  if (!isWhole) return undefined
  return {
    revision,
    time,
    size,
    position: { commit: BigInt(String(position?.commit)), prepare: BigInt(String(position?.prepare)) },
  }
}

const isNumber = (text: unknown) => typeof text === 'string' && /^\d{1,20}$/.test(text)
