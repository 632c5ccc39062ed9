/**
 * Verifies the log in one walk, by the hash chains of its streams (eventstore/event-hash.ts) and the signed checkpoints
 * of its tree (signed-checkpoints.ts). The chains identify the events that were altered, removed, inserted or
 * reordered. Somebody who can write to the whole store could rebuild the chains, or truncate them. The checkpoints
 * reveal that, as a part of the log that is no longer what was signed. A truncation after the newest checkpoint can't
 * be detected.
 */
import { eventHash, linkOf } from '../../eventstore/event-hash.ts'
import type { EventStore, Position, RecordedEvent } from '../../eventstore/port.ts'
import { STREAM_NAMES } from '../../schema/streams.ts'
import { CHECKPOINT_STREAM, isSignedBy, readCheckpoints, type StoredLogCheckpoint } from './signed-checkpoints.ts'
import type { PublicKey } from './signing-key.ts'
import { createStreamTable, PREVIOUS_BYTES, type StreamState, shortHash } from './stream-table.ts'
import { createTree, isInTree, leafHash, leafText } from './tree.ts'

export type FaultKind = 'altered' | 'removed' | 'inserted' | 'reordered' | 'unlinked' | 'checkpoint'

/** A fault in the log. */
export interface Fault {
  /** `unlinked`: the previous event is not the original one: it was removed, replaced or moved. */
  readonly kind: FaultKind
  readonly stream: string
  /** The first event that it concerns. */
  readonly revision: number
  /** Its position in the log; absent if the log ends before it. */
  readonly position?: { readonly commit: string; readonly prepare: string }
  readonly message: string
}

export interface Verification {
  readonly ok: boolean
  /** In log order, those of the checkpoints at the end; of many the first {@link MOST_FAULTS}. */
  readonly faults: readonly Fault[]
  readonly faultCount: number
  readonly events: number
  readonly streams: number
  /** Events with a hash, and events from before hashes. */
  readonly hashed: number
  readonly withoutHash: number
  /** Events in streams with removed events whose previous event is gone, so only their own content could be checked. */
  readonly withoutPrevious: number
  /** Events in the tree, and how many of them the newest valid checkpoint covers. */
  readonly inTree: number
  readonly covered: number
  readonly checkpoints: {
    readonly count: number
    readonly good: number
    readonly newest?: {
      readonly revision: number
      readonly size: number
      readonly time: string
      readonly position: string
    }
  }
}

export interface VerifyOptions {
  /** The keys whose checkpoints are trusted. */
  readonly keys: readonly PublicKey[]
  readonly signal?: AbortSignal
  readonly report?: (events: number, position: Position) => void
}

const MOST_FAULTS = 1_000

/** @throws EventStoreUnavailable */
export async function verifyLog(eventStore: EventStore, options: VerifyOptions): Promise<Verification> {
  const { keys, signal, report } = options
  const faults: Faults = createFaults()
  // Read before the walk, because a checkpoint written during it may cover events that the walk has not read.
  const checkpoints = await checkCheckpoints(eventStore, keys)
  const awaited = checkpoints.filter(({ reason }) => reason === undefined).toSorted((a, b) => a.size - b.size)
  let next = 0

  const table = createStreamTable()
  const tree = createTree()
  const counts = { events: 0, hashed: 0, withoutHash: 0, withoutPrevious: 0 }
  for await (const event of eventStore.readAll()) {
    if (signal?.aborted) break
    counts.events++
    const { leaf, state } = checkEvent(event, table.get(event.stream), faults, counts)
    if (state) table.set(event.stream, state)
    if (isInTree(event.stream)) {
      tree.add(leafHash(leafText(event.stream, event.revision, leaf)))
      for (; awaited[next]?.size === tree.size; next++) {
        const checkpoint = awaited[next] as Checked
        if (tree.root().toString('base64url') !== checkpoint.root) checkpoint.reason = 'root'
        else checkpoint.good = true
      }
    }
    report?.(counts.events, event.position)
  }
  const complete = signal?.aborted !== true
  if (complete) for (const checkpoint of awaited.slice(next)) checkpoint.reason = 'short'
  if (complete) reportCheckpoints(checkpoints, tree.size, keys, faults)

  const good = checkpoints.filter((each) => each.good)
  const newest = good.at(-1)
  return {
    ok: complete && faults.count() === 0,
    faults: faults.list,
    faultCount: faults.count(),
    ...counts,
    streams: table.size,
    inTree: tree.size,
    covered: newest?.size ?? 0,
    checkpoints: {
      count: checkpoints.length,
      good: good.length,
      ...(newest && {
        newest: { revision: newest.revision, size: newest.size, time: newest.time, position: newest.position },
      }),
    },
  }
}

