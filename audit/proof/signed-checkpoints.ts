/**
 * Checkpoints of the log: the size and root of its tree (tree.ts), signed, as events of the stream `logCheckpoints`.
 * Each continues from the right edge of the tree in the previous one, so that only new events are read.
 */

import { sign, verify } from 'node:crypto'
import { decode, encode, type Recorded } from '../../eventstore/codec.ts'
import { chained } from '../../eventstore/hash-chain.ts'
import {
  comparePositions,
  type EventStore,
  EventStoreUnavailable,
  InvalidArgument,
  type Position,
  WrongExpectedRevision,
} from '../../eventstore/port.ts'
import { orNone } from '../../eventstore/read.ts'
import type { Log } from '../../runtime/log.ts'
import type { CheckpointEvent } from '../../schema/events.ts'
import { STREAM_NAMES } from '../../schema/streams.ts'
import { LogCheckpointError } from '../errors.ts'
import { placeText } from '../places.ts'
import type { PublicKey, SigningKey } from './signing-key.ts'
import { createTree, edgeLength, leafHash, leafOf, rootOf, TREE_STREAMS } from './tree.ts'

export const CHECKPOINT_STREAM = STREAM_NAMES.logCheckpoints
const DOMAIN = 'customer-log checkpoint v1'
/** The longest wait before a failed checkpoint is retried. */
const RETRY_MS = 60_000

/** What is signed, and by whom. */
export interface LogCheckpoint {
  readonly size: number
  /** Base64url. */
  readonly root: string
  /** Of the last event in the tree. */
  readonly position: { readonly commit: string; readonly prepare: string }
  readonly time: string
  readonly keyId: string
}

/** A checkpoint as stored. */
export interface StoredLogCheckpoint extends LogCheckpoint {
  readonly revision: number
  readonly signature: string
  readonly edge: readonly string[]
}

/** The bytes under a signature: the UTF-8 of this JSON text, as `JSON.stringify` writes it. */
function signedBytes({ size, root, position, time, keyId }: LogCheckpoint): Buffer {
  return Buffer.from(JSON.stringify([DOMAIN, size, root, position.commit, position.prepare, time, keyId]))
}

export function isSignedBy(checkpoint: LogCheckpoint, signature: string, key: PublicKey): boolean {
  const bytes = fromBase64url(signature)
  return checkpoint.keyId === key.id && bytes !== undefined && verify(null, signedBytes(checkpoint), key.key, bytes)
}

/** undefined for a text that is not the canonical encoding of its bytes: the last letter has unused bits. */
export function fromBase64url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}

/** The checkpoints, the newest first. An event of the stream that is not a checkpoint has `size` undefined. */
export async function* readCheckpoints(
  eventStore: EventStore,
  direction: 'forwards' | 'backwards',
): AsyncGenerator<StoredLogCheckpoint | { readonly revision: number; readonly size: undefined }, void, void> {
  for await (const event of orNone(eventStore.readStream(CHECKPOINT_STREAM, { direction }))) {
    const { revision } = event
    let recorded: Recorded<CheckpointEvent> | undefined
    try {
      recorded = decode<CheckpointEvent>(event)
    } catch {
      // The caller says what it makes of it.
    }
    const data = recorded?.data
    yield isCheckpoint(data) ? { ...data, revision } : { revision, size: undefined }
  }
}

/** Stored data may be forged: only this much of its shape is trusted. */
function isCheckpoint(data: CheckpointEvent['data'] | undefined): data is CheckpointEvent['data'] {
  const texts = [data?.root, data?.time, data?.keyId, data?.signature, data?.position?.commit, data?.position?.prepare]
  return (
    Number.isSafeInteger(data?.size) &&
    texts.every((text) => typeof text === 'string') &&
    Array.isArray(data?.edge) &&
    data.edge.every((hash) => typeof hash === 'string')
  )
}

