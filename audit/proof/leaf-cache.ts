/**
 * The leaves of the tree in files, so that a proof does not read the whole log again: 32 bytes for each event in the
 * tree. The roots of complete subtrees of 256, 65,536, ... leaves are stored, too, like the tiles of transparency
 * logs, so that the work for a path grows with the logarithm of the log's length.
 *
 *     leaves       the hashes of the leaves, in log order
 *     roots-1      the root of every 256 leaves; roots-2: of every 256 of those; and so on
 *     positions    the position in the log of the first of every 256 leaves: 16 bytes
 *
 * The cache is not trusted: a proof made from it is checked against the signed root before it is returned. The files
 * can be deleted at any time. Processes that fill the cache at the same time write the same bytes to the same places.
 */
import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { comparePositions, type Position } from '../../eventstore/port.ts'
import { createTree, rootOf, siblingsOf } from './tree.ts'

/** Leaves in a tile, and roots in a tile one level up. */
const TILE = 256
const HASH_BYTES = 32
const POSITION_BYTES = 16
/** Enough for 256^6 leaves. */
const LEVELS = 6
/** How many tiles are written at once. */
const BATCH = 64

export interface LeafCache {
  /** The number of leaves. After opening, only complete tiles count. */
  readonly size: number
  /** Where to continue reading the log for more leaves, inclusive; `start` if there are none yet. */
  readonly next: Position | 'start'
  /** Appends a leaf. */
  add(leaf: Buffer, position: Position): void
  /** The index of the leaf of the event at that position; -1 if it is not there. */
  indexOf(leaf: Buffer, position: Position): number
  /** Whether the position is after all leaves. */
  isPast(position: Position): boolean
  /** The root of the tree of the first `size` leaves. */
  root(size: number): Buffer
  /** The audit path (RFC 6962, 2.1.1) of the leaf at `index` in the tree of the first `size` leaves. */
  path(index: number, size: number): Buffer[]
  /** Removes all leaves. */
  clear(): void
  /** Writes what is still in memory, and closes the files. */
  close(): void
}

/** @param folder created if it is missing @throws the system's error if it can't be written */
export function openLeafCache(folder: string): LeafCache {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const leaves = openFile(join(folder, 'leaves'), HASH_BYTES)
  const positions = openFile(join(folder, 'positions'), POSITION_BYTES)
  const roots = Array.from({ length: LEVELS }, (_, index) => openFile(join(folder, `roots-${index + 1}`), HASH_BYTES))
  const files = [leaves, positions, ...roots]
  /** The leaves, then the roots of each level. */
  const levels = [leaves, ...roots]

  // The last tile may be incomplete, so it is filled again.
  let tiles = Math.max(0, Math.min(positions.count - 1, Math.floor(leaves.count / TILE)))
  // If a level is incomplete, all levels are filled again.
  if (roots.some(({ count }, level) => count < Math.floor(tiles / TILE ** level))) tiles = 0
  let next: Position | 'start' = positions.count > 0 ? readPosition(positions.read(tiles, 1)) : 'start'
  /** The position of the leaf added last. */
  let newest: Position | undefined
  leaves.goTo(tiles * TILE)
  positions.goTo(tiles)
  for (const [level, file] of roots.entries()) file.goTo(Math.floor(tiles / TILE ** level))

  function add(leaf: Buffer, position: Position): void {
    if (leaves.count % TILE === 0) positions.add(positionBytes(position))
    leaves.add(leaf)
    newest = position
    for (let level = 0; level < LEVELS && (levels[level] as EntryFile).count % TILE === 0; level++) {
      const below = levels[level] as EntryFile
      ;(levels[level + 1] as EntryFile).add(rootOfAll(below.read(below.count - TILE, TILE)))
    }
  }

  /** The root of the complete subtree of 2^height leaves that starts at the leaf `first`. */
  function rootOfSubtree(first: number, height: number): Buffer {
    const level = Math.floor(height / 8)
    const count = 2 ** (height - 8 * level)
    return rootOfAll((levels[level] as EntryFile).read(first / TILE ** level, count))
  }

  /** The root of a subtree, from its complete subtrees, the largest first. */
  function rootOfRange(from: number, to: number): Buffer {
    const edge: Buffer[] = []
    for (let first = from; first < to; ) {
      let height = 0
      while (2 ** (height + 1) <= to - first) height++
      edge.push(rootOfSubtree(first, height))
      first += 2 ** height
    }
    return rootOf(edge)
  }

  return {
    get size() {
      return leaves.count
    },
    get next() {
      return next
    },
    add,

    indexOf(leaf, position) {
      let [low, high] = [0, positions.count]
      while (low < high) {
        const middle = Math.floor((low + high) / 2)
        if (readPosition(positions.read(middle, 1)).commit <= position.commit) low = middle + 1
        else high = middle
      }
      if (low === 0) return -1
      const first = (low - 1) * TILE
      const tile = leaves.read(first, Math.min(TILE, leaves.count - first))
      for (let at = 0; at < tile.length; at += HASH_BYTES) {
        if (leaf.equals(tile.subarray(at, at + HASH_BYTES))) return first + at / HASH_BYTES
      }
      return -1
    },

    isPast: (position) =>
      newest
        ? comparePositions(position, newest) > 0
        : next === 'start' || (leaves.count > 0 && comparePositions(position, next) >= 0),
    root: (size) => rootOfRange(0, size),
    path: (index, size) => siblingsOf(index, size).map(({ from, to }) => rootOfRange(from, to)),

    clear() {
      for (const file of files) file.clear()
      next = 'start'
      newest = undefined
    },

    close() {
      for (const file of files) file.close()
    },
  }
}

