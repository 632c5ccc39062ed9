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
  /** What was found, in one or two sentences for somebody who does not know how the log is built. */
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
    if (staying) fault('removed', 'The whole stream was deleted. Its events are gone, or will be.')
    return { leaf: own }
  }

  if (hash === undefined) counts.withoutHash++
  else counts.hashed++
  const altered = hash !== undefined && hash !== own
  if (altered) fault('altered', 'It was changed after it was written: its content does not match its hash.')
  if (hash === undefined && YOUNGER_THAN_HASHES.has(stream)) fault('altered', 'Its hash was taken away.')
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
        revision - next === 1 ? `Revision ${next} is missing.` : `Revisions ${next} to ${revision - 1} are missing.`
      faults.gap(event, next, missing)
    } else if (hash !== undefined) counts.withoutPrevious++
  } else if (hash === undefined) {
    if (before?.hashed)
      fault(
        'inserted',
        'It was put in by something else than this service: it has no hash, although the event before it has one.',
      )
  } else if (before === undefined) {
    if (previous !== null)
      fault(
        'removed',
        'An event before it is missing: it is the first one of its stream now, but was written after another.',
      )
  } else if (altered) {
    // Its link is part of what was altered.
  } else if (previous === null) {
    if (staying) fault('unlinked', 'The events before it had been deleted when it was written.')
    else counts.withoutPrevious++
  } else if (shortHash(previous) !== before.hash) {
    if (beginningOf(previous) === before.previous) {
      fault(
        'inserted',
        'It was put in later: the event after it was written right after the one before it.',
        revision - 1,
      )
    } else
      fault(
        'unlinked',
        'The event before it is not the one that it was written after. That one was changed, removed or moved.',
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
        add(
          'inserted',
          event,
          revision,
          `It was put in: it comes after revision ${newest}, and the stream has another event of its own revision.`,
        )
      else if (found.kind === 'removed') {
        list[gap.index] = {
          ...found,
          kind: 'reordered',
          message: `It was moved: it is at position ${event.position.commit} of the log, after revision ${newest} of its stream.`,
          revision,
        }
      } else add('reordered', event, revision, `It was moved: it comes after revision ${newest} of its stream.`)
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
    if (reason === 'form') fault('It is not a checkpoint.')
    else if (reason === 'signature') fault('It is forged: it was not signed with the key that it names.')
    else if (reason === 'key')
      fault(
        `It was signed with a key that is not trusted here. Trusted: ${keys.map(({ id }) => id).join(', ') || 'none'}.`,
      )
    else if (reason !== undefined && lastGood && lastGood.revision > revision) {
      fault('It was signed for another log, although later ones were signed for this one.')
    } else if (reason !== undefined && differing++ === 0) {
      const place = `${since} position ${checkpoint.position} (${checkpoint.time})`
      if (reason === 'short') {
        const gone = checkpoint.size - size
        fault(`The log was cut off: of the ${checkpoint.size} events that were signed, ${gone} are gone, ${place}.`)
      } else fault(`An event was changed, removed, put in or moved ${place}: the log is not the one that was signed.`)
    }
  }
}
