/**
 * The tree's leaves in files, so that a proof does not read the log again: 32 bytes for each event of the tree, and the
 * roots of whole subtrees of 256, 65,536, … leaves (as the tiles of transparency logs), so that a path is made of a number of
 * hashes that grows as the logarithm of the log's length.
 *
 *     leaves       the hashes of the leaves, in log order
 *     roots-1      the roots of each 256 leaves; roots-2: of each 256 of those; and so on
 *     positions    of each first one of 256 leaves, its position in the log: 16 bytes
 *
 * Nothing here is believed: a proof made of it is checked against the signed root before anybody gets it. All files can be
 * removed at any time. Processes that fill them at once write the same bytes to the same places.
 */
import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { comparePositions, type Position } from '../../eventstore/port.ts'
import { createTree, rootOf, siblingsOf } from './tree.ts'

/** Leaves of a tile, and roots of a tile one level up. */
const TILE = 256
const HASH_BYTES = 32
const POSITION_BYTES = 16
/** Room for 256^6 leaves. */
const LEVELS = 6
/** Tiles that are written at once. */
const BATCH = 64

export interface KeptLeaves {
  /** How many leaves there are, whole tiles alone after opening. */
  readonly size: number
  /** Where the leaf at `size` may stand: what is read on from, inclusive. `start` where there are none. */
  readonly next: Position | 'start'
  /** The next leaf. */
  add(leaf: Buffer, position: Position): void
  /** The place of a leaf whose event stands there; -1 for none. */
  indexOf(leaf: Buffer, position: Position): number
  /** Whether a position lies behind all leaves. */
  isPast(position: Position): boolean
  /** The root of the tree of the first `size` leaves. */
  root(size: number): Buffer
  /** The audit path of the leaf at `index` in the tree of the first `size` leaves (RFC 6962, 2.1.1), as `rootFromPath` takes it. */
  path(index: number, size: number): Buffer[]
  /** Forgets all. */
  clear(): void
  /** Writes what is not written yet. */
  close(): void
}

/** @param folder made where it is missing @throws the system's error where it can't be written */
export function openLeaves(folder: string): KeptLeaves {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const leaves = openFile(join(folder, 'leaves'), HASH_BYTES)
  const positions = openFile(join(folder, 'positions'), POSITION_BYTES)
  const roots = Array.from({ length: LEVELS }, (_, index) => openFile(join(folder, `roots-${index + 1}`), HASH_BYTES))
  const files = [leaves, positions, ...roots]
  /** Leaves, then the roots of each level. */
  const levels = [leaves, ...roots]

  // The last tile may have been cut off anywhere: it is filled anew.
  let tiles = Math.max(0, Math.min(positions.count - 1, Math.floor(leaves.count / TILE)))
  // A level that lacks something is filled with all the others.
  if (roots.some(({ count }, level) => count < Math.floor(tiles / TILE ** level))) tiles = 0
  let next: Position | 'start' = positions.count > 0 ? readPosition(positions.read(tiles, 1)) : 'start'
  /** Of the leaf that was added last. */
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

  /** The root of a whole subtree of 2^height leaves that begins at a leaf. */
  function rootOfSubtree(first: number, height: number): Buffer {
    const level = Math.floor(height / 8)
    const count = 2 ** (height - 8 * level)
    return rootOfAll((levels[level] as EntryFile).read(first / TILE ** level, count))
  }

  /** The root of any leaves that are a subtree of a tree: whole subtrees from the largest on. */
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

/** The root of the tree of hashes that lie one after the other. */
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

/** Entries of one size, one after the other; the newest are in memory until they are worth a write. */
function openFile(path: string, width: number) {
  const descriptor = openSync(path, 'a+', 0o600)
  closeSync(descriptor)
  const file = openSync(path, 'r+') // appending would write past what another process has written
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
    /** Goes on writing there. What lies behind it stays: it is what another process has read of the same log. */
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