/** The root of the tree whose leaves are these hashes, one after the other. */
function rootOfAll(hashes: Buffer): Buffer {
  const tree = createTree()
  for (let at = 0; at < hashes.length; at += HASH_BYTES) tree.add(hashes.subarray(at, at + HASH_BYTES))
  return tree.root()
}

function positionBytes({ commit, prepare }: Position): Buffer {
  const bytes = Buffer.alloc(POSITION_BYTES)
  bytes.writeBigUInt64BE(commit, 0)
  bytes.writeBigUInt64BE(prepare, 8)
  return bytes
}

const readPosition = (bytes: Buffer): Position => ({
  commit: bytes.readBigUInt64BE(0),
  prepare: bytes.readBigUInt64BE(8),
})

type EntryFile = ReturnType<typeof openFile>

/** A file of entries of equal size. The newest are kept in memory until there are enough for a write. */
function openFile(path: string, width: number) {
  const descriptor = openSync(path, 'a+', 0o600)
  closeSync(descriptor)
  const file = openSync(path, 'r+') // in append mode, writes would go after what another process has written
  let written = Math.floor(fstatSync(file).size / width)
  const most = TILE * BATCH
  const pending = Buffer.alloc(most * width)
  let waiting = 0

  function flush(): void {
    if (waiting > 0) writeSync(file, pending, 0, waiting * width, written * width)
    written += waiting
    waiting = 0
  }

  return {
    get count() {
      return written + waiting
    },
    add(entry: Buffer): void {
      pending.set(entry, waiting++ * width)
      if (waiting === most) flush()
    },
    read(first: number, count: number): Buffer {
      const bytes = Buffer.alloc(count * width)
      if (first >= written) pending.copy(bytes, 0, (first - written) * width, (first - written + count) * width)
      else {
        if (first + count > written) flush()
        readSync(file, bytes, 0, bytes.length, first * width)
      }
      return bytes
    },
    /** Continues writing there. What comes after it stays: another process has written it from the same log. */
    goTo(count: number): void {
      written = count
    },
    clear(): void {
      written = 0
      waiting = 0
      ftruncateSync(file, 0)
    },
    close(): void {
      flush()
      closeSync(file)
    },
  }
}
