/**
 * The log of the test server, in memory, with the rules of EventStoreDB (IndexWriter.CheckCommit, stream metadata, soft
 * deletion, tombstones). Positions have gaps, as byte offsets have.
 */

export interface LogRecord {
  readonly stream: string
  readonly revision: number
  readonly position: number
  readonly id: string
  readonly type: string
  readonly contentType: string
  readonly data: Buffer
  readonly metadata: Buffer
  /** Milliseconds since the epoch; told in ticks of 100 ns. */
  readonly created: number
  /** The message that a read answers with, made once for each form of ids. */
  readonly encoded: { string?: Buffer; structured?: Buffer }
}

export interface ProposedEvent {
  readonly id: string
  readonly type: string
  readonly contentType: string
  readonly data: Buffer
  readonly metadata: Buffer
}

export type Expected = number | 'no_stream' | 'any' | 'stream_exists'

/** `revision` -1: an empty write to a stream that is not there. */
export interface Written {
  readonly revision: number
  readonly position: number | undefined
}

export class WrongVersion {
  readonly stream: string
  readonly expected: Expected
  /** -1: no stream. */
  readonly actual: number
  constructor(stream: string, expected: Expected, actual: number) {
    this.stream = stream
    this.expected = expected
    this.actual = actual
  }
}
export class Deleted {
  readonly stream: string
  constructor(stream: string) {
    this.stream = stream
  }
}
export class TooLarge {
  readonly most: number
  constructor(most: number) {
    this.most = most
  }
}
/** One event alone is: KurrentDB has a word of its own for that. */
export class EventTooLarge {
  readonly id: string
  readonly size: number
  readonly most: number
  constructor(id: string, size: number, most: number) {
    this.id = id
    this.size = size
    this.most = most
  }
}
export class BadArgument {
  readonly message: string
  constructor(message: string) {
    this.message = message
  }
}

interface Stream {
  readonly name: string
  readonly events: LogRecord[]
  tombstoned: boolean
}

interface Metadata {
  readonly $maxCount?: number
  readonly $maxAge?: number
  readonly $tb?: number
}

/** The server takes no notice of metadata that it can't read, nor of a limit that is none. */
function wellFormed(metadata: Metadata): Metadata {
  const { $maxCount, $maxAge, $tb, ...rest } = metadata
  for (const value of [$maxCount, $maxAge, $tb]) if (value !== undefined && typeof value !== 'number') return {}
  return {
    ...rest,
    ...($maxCount !== undefined && $maxCount > 0 && { $maxCount }),
    ...($maxAge !== undefined && $maxAge > 0 && { $maxAge }),
    ...($tb !== undefined && { $tb }),
  }
}

/** What a tombstone's revision and a soft deletion's `$tb` are at the server: the largest of 64 bits. */
const END_OF_TIME = 2 ** 63
export const MAX_APPEND_SIZE = 1_048_576
const REMEMBERED_IDS = 10_000
const FIRST_POSITION = 1_000

export type Log = ReturnType<typeof createLog>