/** When the newest checkpoint was written; undefined if there is none. @throws LogCheckpointError | EventStoreUnavailable */
export async function newestCheckpointTime(eventStore: EventStore): Promise<string | undefined> {
  return (await newestCheckpoint(eventStore))?.time
}

/**
 * The time of the oldest event that belongs into the tree and is in no checkpoint; undefined if there is none.
 * @throws LogCheckpointError | InvalidArgument for a checkpoint of another log | EventStoreUnavailable
 */
export async function uncoveredSince(eventStore: EventStore): Promise<Date | undefined> {
  const last = await newestCheckpoint(eventStore)
  const from = last && positionOf(last)
  const filter = { streamPrefixes: TREE_STREAMS }
  // The event at the position is covered, so there may be one more to read.
  for await (const event of eventStore.readAll({ from: from ?? 'start', filter, maxCount: 2 })) {
    if (from === undefined || comparePositions(event.position, from) > 0) return event.created
  }
  return undefined
}

async function newestCheckpoint(eventStore: EventStore): Promise<StoredLogCheckpoint | undefined> {
  for await (const checkpoint of readCheckpoints(eventStore, 'backwards')) {
    if (checkpoint.size !== undefined) return checkpoint
    throw new LogCheckpointError(
      `${placeText({ stream: CHECKPOINT_STREAM, revision: checkpoint.revision })} is no checkpoint.`,
    )
  }
  return undefined
}

/**
 * Writes a checkpoint if there are events since the last one.
 * @returns the checkpoint; undefined if there was nothing to write, or another process was faster
 * @throws LogCheckpointError if the last one is invalid, or belongs to another log: then the log must not be signed |
 * EventStoreUnavailable
 */
export async function writeCheckpoint(
  eventStore: EventStore,
  key: SigningKey,
  options: { readonly now?: Date; readonly signal?: AbortSignal; readonly report?: (events: number) => void } = {},
): Promise<LogCheckpoint | undefined> {
  const { now = new Date(), signal, report } = options
  const last = await newestCheckpoint(eventStore)
  if (last && last.keyId === key.id && !isSignedBy(last, last.signature, key)) {
    throw new LogCheckpointError(
      `The checkpoint ${placeText({ stream: CHECKPOINT_STREAM, revision: last.revision })} has a forged signature.`,
    )
  }
  // A checkpoint of another key can't be verified, and positions differ in a copied log. Then all events are read
  // again, and the result has to be the same.
  const goesOn = last !== undefined && last.keyId === key.id && (await isAt(eventStore, positionOf(last)))
  const begun = goesOn ? goOnFrom(last) : undefined
  const tree = createTree(begun)
  let position: Position | undefined
  const from = begun && last ? positionOf(last) : undefined
  for await (const event of eventStore.readAll({ from: from ?? 'start', filter: { streamPrefixes: TREE_STREAMS } })) {
    if (signal?.aborted) return undefined
    if (from && comparePositions(event.position, from) <= 0) continue
    tree.add(leafHash(leafOf(event)))
    position = event.position
    if (last && !begun && tree.size === last.size && base64url(tree.root()) !== last.root) throw differs(last)
    report?.(tree.size)
  }
  if (last && tree.size < last.size) throw differs(last)
  if (position === undefined || tree.size === last?.size) return undefined
  const checkpoint: LogCheckpoint = {
    size: tree.size,
    root: base64url(tree.root()),
    position: { commit: String(position.commit), prepare: String(position.prepare) },
    time: now.toISOString(),
    keyId: key.id,
  }
  const signature = base64url(sign(null, signedBytes(checkpoint), key.privateKey))
  const id = crypto.randomUUID()
  const metadata = { $correlationId: id, $causationId: id, actor: 'checkpoints', at: checkpoint.time }
  const data = { ...checkpoint, signature, edge: tree.edge.map(base64url) }
  const event = encode({ type: 'LogCheckpointWritten', data }, id, metadata)
  try {
    await chained(eventStore).append(CHECKPOINT_STREAM, [event], { expected: last?.revision ?? 'no_stream' })
    return checkpoint
  } catch (error) {
    if (error instanceof WrongExpectedRevision) return undefined
    throw error
  }
}

