/** What the newest valid checkpoint covers of the log, and what none covers yet. */
import { comparePositions, type EventStore, InvalidArgument } from '../../eventstore/port.ts'
import { isSignedBy, readCheckpoints } from './signed-checkpoints.ts'
import type { PublicKey } from './signing-key.ts'
import { TREE_STREAMS } from './tree.ts'

/** A checkpoint as a list shows it. */
interface ListedCheckpoint {
  readonly revision: number
  /** Events that it covers. */
  readonly size: number
  /** When it was signed (ISO 8601, UTC). */
  readonly time: string
  readonly keyId: string
  /** Whether the signature is of one of the trusted keys. A verification says whether the log is the one that was signed. */
  readonly isSigned: boolean
}

export interface Coverage {
  /** The newest ones, the newest first. */
  readonly checkpoints: readonly ListedCheckpoint[]
  /** The newest one that a trusted key has signed. */
  readonly newest: ListedCheckpoint | undefined
  /** Events that it covers; 0 without one. */
  readonly covered: number
  /** Events after it that checkpoints cover; undefined: its place is not in this log. */
  readonly uncovered: number | undefined
  /** Whether there are more uncovered events than were counted. */
  readonly isMore: boolean
  /** When the first uncovered event was written. */
  readonly uncoveredSince: Date | undefined
}

/** Checkpoints in the list. */
const LISTED = 10
/** More uncovered events are not counted: a page asks for this. */
const MOST_COUNTED = 2_000

/**
 * @param eventStore the log as stored
 * @throws EventStoreUnavailable
 */
export async function coverageOf(eventStore: EventStore, keys: readonly PublicKey[]): Promise<Coverage> {
  const checkpoints: ListedCheckpoint[] = []
  let newest: ListedCheckpoint | undefined
  let position: { readonly commit: bigint; readonly prepare: bigint } | undefined
  for await (const checkpoint of readCheckpoints(eventStore, 'backwards')) {
    if (checkpoint.size !== undefined) {
      const { revision, size, time, keyId, signature } = checkpoint
      const isSigned = keys.some((key) => isSignedBy(checkpoint, signature, key))
      const listed = { revision, size, time, keyId, isSigned }
      checkpoints.push(listed)
      if (isSigned && newest === undefined) {
        newest = listed
        const { commit, prepare } = checkpoint.position
        position = { commit: BigInt(commit), prepare: BigInt(prepare) }
      }
    }
    if (checkpoints.length === LISTED) break
  }
  const rest = await countAfter(eventStore, position)
  return { checkpoints, newest, covered: newest?.size ?? 0, ...rest }
}

async function countAfter(
  eventStore: EventStore,
  position: { readonly commit: bigint; readonly prepare: bigint } | undefined,
): Promise<Pick<Coverage, 'uncovered' | 'isMore' | 'uncoveredSince'>> {
  let uncovered = 0
  let uncoveredSince: Date | undefined
  try {
    const filter = { streamPrefixes: TREE_STREAMS }
    const events = eventStore.readAll({ from: position ?? 'start', filter, maxCount: MOST_COUNTED + 2 })
    for await (const event of events) {
      if (position && comparePositions(event.position, position) <= 0) continue
      if (uncovered === MOST_COUNTED) return { uncovered, isMore: true, uncoveredSince }
      uncovered++
      uncoveredSince ??= event.created
    }
    return { uncovered, isMore: false, uncoveredSince }
  } catch (error) {
    if (!(error instanceof InvalidArgument)) throw error
    return { uncovered: undefined, isMore: false, uncoveredSince: undefined }
  }
}
