/** Proofs that an event is in the log that a checkpoint signs, and their verification, which does not need the log. */

import { eventHash, linkOf } from '../../eventstore/event-hash.ts'
import {
  comparePositions,
  type EventStore,
  type Json,
  type Position,
  type RecordedEvent,
} from '../../eventstore/port.ts'
import { NoProofError } from '../errors.ts'
import {
  fromBase64url,
  isSignedBy,
  type LogCheckpoint,
  readCheckpoints,
  type StoredLogCheckpoint,
} from './signed-checkpoints.ts'
import { type PublicKey, publicPem } from './signing-key.ts'
import { auditPath, isInTree, leafHash, leafOf, leafText, rootFromPath, TREE_STREAMS } from './tree.ts'

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

/**
 * Creates the proof that the event is in the log as of the newest checkpoint signed by that key. Reads the log twice.
 * @param options.content whether to include the event itself, which may be personal
 * @throws NoProofError | EventStoreUnavailable
 */
export async function proveInclusion(
  eventStore: EventStore,
  key: PublicKey,
  wanted: EventName,
  options: { readonly content?: boolean; readonly report?: (share: number, position: Position) => void } = {},
): Promise<InclusionProof> {
  if ('stream' in wanted && !isInTree(wanted.stream)) {
    throw new NoProofError(`Events leave streams such as ${wanted.stream}: they are in no checkpoint.`)
  }
  const checkpoint = await newestSigned(eventStore, key)
  const end = { commit: BigInt(checkpoint.position.commit), prepare: BigInt(checkpoint.position.prepare) }
  const share = (position: Position) => Math.min(1, Number(position.commit) / Number(end.commit))
  const found = await find(eventStore, wanted, end, (position) => options.report?.(share(position) / 2, position))
  if (found.index >= checkpoint.size) throw notCovered(checkpoint)

  async function* leaves() {
    for await (const event of eventStore.readAll({ filter: { streamPrefixes: TREE_STREAMS } })) {
      yield leafHash(leafOf(event))
      options.report?.(0.5 + share(event.position) / 2, event.position)
    }
  }
  const path = await auditPath(leaves(), found.index, checkpoint.size).catch((error: unknown) => {
    throw new NoProofError(
      `The log is not what its checkpoint says: ${(error as Error).message} See npm run audit -- verify`,
    )
  })
  const { size, root, position, time, keyId, signature } = checkpoint
  const { event } = found
  const proof: InclusionProof = {
    version: 1,
    leaf: leafOf(event),
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
    index: found.index,
    path: path.map((hash) => hash.toString('base64url')),
    checkpoint: { size, root, position, time, keyId },
    signature,
    publicKey: publicPem(key),
  }
  const reason = checkInclusion(proof, key)
  if (reason !== undefined)
    throw new NoProofError(`The log is not what its checkpoint says: ${reason}. See npm run audit -- verify`)
  return proof
}

async function newestSigned(eventStore: EventStore, key: PublicKey): Promise<StoredLogCheckpoint> {
  for await (const checkpoint of readCheckpoints(eventStore, 'backwards')) {
    if (checkpoint.size !== undefined && isSignedBy(checkpoint, checkpoint.signature, key)) return checkpoint
  }
  throw new NoProofError('There is no checkpoint of this key yet: npm run audit -- checkpoint writes one.')
}

/** The event and its place among the leaves. */
async function find(
  eventStore: EventStore,
  wanted: EventName,
  end: Position,
  report: (position: Position) => void,
): Promise<{ readonly event: RecordedEvent; readonly index: number }> {
  const isWanted =
    'id' in wanted
      ? (event: RecordedEvent) => event.id === wanted.id.toLowerCase()
      : (event: RecordedEvent) => event.stream === wanted.stream && event.revision === wanted.revision
  let index = 0
  for await (const event of eventStore.readAll({ filter: { streamPrefixes: TREE_STREAMS } })) {
    if (isWanted(event)) return { event, index }
    index++
    if (comparePositions(event.position, end) < 0) report(event.position)
  }
  throw new NoProofError('There is no such event in the streams that checkpoints are of.')
}

function notCovered({ time }: LogCheckpoint): NoProofError {
  return new NoProofError(
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
  return proof as InclusionProof
}