export function createLog() {
  const streams = new Map<string, Stream>()
  const records: LogRecord[] = []
  const listeners = new Set<() => void>()
  /** Ids by which `any` and `stream_exists` know a repetition. */
  let remembered = new Map<string, LogRecord>()
  let next = FIRST_POSITION

  const isMetastream = (stream: string) => stream.startsWith('$$')
  const streamOf = (name: string): Stream => {
    let stream = streams.get(name)
    if (!stream) {
      stream = { name, events: [], tombstoned: false }
      streams.set(name, stream)
    }
    return stream
  }
  const lastRevision = (name: string) => (streams.get(name)?.events.length ?? 0) - 1

  function isTombstoned(name: string): boolean {
    const stream = streams.get(name)
    if (stream?.tombstoned) return true
    return isMetastream(name) && (streams.get(name.slice(2))?.tombstoned ?? false)
  }

  function metadataOf(name: string): Metadata {
    if (isMetastream(name)) return { $maxCount: 1 }
    const last = streams.get(`$$${name}`)?.events.at(-1)
    try {
      return last ? wellFormed(JSON.parse(last.data.toString()) as Metadata) : {}
    } catch {
      return {}
    }
  }

  const isSoftDeleted = (name: string) => (metadataOf(name).$tb ?? 0) >= Number.MAX_SAFE_INTEGER

  function write(name: string, events: readonly ProposedEvent[], revision?: number): Written {
    const stream = streamOf(name)
    const created = Date.now()
    let record: LogRecord | undefined
    for (const event of events) {
      record = {
        ...event,
        stream: name,
        revision: revision ?? stream.events.length,
        position: next,
        created,
        encoded: {},
      }
      next += 150 + event.data.length + event.metadata.length
      records.push(record)
      if (revision === undefined) stream.events.push(record)
      // Of an id that is written again the first record counts, as long as it is remembered.
      if (!remembered.has(event.id)) remembered.set(event.id, record)
    }
    while (remembered.size > REMEMBERED_IDS) remembered.delete(remembered.keys().next().value as string)
    for (const listener of listeners) listener()
    return { revision: lastRevision(name), position: record?.position }
  }

  /** Of a repetition what the first write gave; undefined where it is none. */
  function repetition(name: string, events: readonly ProposedEvent[], expected: Expected): Written | undefined {
    const current = lastRevision(name)
    const [first] = events
    if (!first) return undefined
    if (expected === 'any' || expected === 'stream_exists') {
      let last: LogRecord | undefined
      for (const { id } of events) {
        const known = remembered.get(id)
        if (known?.stream !== name) {
          if (last === undefined) return undefined
          fail(new WrongVersion(name, expected, current))
        }
        last = known
      }
      return last && { revision: last.revision, position: last.position }
    }
    const from = expected === 'no_stream' ? 0 : expected + 1
    if (from > current) return undefined
    return sameFrom(name, events, from) ?? fail(new WrongVersion(name, expected, current))
  }

  function sameFrom(name: string, events: readonly ProposedEvent[], from: number): Written | undefined {
    const there = streams.get(name)?.events.slice(from, from + events.length) ?? []
    if (there.length < events.length || there.some(({ id }, index) => id !== events[index]?.id)) return undefined
    return { revision: from + events.length - 1, position: there.at(-1)?.position }
  }

  function append(name: string, events: readonly ProposedEvent[], expected: Expected): Written {
    if (name === '') fail(new BadArgument('eventStreamId'))
    const bytes = events.reduce((sum, { data }) => sum + data.length, 0)
    if (bytes > MAX_APPEND_SIZE) fail(new TooLarge(MAX_APPEND_SIZE))
    if (isTombstoned(name)) fail(new Deleted(name))
    const current = lastRevision(name)
    const softDeleted = !isMetastream(name) && isSoftDeleted(name)
    if (expected === 'stream_exists') {
      if (softDeleted) fail(new Deleted(name))
      if (current === -1 && lastRevision(`$$${name}`) === -1) fail(new WrongVersion(name, expected, -1))
    }
    if (softDeleted && expected === 'no_stream') {
      const again = sameFrom(name, events, 0)
      if (again) return again
    } else {
      const again = repetition(name, events, expected)
      if (again) return again
      if (typeof expected === 'number' && expected > current) fail(new WrongVersion(name, expected, current))
      if (expected === 'no_stream' && current !== -1) fail(new WrongVersion(name, expected, current))
    }
    if (events.length === 0) {
      if (typeof expected === 'number' && expected !== current) fail(new WrongVersion(name, expected, current))
      return { revision: current, position: next }
    }
    if (softDeleted) writeMetadata(name, { ...metadataOf(name), $tb: current + 1 })
    const undeleted = isMetastream(name) && isSoftDeleted(name.slice(2)) ? lastRevision(name.slice(2)) + 1 : undefined
    const written = write(name, events)
    if (undeleted !== undefined) {
      // New metadata takes back a deletion, but what was deleted stays hidden.
      const original = name.slice(2)
      const metadata = metadataOf(original)
      if ((metadata.$tb ?? 0) < undeleted) writeMetadata(original, { ...metadata, $tb: undeleted })
    }
    return written
  }

  function writeMetadata(name: string, metadata: Metadata): Written {
    return write(`$$${name}`, [
      {
        id: crypto.randomUUID(),
        type: '$metadata',
        contentType: 'application/json',
        data: Buffer.from(JSON.stringify(metadata)),
        metadata: Buffer.alloc(0),
      },
    ])
  }

  function checkRemoval(name: string, expected: Expected): number {
    if (isTombstoned(name)) fail(new Deleted(name))
    const current = lastRevision(name)
    if (typeof expected === 'number' && expected !== current) fail(new WrongVersion(name, expected, current))
    if (expected === 'no_stream' && current !== -1) fail(new WrongVersion(name, expected, current))
    if (expected === 'stream_exists') {
      if (!isMetastream(name) && isSoftDeleted(name)) fail(new Deleted(name))
      if (current === -1) fail(new WrongVersion(name, expected, -1))
    }
    return current
  }

  /** From the position on; the index of the first record there. */
  function indexOf(position: number): number {
    let [low, high] = [0, records.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((records[middle] as LogRecord).position < position) low = middle + 1
      else high = middle
    }
    return low
  }

  return {
    append,
    records,
    indexOf,
    /** Where the next record will stand. */
    end: () => next,
    isTombstoned,
    lastRevision,
    isMissing: (name: string) => lastRevision(name) === -1 || (!isMetastream(name) && isSoftDeleted(name)),

    /** Without any rule: what only the server itself can write. */
    appendRaw: (name: string, events: readonly ProposedEvent[]) => write(name, events),

    truncate: (name: string, before: number) => void writeMetadata(name, { ...metadataOf(name), $tb: before }),

    /** The revisions that can be read now: from the first to before the second. */
    visible(name: string): { readonly first: number; readonly after: number; readonly events: readonly LogRecord[] } {
      const events = streams.get(name)?.events ?? []
      const { $tb = 0, $maxCount, $maxAge } = metadataOf(name)
      let first = Math.max($tb, $maxCount === undefined ? 0 : events.length - $maxCount)
      if ($maxAge !== undefined) {
        const oldest = Date.now() - $maxAge * 1000
        while (first < events.length && (events[first] as LogRecord).created < oldest) first++
      }
      return { first: Math.min(first, events.length), after: events.length, events }
    },

    delete(name: string, expected: Expected): Written {
      const current = checkRemoval(name, expected)
      if (current === -1) fail(new WrongVersion(name, expected, -1))
      return writeMetadata(name, { ...metadataOf(name), $tb: END_OF_TIME })
    },

    tombstone(name: string, expected: Expected): Written {
      checkRemoval(name, expected)
      const event: ProposedEvent = {
        id: crypto.randomUUID(),
        type: '$streamDeleted',
        contentType: 'application/json',
        data: Buffer.from('{}'),
        metadata: Buffer.alloc(0),
      }
      streamOf(name).tombstoned = true
      return write(name, [event], END_OF_TIME)
    },

    /** Puts other records in the place of all, in this order: what one with the server's files at hand can do. */
    rewrite(changed: readonly Omit<LogRecord, 'encoded' | 'position'>[]) {
      records.length = 0
      for (const stream of streams.values()) stream.events.length = 0
      let position = FIRST_POSITION
      for (const each of changed) {
        const record = { ...each, position, encoded: {} }
        position += 150 + each.data.length + each.metadata.length
        records.push(record)
        if (record.revision < END_OF_TIME) streamOf(record.stream).events.push(record)
      }
      next = position
    },

    /** As a restart does. */
    forgetIds() {
      remembered = new Map()
    },

    onAppend(listener: () => void): () => void {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
  }
}

function fail(reason: object): never {
  throw reason
}

/** The log as a node reads it that is behind: it may not know yet that what is newest was replicated. */
export interface LaggingLog {
  readonly log: Log
  /** From now on the newest so many records, as of now, are not read; 0: all are. Metadata counts at once. */
  hideNewest(count: number): void
}

export function createLaggingLog(whole: Log): LaggingLog {
  /** The position of the first record that is hidden. */
  let end = Number.POSITIVE_INFINITY
  const listeners = new Set<() => void>()
  const shown = (events: readonly LogRecord[]) => {
    let count = events.length
    while (count > 0 && (events[count - 1] as LogRecord).position >= end) count--
    return count
  }
  const lastRevision = (name: string) => shown(whole.visible(name).events) - 1
  const log: Log = {
    ...whole,
    get records() {
      return end === Number.POSITIVE_INFINITY ? whole.records : whole.records.slice(0, shown(whole.records))
    },
    indexOf: (position) => whole.indexOf(Math.min(position, end)),
    end: () => Math.min(whole.end(), end),
    lastRevision,
    isMissing: (name) => whole.isMissing(name) || lastRevision(name) === -1,
    visible(name) {
      const { first, events } = whole.visible(name)
      const after = shown(events)
      return { first: Math.min(first, after), after, events }
    },
    onAppend(listener) {
      const stop = whole.onAppend(listener)
      listeners.add(listener)
      return () => {
        listeners.delete(listener)
        stop()
      }
    },
  }
  return {
    log,
    hideNewest(count) {
      const first = count === 0 ? undefined : whole.records.at(-count)
      end = first?.position ?? Number.POSITIVE_INFINITY
      for (const listener of listeners) listener()
    },
  }
}
