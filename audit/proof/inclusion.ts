/** Proofs that an event is in the log that a checkpoint signs, and their verification, which does not need the log. */
import { accessSync, constants, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventHash, linkOf } from '../../eventstore/event-hash.ts'
import {
  comparePositions,
  type EventStore,
  InvalidArgument,
  type Json,
  type Position,
  type RecordedEvent,
} from '../../eventstore/port.ts'
import { firstOf } from '../../eventstore/read.ts'
import { NoProofError, NotCoveredError } from '../errors.ts'
import { type LeafCache, openLeafCache } from './leaf-cache.ts'
import {
  fromBase64url,
  isSignedBy,
  type LogCheckpoint,
  readCheckpoints,
  type StoredLogCheckpoint,
} from './signed-checkpoints.ts'
import { type PublicKey, publicPem } from './signing-key.ts'
import { isInTree, leafHash, leafOf, leafText, rootFromPath, TREE_STREAMS } from './tree.ts'

/** Everything that a third party needs beside the public key. Hashes are base64url. */
export interface InclusionProof {
  readonly version: 1
  /** The JSON text `[stream, revision, hash]`. */
  readonly leaf: string
  /** The event as stored, if it was requested: the hash in the leaf is computed from it (eventstore/event-hash.ts). */
  readonly event?: {
    readonly stream: string
    readonly revision: number
    readonly id: string
    readonly type: string
    readonly data: Json
    readonly metadata: Json
  }
  /** Of the leaf in the tree, from 0. */
  readonly index: number
  readonly path: readonly string[]
  readonly checkpoint: LogCheckpoint
  readonly signature: string
  /** PEM. For information only: a check uses the key that its caller trusts. */
  readonly publicKey: string
}

/** The event to prove. */
export type EventName = { readonly id: string } | { readonly stream: string; readonly revision: number }

export interface ProveOptions {
  /** Whether to include the event itself, which may be personal. */
  readonly content?: boolean
  /** The folder of the leaf cache, with which the next proof reads only new events. Default: no cache. */
  readonly leafCache?: string
  readonly report?: (share: number, position: Position) => void
}

/**
 * Creates the proof that the event is in the log as of the newest checkpoint signed by that key. Reads no event of the
 * log twice: only what is not in the leaf cache yet and, for an event named by its id, what comes before it.
 * @throws NoProofError | EventStoreUnavailable
 */
export async function proveInclusion(
  eventStore: EventStore,
  key: PublicKey,
  wanted: EventName,
  options: ProveOptions = {},
): Promise<InclusionProof> {
  if ('stream' in wanted && !isInTree(wanted.stream)) {
    throw new NoProofError(`Events leave streams such as ${wanted.stream}: they are in no checkpoint.`)
  }
  const checkpoint = await newestSigned(eventStore, key)
  const { folder, isCached } = cacheFolder(options.leafCache)
  const leaves = openLeafCache(folder)
  try {
    const wasFilled = leaves.next !== 'start'
    const work = { eventStore, key, wanted, checkpoint, leaves, options }
    const proof = await makeProof(work)
    if (proof.reason === undefined) return proof.proof
    // The cached leaves may be damaged, or from another log: the log itself decides.
    leaves.clear()
    const again = wasFilled ? await makeProof(work) : proof
    if (again.reason === undefined) return again.proof
    leaves.clear()
    throw new NoProofError(`The log is not what its checkpoint says: ${again.reason} See npm run audit -- verify`)
  } finally {
    leaves.close()
    if (!isCached) rmSync(folder, { recursive: true, force: true })
  }
}

/** The folder, if it is writable; otherwise a temporary one for this proof. */
function cacheFolder(folder: string | undefined): { readonly folder: string; readonly isCached: boolean } {
  try {
    if (folder !== undefined) {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      accessSync(folder, constants.W_OK)
      return { folder, isCached: true }
    }
  } catch {
    // Then the proof reads the whole log.
  }
  return { folder: mkdtempSync(join(tmpdir(), 'leaves-')), isCached: false }
}

