/**
 * One persistent subscription: what it has read of its source, what waits, what is under way with whom, what is parked,
 * and how far its checkpoint is. The rules are those of the server's PersistentSubscription.
 */
import type { Log, LogRecord } from './log.ts'
import { bucketOf, createPins } from './pins.ts'

export interface Settings {
  readonly maxRetryCount: number
  readonly messageTimeout: number
  /** 0: any number. */
  readonly maxSubscribers: number
  readonly strategy: string
  readonly checkpointAfter: number
  readonly minCheckpoint: number
  readonly maxCheckpoint: number
  readonly historyBuffer: number
  readonly liveBuffer: number
  readonly readBatch: number
  readonly resolveLinks: boolean
  readonly extraStatistics: boolean
}

interface Queued {
  readonly record: LogRecord
  /** The one before it in the source: the checkpoint while this one is not done. */
  readonly previous: LogRecord | undefined
  /** Counts the source's records; infinite for what was parked, which holds no checkpoint back. */
  readonly sequence: number
  readonly retryCount: number
  readonly bucket: number
}

export interface Consumer {
  readonly slots: number
  readonly name: string
  total: number
  readonly inFlight: Map<string, { readonly queued: Queued; readonly timer: NodeJS.Timeout | undefined }>
  deliver(record: LogRecord, retryCount: number): void
}

export interface GroupDefinition {
  /** A stream's name, or $all. */
  readonly source: string
  readonly name: string
  /** INCLUSIVE, other than a catch-up subscription's; `invalid`: not a record's position. */
  readonly from: LogRecord | 'start' | 'end' | 'invalid'
  /** As it is told. */
  readonly startFrom: string
  isInSource(record: LogRecord): boolean
  isWanted(record: LogRecord): boolean
}

export interface GroupState {
  readonly checkpoint: LogRecord | undefined
  readonly lastKnown: LogRecord | undefined
  readonly parked: number
  readonly waiting: number
  readonly retries: number
}

export type Nack = 'park' | 'retry' | 'skip'

export type Group = ReturnType<typeof createGroup>