interface Counts {
  hashed: number
  withoutHash: number
  withoutPrevious: number
}

/** Checks an event against the previous one in its stream, and returns the state for checking the next one. */
function checkEvent(
  event: RecordedEvent,
  before: StreamState | undefined,
  faults: Faults,
  counts: Counts,
): { readonly leaf: string; readonly state?: StreamState } {
  const { stream, revision } = event
  const { hash, previous } = linkOf(event)
  const own = eventHash(event, previous)
  const next = (before?.revision ?? -1) + 1
  const staying = mayNotLeave(stream)
  const fault = (kind: FaultKind, message: string, at = revision) => faults.add(kind, event, at, message)
  if (event.type === '$streamDeleted') {
    if (staying) fault('removed', 'the stream was closed: its events are gone, or will be')
    return { leaf: own }
  }

  if (hash === undefined) counts.withoutHash++
  else counts.hashed++
  const altered = hash !== undefined && hash !== own
  if (altered) fault('altered', 'its content is not what its hash was made of')
  if (hash === undefined && YOUNGER_THAN_HASHES.has(stream)) fault('altered', 'its hash is gone')
  const leaf = hash ?? own
  if (revision < next) {
    // Not the event that the next one links to.
    faults.late(event, before?.revision ?? -1)
    return { leaf }
  }
  const state = {
    revision,
    hashed: hash !== undefined,
    hash: shortHash(leaf),
    previous: previous ? beginningOf(previous) : '',
  }
  if (revision > next) {
    if (staying) {
      const missing =
        revision - next === 1 ? `revision ${next} is missing` : `revisions ${next} to ${revision - 1} are missing`
      faults.gap(event, next, `${missing} before it`)
    } else if (hash !== undefined) counts.withoutPrevious++
  } else if (hash === undefined) {
    if (before?.hashed) fault('inserted', 'it has no hash, though the event before it has one')
  } else if (before === undefined) {
    if (previous !== null) fault('removed', 'an event is missing before it: it is the first one, but linked to another')
  } else if (altered) {
    // Its link is part of what was altered.
  } else if (previous === null) {
    if (staying) fault('unlinked', 'a new chain begins here: the events before it had been deleted when it was written')
    else counts.withoutPrevious++
  } else if (shortHash(previous) !== before.hash) {
    if (beginningOf(previous) === before.previous) {
      fault('inserted', 'the event after it is linked to the one before it', revision - 1)
    } else
      fault(
        'unlinked',
        'the event before it is not the one that it was written after: that was altered, removed or moved',
      )
  }
  return { leaf, state }
}

/** The part that the table stores of the hash that an event links to. */
const beginningOf = (base64url: string) => shortHash(base64url).slice(0, PREVIOUS_BYTES)

/** Their events are kept for good and always had a hash, though they are not in the tree. */
const YOUNGER_THAN_HASHES: ReadonlySet<string> = new Set([CHECKPOINT_STREAM, STREAM_NAMES.logVerifications])

/** Whether the events of the stream are kept for good. */
const mayNotLeave = (stream: string) => isInTree(stream) || YOUNGER_THAN_HASHES.has(stream)

type Faults = ReturnType<typeof createFaults>