interface Work {
  readonly eventStore: EventStore
  readonly key: PublicKey
  readonly wanted: EventName
  readonly checkpoint: StoredLogCheckpoint
  readonly leaves: LeafCache
  readonly options: ProveOptions
}

type Made =
  | { readonly reason: undefined; readonly proof: InclusionProof }
  /** Why it is not valid. */
  | { readonly reason: string }

/** @throws NoProofError if there is no such event, or if it is newer than the checkpoint | EventStoreUnavailable */
async function makeProof(work: Work): Promise<Made> {
  const { eventStore, key, wanted, checkpoint, leaves, options } = work
  const { size, root, position, time, keyId, signature } = checkpoint
  const event = 'stream' in wanted ? await eventAt(eventStore, wanted) : await fillAndFind(work, wanted)
  if ('stream' in wanted) await fillAndFind(work, undefined)
  if (leaves.size < size) return { reason: `There are ${leaves.size} leaves, not ${size}.` }
  if (leaves.root(size).toString('base64url') !== root)
    return { reason: "the leaves do not lead to the checkpoint's root." }
  const leaf = leafOf(event)
  const index = leaves.indexOf(leafHash(leaf), event.position)
  // Not compared with the checkpoint's position: in a copied log the positions are different.
  if (index >= size || (index < 0 && leaves.isPast(event.position))) throw notCovered(checkpoint)
  if (index < 0) return { reason: 'the event is not among its leaves.' }
  const proof: InclusionProof = {
    version: 1,
    leaf,
    ...(options.content && {
      event: {
        stream: event.stream,
        revision: event.revision,
        id: event.id,
        type: event.type,
        data: event.data as Json,
        metadata: (event.metadata ?? null) as Json,
      },
    }),
    index,
    path: leaves.path(index, size).map((hash) => hash.toString('base64url')),
    checkpoint: { size, root, position, time, keyId },
    signature,
    publicKey: publicPem(key),
  }
  const fault = checkInclusion(proof, key)
  return fault === undefined ? { reason: undefined, proof } : { reason: `${fault}.` }
}

async function newestSigned(eventStore: EventStore, key: PublicKey): Promise<StoredLogCheckpoint> {
  for await (const checkpoint of readCheckpoints(eventStore, 'backwards')) {
    if (checkpoint.size !== undefined && isSignedBy(checkpoint, checkpoint.signature, key)) return checkpoint
  }
  throw new NotCoveredError('There is no checkpoint of this key yet: npm run audit -- checkpoint writes one.')
}

const NO_SUCH_EVENT = 'There is no such event in the streams that checkpoints cover.'

/** An event of a stream. @throws NoProofError | EventStoreUnavailable */
async function eventAt(
  eventStore: EventStore,
  { stream, revision }: Exclude<EventName, { readonly id: string }>,
): Promise<RecordedEvent> {
  const event = await firstOf(eventStore.readStream(stream, { from: revision, maxCount: 1 }))
  if (event?.revision !== revision) throw new NoProofError(NO_SUCH_EVENT)
  return event
}

/**
 * Adds the missing leaves up to the checkpoint, and finds an event, in one read of the log.
 * @param wanted undefined: only adds leaves
 * @returns the event @throws NoProofError if there is none | EventStoreUnavailable
 */