const base64url = (bytes: Buffer) => bytes.toString('base64url')

function differs({ revision }: StoredLogCheckpoint): LogCheckpointError {
  return new LogCheckpointError(
    `The log is not what the checkpoint ${placeText({ stream: CHECKPOINT_STREAM, revision })} says.`,
  )
}

/** The edge itself is not signed: it has to lead to the signed root. */
function goOnFrom(last: StoredLogCheckpoint): { readonly size: number; readonly edge: readonly Buffer[] } {
  const edge = last.edge.map((text) => Buffer.from(text, 'base64url'))
  if (edge.length !== edgeLength(last.size) || base64url(rootOf(edge)) !== last.root) throw differs(last)
  return { size: last.size, edge }
}

/** Whether the last event of a checkpoint is at its position. */
async function isAt(eventStore: EventStore, position: Position): Promise<boolean> {
  const filter = { streamPrefixes: TREE_STREAMS }
  try {
    for await (const event of eventStore.readAll({ from: position, filter, maxCount: 1 })) {
      return comparePositions(event.position, position) === 0
    }
  } catch (error) {
    if (!(error instanceof InvalidArgument)) throw error
  }
  return false
}

function positionOf({ position }: LogCheckpoint): Position {
  return { commit: BigInt(position.commit), prepare: BigInt(position.prepare) }
}

/**
 * Writes checkpoints for as long as the process runs: one as soon as the last one is that many minutes old and there
 * are new events. Several processes may do so: each detects the others' checkpoints. Failures are logged once each, and
 * retried.
 */
export function startCheckpoints(options: {
  readonly eventStore: EventStore
  readonly key: SigningKey
  readonly minutes: number
  readonly log: Log
}): { stop(): Promise<void> } {
  const { eventStore, key, minutes, log } = options
  const every = minutes * 60_000
  const stopping = new AbortController()
  let timer: NodeJS.Timeout | undefined
  let failure: string | undefined
  let working = work()

  async function work(): Promise<void> {
    let wait = every
    try {
      const last = await newestCheckpoint(eventStore)
      const age = last ? Date.now() - Date.parse(last.time) : every
      // One from further ahead was signed while the clock was wrong, and would hold up the next ones until then.
      if (Math.abs(age) < every) wait = every - Math.max(age, 0)
      else {
        const written = await writeCheckpoint(eventStore, key, { signal: stopping.signal })
        if (written)
          log.info({ size: written.size, position: written.position.commit }, 'checkpoint of the log written')
      }
      failure = undefined
    } catch (error) {
      wait = Math.min(every, RETRY_MS)
      const reason = (error as Error).message
      if (reason === failure) {
        // It is known already.
      } else if (error instanceof EventStoreUnavailable) {
        log.warn({ reason }, 'no checkpoint of the log can be written until the event store is back')
      } else {
        log.error({ reason }, 'no checkpoint of the log can be written; see npm run audit -- verify')
      }
      failure = reason
    }
    if (stopping.signal.aborted) return
    timer = setTimeout(() => {
      working = work()
    }, wait).unref()
  }

  return {
    async stop() {
      stopping.abort()
      clearTimeout(timer)
      await working
    },
  }
}

/** The same, as configured: does nothing if checkpoints are off, or if there is no signing key. */
export function startConfiguredCheckpoints(
  eventStore: EventStore,
  key: SigningKey | undefined,
  minutes: number,
  log: Log,
): { stop(): Promise<void> } {
  if (minutes === 0) return { async stop() {} }
  if (key === undefined) {
    log.warn({}, 'no checkpoints of the log are written: AUDIT_SIGNING_KEY is not set')
    return { async stop() {} }
  }
  return startCheckpoints({ eventStore, key, minutes, log })
}