function createFaults() {
  const list: Fault[] = []
  /** The missing revisions so far, by stream. The events may follow later, which means that they were moved. */
  const gaps = new Map<string, { readonly from: number; readonly to: number; readonly index: number }[]>()
  let count = 0

  function add(
    kind: FaultKind,
    event: RecordedEvent | undefined,
    revision: number,
    message: string,
    stream = event?.stream ?? '',
  ) {
    count++
    if (list.length >= MOST_FAULTS) return
    const position = event && { commit: String(event.position.commit), prepare: String(event.position.prepare) }
    list.push({ kind, stream, revision, ...(position && { position }), message })
  }

  return {
    list,
    count: () => count,
    add,

    /** Revisions from `from` to before the event's are missing. */
    gap(event: RecordedEvent, from: number, message: string): void {
      if (list.length < MOST_FAULTS) {
        const own = gaps.get(event.stream) ?? []
        gaps.set(event.stream, [...own, { from, to: event.revision, index: list.length }])
      }
      add('removed', event, from, message)
    },

    /** The event follows one with a higher or the same revision. */
    late(event: RecordedEvent, newest: number): void {
      const { stream, revision } = event
      const gap = gaps.get(stream)?.find(({ from, to }) => revision >= from && revision < to)
      const found = gap && list[gap.index]
      if (gap === undefined || found === undefined)
        add('inserted', event, revision, `it stands after revision ${newest}, and its own is taken`)
      else if (found.kind === 'removed') {
        list[gap.index] = {
          ...found,
          kind: 'reordered',
          message: `it stands at position ${event.position.commit}, after revision ${newest}`,
          revision,
        }
      } else add('reordered', event, revision, `it stands after revision ${newest}`)
    },
  }
}

interface Checked {
  readonly revision: number
  readonly size: number
  readonly root: string
  readonly time: string
  readonly position: string
  /** undefined: the checkpoint by itself is valid. */
  reason: 'form' | 'key' | 'signature' | 'root' | 'short' | undefined
  good: boolean
}

/** The checkpoints, oldest first, each checked by itself; their edges are not kept. */
async function checkCheckpoints(eventStore: EventStore, keys: readonly PublicKey[]): Promise<Checked[]> {
  const checked: Checked[] = []
  for await (const checkpoint of readCheckpoints(eventStore, 'forwards')) {
    const { revision } = checkpoint
    if (checkpoint.size === undefined) {
      checked.push({ revision, size: 0, root: '', time: '', position: '', reason: 'form', good: false })
      continue
    }
    const { size, root, time, position } = checkpoint
    checked.push({
      revision,
      size,
      root,
      time,
      position: position.commit,
      reason: reasonOf(checkpoint, keys),
      good: false,
    })
  }
  return checked
}

function reasonOf(checkpoint: StoredLogCheckpoint, keys: readonly PublicKey[]): Checked['reason'] {
  const key = keys.find(({ id }) => id === checkpoint.keyId)
  if (key === undefined) return 'key'
  return isSignedBy(checkpoint, checkpoint.signature, key) ? undefined : 'signature'
}

/** If the log differs from several checkpoints, the first one shows where: later ones cover the same events, too. */
function reportCheckpoints(
  checkpoints: readonly Checked[],
  size: number,
  keys: readonly PublicKey[],
  faults: Faults,
): void {
  let differing = 0
  let before: Checked | undefined
  const lastGood = checkpoints.findLast(({ good }) => good)
  for (const checkpoint of checkpoints) {
    const { revision, reason } = checkpoint
    const fault = (message: string) => faults.add('checkpoint', undefined, revision, message, CHECKPOINT_STREAM)
    const since = before ? `after position ${before.position} and up to` : 'up to'
    if (checkpoint.good) before = checkpoint
    if (reason === 'form') fault('it is no checkpoint')
    else if (reason === 'signature') fault('it is forged: its signature is not one of its key')
    else if (reason === 'key')
      fault(`it is signed by another key than ${keys.map(({ id }) => id).join(', ') || '(none is known)'}`)
    else if (reason !== undefined && lastGood && lastGood.revision > revision) {
      fault('it is not of this log, though later ones are')
    } else if (reason !== undefined && differing++ === 0) {
      const place = `${since} position ${checkpoint.position} (${checkpoint.time})`
      if (reason === 'short') {
        const gone = checkpoint.size - size
        fault(`the log is cut short: ${gone} of the ${checkpoint.size} events that it signs are gone, ${place}`)
      } else fault(`an event was altered, removed, inserted or moved ${place}: the tree's root is another`)
    }
  }
}