function fillAndFind(work: Work, wanted: { readonly id: string }): Promise<RecordedEvent>
function fillAndFind(work: Work, wanted: undefined): Promise<undefined>
async function fillAndFind(
  { eventStore, checkpoint, leaves, options }: Work,
  wanted: { readonly id: string } | undefined,
): Promise<RecordedEvent | undefined> {
  const { size } = checkpoint
  const id = wanted?.id.toLowerCase()
  if (id === undefined && leaves.size >= size) return undefined
  const { next } = leaves
  const end = Number(checkpoint.position.commit)
  let found: RecordedEvent | undefined
  const from = id === undefined ? next : 'start'
  try {
    for await (const event of eventStore.readAll({ from, filter: { streamPrefixes: TREE_STREAMS } })) {
      if (event.id === id) found = event
      const isNew = next === 'start' || comparePositions(event.position, next) >= 0
      if (isNew && leaves.size < size) leaves.add(leafHash(leafOf(event)), event.position)
      options.report?.(Math.min(1, Number(event.position.commit) / end), event.position)
      if ((id === undefined || found) && leaves.size >= size) break
    }
  } catch (error) {
    if (!(error instanceof InvalidArgument)) throw error // the cached position is not one of this log
  }
  if (id !== undefined && found === undefined) throw new NoProofError(NO_SUCH_EVENT)
  return found
}

function notCovered({ time }: LogCheckpoint): NotCoveredError {
  return new NotCoveredError(
    `The event is newer than the newest checkpoint (${time}): npm run audit -- checkpoint writes one.`,
  )
}

/**
 * Checks a proof with nothing but the public key. Pure.
 * @returns what is wrong with it; undefined if it is valid
 */
export function checkInclusion(proof: InclusionProof, key: PublicKey): string | undefined {
  const { leaf, event, index, path, checkpoint, signature, publicKey } = proof
  if (proof.version !== 1) return 'it is of another version'
  if (publicKey !== publicPem(key)) return 'it is of another public key'
  if (event) {
    const { hash, previous } = linkOf(event)
    // The hash covers the id in lower case, as stores return it: with other letters it is not the proved event.
    const isAsStored = event.id === event.id.toLowerCase()
    if (!isAsStored || (hash !== undefined && hash !== eventHash(event, previous))) {
      return 'the event is not what its hash was made of'
    }
    const text = leafText(event.stream, event.revision, hash ?? eventHash(event, null))
    if (text !== leaf) return 'the event is not the one of the leaf'
  }
  const hashes = path.map(fromBase64url)
  if (!hashes.every((hash): hash is Buffer => hash?.length === 32)) return 'its path is not one of hashes'
  const root = rootFromPath(leafHash(leaf), index, checkpoint.size, hashes)
  if (root === undefined) return 'its path does not fit its place in the tree'
  if (root.toString('base64url') !== checkpoint.root) return "the leaf does not lead to the checkpoint's root"
  return isSignedBy(checkpoint, signature, key) ? undefined : "the checkpoint's signature is not of this key"
}

/** @throws NoProofError for an invalid text, so that a check only reads what it was given */
export function parseProof(text: string): InclusionProof {
  let proof: Partial<InclusionProof> | null
  try {
    proof = JSON.parse(text) as Partial<InclusionProof> | null
  } catch {
    throw new NoProofError('It is not JSON.')
  }
  const { leaf, index, path, checkpoint, signature } = proof ?? {}
  const texts = [leaf, signature, checkpoint?.root, checkpoint?.time, checkpoint?.keyId]
  const { commit, prepare } = checkpoint?.position ?? {}
  if (![...texts, commit, prepare].every((each) => typeof each === 'string') || typeof index !== 'number') {
    throw new NoProofError('It is no inclusion proof.')
  }
  if (!Array.isArray(path) || !path.every((hash) => typeof hash === 'string') || typeof checkpoint?.size !== 'number') {
    throw new NoProofError('It is no inclusion proof.')
  }
  if (proof?.event !== undefined && !isEvent(proof.event)) throw new NoProofError('The event in it is none.')
  return proof as InclusionProof
}

/** An event of another form would be skipped, or end the check, rather than fail it. */
const isEvent = (event: unknown): boolean => {
  if (typeof event !== 'object' || event === null || Array.isArray(event)) return false
  const { stream, revision, id, type } = event as Readonly<Record<string, unknown>>
  return [stream, id, type].every((each) => typeof each === 'string') && Number.isSafeInteger(revision)
}
