/**
 * The log as a Merkle tree, as in RFC 6962 (2.1): a leaf's hash is SHA-256(0x00 || leaf), a node's is SHA-256(0x01 ||
 * left || right), and the left half of a tree of n leaves has the largest power of two below n.
 *
 * The leaves are the events, in log order, of the streams whose events are kept for good ({@link TREE_STREAMS}). A leaf
 * is the UTF-8 JSON text `[stream, revision, hash]` with the event's `$hash` (eventstore/event-hash.ts); for an event
 * from before hashes, the hash that it would have with `previous` null.
 */
import { hash } from 'node:crypto'
import { hashOf } from '../../eventstore/event-hash.ts'
import type { RecordedEvent } from '../../eventstore/port.ts'
import { STREAMS } from '../../schema/streams.ts'

/**
 * Streams from which events are removed (by a limit of count or age, or a deletion) can't be in the tree:
 * customerCredentials-, customerSignIns-, customerAccess-, mailCheckpoint-, readModelFence. The checkpoints' own stream
 * is not, either.
 */
export const TREE_STREAMS: readonly string[] = STREAMS.filter(({ inTree }) => inTree).map(({ name }) => name)

export const isInTree = (stream: string): boolean => TREE_STREAMS.some((prefix) => stream.startsWith(prefix))

/** The event's leaf. */
export function leafOf(event: RecordedEvent): string {
  return leafText(event.stream, event.revision, hashOf(event))
}

export const leafText = (stream: string, revision: number, hash: string): string =>
  JSON.stringify([stream, revision, hash])

// Converted through text, which is several times as fast as requesting a buffer: a walk computes two hashes for each
// event.
const sha256 = (input: string | Uint8Array) => Buffer.from(hash('sha256', input, 'binary'), 'latin1')

export const leafHash = (leaf: string | Uint8Array): Buffer =>
  sha256(typeof leaf === 'string' ? `\0${leaf}` : Buffer.concat([Buffer.of(0), leaf]))

/** 0x01, left, right. */
const node = Buffer.alloc(65, 1)

export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  node.set(left, 1)
  node.set(right, 33)
  return sha256(node)
}

const EMPTY = sha256('')

/**
 * A tree to which leaves are appended. It stores only its right edge: the roots of the complete subtrees, the largest
 * first.
 */
export interface Tree {
  readonly size: number
  /** One for each bit that is set in the size. */
  readonly edge: readonly Buffer[]
  add(leaf: Buffer): void
  root(): Buffer
}

/** @param begun the size and edge to continue from */
export function createTree(
  begun: { readonly size: number; readonly edge: readonly Buffer[] } = { size: 0, edge: [] },
): Tree {
  let { size } = begun
  const edge = [...begun.edge]
  return {
    get size() {
      return size
    },
    edge,
    add(leaf) {
      let whole = leaf
      for (let rest = size; rest % 2 === 1; rest = Math.floor(rest / 2)) whole = nodeHash(edge.pop() as Buffer, whole)
      edge.push(whole)
      size++
    },
    root: () => rootOf(edge),
  }
}

/** The root of the tree with this right edge. */
export function rootOf(edge: readonly Buffer[]): Buffer {
  return (
    edge.reduceRight<Buffer | undefined>((right, left) => (right ? nodeHash(left, right) : left), undefined) ?? EMPTY
  )
}

/** How many hashes the right edge of a tree of that size has. */
export function edgeLength(size: number): number {
  let count = 0
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2
  return count
}

/** The leaves under each sibling on the way from the leaf to the root, its own sibling first (RFC 6962, 2.1.1). */
export function siblingsOf(index: number, size: number): { readonly from: number; readonly to: number }[] {
  const siblings: { from: number; to: number }[] = []
  let [from, to] = [0, size]
  while (to - from > 1) {
    const middle = from + largestPowerOfTwoBelow(to - from)
    if (index < middle) {
      siblings.push({ from: middle, to })
      to = middle
    } else {
      siblings.push({ from, to: middle })
      from = middle
    }
  }
  return siblings.reverse()
}

function largestPowerOfTwoBelow(size: number): number {
  let power = 1
  while (power * 2 < size) power *= 2
  return power
}

/** The root to which the path leads from the leaf; undefined for an invalid path for that index and size. */
export function rootFromPath(leaf: Buffer, index: number, size: number, path: readonly Buffer[]): Buffer | undefined {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) return undefined
  const siblings = siblingsOf(index, size)
  if (siblings.length !== path.length) return undefined
  return siblings.reduce(
    (hash, { from }, step) =>
      from > index ? nodeHash(hash, path[step] as Buffer) : nodeHash(path[step] as Buffer, hash),
    leaf,
  )
}