export function createGroup(log: Log, definition: GroupDefinition, initial: Settings) {
  const { from, isInSource, isWanted } = definition
  const consumers: Consumer[] = []
  let pins = createPins<Consumer>()
  let settings = initial
  let turn = 0
  /** In the log. */
  let next = 0
  let sequence = 0
  let last: LogRecord | undefined
  let lastKnown: LogRecord | undefined
  let waiting: Queued[] = []
  let retries: Queued[] = []
  /** What was ever parked; a replay goes on after the last one, and its end is a number of all of them. */
  const parked: LogRecord[] = []
  let replayed = 0
  const parkedStream = `$persistentsubscription-${definition.source}::${definition.name}-parked`
  /** Of a group of the same name before. */
  const before = log.lastRevision(parkedStream) + 1
  let checkpoint: { readonly record: LogRecord; readonly sequence: number } | undefined
  let checkpointedAt = 0
  begin()

  /** From the checkpoint, and else from the start. A group that began at the end begins there anew: the server's does. */
  function begin(): void {
    waiting = []
    retries = []
    last = checkpoint?.record
    sequence = checkpoint ? 1 : 0
    if (checkpoint) {
      checkpoint = { record: checkpoint.record, sequence: 0 }
      next = log.indexOf(checkpoint.record.position) + 1
    } else if (from === 'end') next = log.records.length
    else next = typeof from === 'object' ? log.indexOf(from.position) : 0
  }

  function fill(): void {
    while (waiting.length < settings.historyBuffer && next < log.records.length) {
      const record = log.records[next++] as LogRecord
      if (!isInSource(record)) continue
      if (isWanted(record)) {
        lastKnown = record
        waiting.push({ record, previous: last, sequence, retryCount: 0, bucket: bucketFor(record) })
      }
      sequence++
      last = record
    }
  }

  function bucketFor(record: LogRecord): number {
    const correlation = settings.strategy === 'PinnedByCorrelation' ? correlationOf(record) : undefined
    return bucketOf(correlation ?? record.stream)
  }

  const hasRoom = ({ inFlight, slots }: Consumer) => inFlight.size < slots

  /** Hands out what there is to whoever has room. */
  function pump(): void {
    do {
      fill()
      retries = handOut(retries)
      waiting = handOut(waiting)
    } while (waiting.length === 0 && next < log.records.length && consumers.some(hasRoom))
  }

  /** Gives back what nobody has room for. */
  function handOut(queue: Queued[]): Queued[] {
    let room = consumers.reduce((sum, { slots, inFlight }) => sum + Math.max(0, slots - inFlight.size), 0)
    if (room === 0 || queue.length === 0) return queue
    const left: Queued[] = []
    for (const [index, queued] of queue.entries()) {
      if (room === 0) return left.concat(queue.slice(index))
      const consumer = choose(queued.bucket)
      if (consumer === undefined) left.push(queued)
      else {
        deliver(consumer, queued)
        room--
      }
    }
    return left
  }

  function choose(bucket: number): Consumer | undefined {
    if (settings.strategy.startsWith('Pinned')) {
      const holder = pins.holderOf(bucket, consumers)
      return hasRoom(holder) ? holder : undefined
    }
    if (settings.strategy === 'DispatchToSingle') return consumers.find(hasRoom)
    for (let index = 0; index < consumers.length; index++) {
      const consumer = consumers[(turn + index) % consumers.length] as Consumer
      if (!hasRoom(consumer)) continue
      turn = (turn + index + 1) % consumers.length
      return consumer
    }
    return undefined
  }

  function deliver(consumer: Consumer, queued: Queued): void {
    const { record, retryCount } = queued
    consumer.total++
    // An id that is under way already is sent and not waited for, as at the server.
    if (!consumer.inFlight.has(record.id)) {
      const expire = () => {
        if (!consumer.inFlight.delete(record.id)) return
        retry(queued)
        pump()
      }
      const timer = settings.messageTimeout > 0 ? setTimeout(expire, settings.messageTimeout) : undefined
      consumer.inFlight.set(record.id, { queued, timer })
    }
    consumer.deliver(record, retryCount)
  }

  function retry(queued: Queued): void {
    if (queued.retryCount >= settings.maxRetryCount) park(queued.record)
    else addRetry({ ...queued, retryCount: queued.retryCount + 1 })
  }

  function park(record: LogRecord): void {
    parked.push(record)
    const link = { id: crypto.randomUUID(), type: '$>', contentType: 'application/octet-stream' }
    const data = Buffer.from(`${record.revision}@${record.stream}`)
    log.appendRaw(parkedStream, [{ ...link, data, metadata: Buffer.from('{}') }])
  }

  function addRetry(queued: Queued): void {
    const after = retries.findIndex(({ record }) => record.position > queued.record.position)
    retries.splice(after < 0 ? retries.length : after, 0, queued)
  }

  /** Out of the consumer's hands. */
  function take(consumer: Consumer, ids: readonly string[]): Queued[] {
    return ids.flatMap((id) => {
      const entry = consumer.inFlight.get(id)
      if (entry === undefined) return []
      clearTimeout(entry.timer)
      consumer.inFlight.delete(id)
      return [entry.queued]
    })
  }

  /** Whether a checkpoint is due is the server's rule: seldom, so a restart brings back what was acknowledged since. */
  function tryCheckpoint(isTick: boolean): void {
    const done = checkpoint?.sequence ?? -1
    if (sequence - 1 - done < (isTick ? settings.minCheckpoint : settings.maxCheckpoint)) return
    let first = waiting[0]
    const consider = (queued: Queued) => {
      if (queued.sequence < (first?.sequence ?? Number.POSITIVE_INFINITY)) first = queued
    }
    retries.forEach(consider)
    for (const { inFlight } of consumers) for (const { queued } of inFlight.values()) consider(queued)
    const upTo = first
      ? { record: first.previous, sequence: first.sequence - 1 }
      : { record: last, sequence: sequence - 1 }
    if (upTo.record === undefined) return
    const difference = upTo.sequence - done
    if (difference < settings.maxCheckpoint) {
      if (!isTick || difference < settings.minCheckpoint) return
      if (Date.now() - checkpointedAt < settings.checkpointAfter) return
    }
    checkpointedAt = Date.now()
    checkpoint = { record: upTo.record, sequence: upTo.sequence }
  }

  return {
    ...definition,
    consumers: consumers as readonly Consumer[],
    settings: () => settings,
    pump,

    isFull: () => settings.maxSubscribers > 0 && consumers.length >= settings.maxSubscribers,

    join(consumer: Consumer): void {
      consumers.push(consumer)
      pins.joined(consumer, consumers, ({ inFlight }, bucket) =>
        [...inFlight.values()].some(({ queued }) => queued.bucket === bucket),
      )
      pump()
    },

    /** What it holds goes to the others. Calling it again does nothing. */
    leave(consumer: Consumer): void {
      const index = consumers.indexOf(consumer)
      if (index < 0) return
      consumers.splice(index, 1)
      pins.left(consumer)
      for (const queued of take(consumer, [...consumer.inFlight.keys()])) {
        addRetry({ ...queued, retryCount: queued.retryCount + 1 })
      }
      pump()
    },

    ack(consumer: Consumer, ids: readonly string[]): void {
      take(consumer, ids)
      tryCheckpoint(false)
      pump()
    },

    nack(consumer: Consumer, ids: readonly string[], action: Nack): void {
      for (const queued of take(consumer, ids)) {
        if (action === 'retry') retry(queued)
        else if (action === 'park') park(queued.record)
      }
      tryCheckpoint(false)
      pump()
    },

    /** @param stopAt a number of the stream of what is parked, before which it ends; not how many */
    replayParked(stopAt = Number.POSITIVE_INFINITY): void {
      const end = Math.min(stopAt - before, parked.length)
      for (const record of parked.slice(replayed, end)) {
        const bucket = bucketFor(record)
        addRetry({ record, previous: undefined, sequence: Number.POSITIVE_INFINITY, retryCount: 0, bucket })
      }
      if (end > replayed) {
        replayed = end
        log.truncate(parkedStream, before + end)
      }
      setImmediate(pump)
    },

    /** Once a second. */
    tick(): void {
      tryCheckpoint(true)
    },

    /** Settings anew, or the server: the consumers are gone; it goes on from its checkpoint. */
    restart(anew: Settings = settings): void {
      for (const consumer of consumers) take(consumer, [...consumer.inFlight.keys()])
      consumers.length = 0
      pins = createPins()
      settings = anew
      begin()
    },

    state(): GroupState {
      fill()
      return {
        checkpoint: checkpoint?.record,
        lastKnown,
        parked: parked.length - replayed,
        waiting: waiting.length,
        retries: retries.length,
      }
    },
  }
}

function correlationOf({ metadata }: LogRecord): string | undefined {
  try {
    const { $correlationId } = JSON.parse(metadata.toString()) as { $correlationId?: unknown }
    return typeof $correlationId === 'string' ? $correlationId : undefined
  } catch {
    return undefined
  }
}
