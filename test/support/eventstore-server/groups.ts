/** Persistent subscriptions: competing consumers of a stream, or of a filtered view of $all. */
import { createHash } from 'node:crypto'
import { status } from '@grpc/grpc-js'
import type { Controls } from './controls.ts'
import type { Log, LogRecord } from './log.ts'
import {
  Failure,
  filterOf,
  type IdForm,
  idOf,
  type Message,
  messages,
  nameOf,
  readEventOf,
  refuse,
  toFailure,
} from './wire.ts'

const { groups: proto } = messages
const BUCKETS = 1_024
/** Events that wait for a consumer. */
const BUFFER = 500
/** The actions of a nack, by their numbers. */
const [PARK, RETRY, SKIP, STOP] = [1, 2, 3, 4]

interface Queued {
  readonly record: LogRecord
  retryCount: number
}

interface Consumer {
  readonly call: Message
  readonly form: IdForm
  readonly slots: number
  readonly inFlight: Map<string, { readonly queued: Queued; readonly timer: NodeJS.Timeout }>
}

interface Settings {
  maxRetryCount: number
  messageTimeout: number
  maxSubscribers: number
  strategy: string
}

interface Group {
  readonly source: string
  readonly name: string
  settings: Settings
  isWanted: (record: LogRecord) => boolean
  /** In the log. */
  next: number
  waiting: Queued[]
  parked: Queued[]
  readonly consumers: Consumer[]
  /** Whose stream a bucket of streams is, where the strategy pins. */
  readonly pins: Map<number, Consumer>
  turn: number
  lastKnown: LogRecord | undefined
}

type Answer = (error: unknown, response?: Message) => void

export function createGroups(log: Log, controls: Controls) {
  const groups = new Map<string, Group>()
  const keyOf = (source: string, name: string) => `${source}::${name}`

  log.onAppend(() => setImmediate(() => groups.forEach(pump)))

  const trailers = (exception: string, source: string, name: string) => ({
    exception,
    'stream-name': encodeURIComponent(source),
    'group-name': name,
  })
  const exists = (source: string, name: string) =>
    new Failure(
      status.ALREADY_EXISTS,
      `Subscription group ${name} on stream ${source} exists.`,
      trailers('persistent-subscription-exists', source, name),
    )
  const missing = (source: string, name: string) =>
    new Failure(
      status.NOT_FOUND,
      `Subscription group ${name} on stream ${source} does not exist.`,
      trailers('persistent-subscription-does-not-exist', source, name),
    )

  function find(options: Message): Group {
    const source = options.hasAll?.() ? '$all' : nameOf(options.getStreamIdentifier())
    const group = groups.get(keyOf(source, options.getGroupName()))
    if (!group) throw missing(source, options.getGroupName())
    return group
  }

  function settingsOf(message: Message, strategy: string): Settings {
    const timeout = message.hasMessageTimeoutMs()
      ? message.getMessageTimeoutMs()
      : Number(message.getMessageTimeoutTicks()) / 10_000
    return {
      maxRetryCount: message.getMaxRetryCount(),
      messageTimeout: timeout,
      maxSubscribers: message.getMaxSubscriberCount(),
      strategy,
    }
  }

  function fill(group: Group): void {
    while (group.waiting.length < BUFFER && group.next < log.records.length) {
      const record = log.records[group.next++] as LogRecord
      if (!group.isWanted(record)) continue
      group.lastKnown = record
      group.waiting.push({ record, retryCount: 0 })
    }
  }

  function pump(group: Group): void {
    fill(group)
    if (group.consumers.length === 0) return
    const left: Queued[] = []
    /** Buckets whose consumer is busy: what comes after must not overtake. */
    const held = new Set<number>()
    for (const queued of group.waiting) {
      const bucket = bucketOf(queued.record.stream)
      const consumer = held.has(bucket) ? undefined : choose(group, bucket)
      if (consumer) deliver(group, consumer, queued)
      else {
        held.add(bucket)
        left.push(queued)
      }
    }
    const drained = left.length < group.waiting.length
    group.waiting = left
    if (drained && left.length === 0 && group.next < log.records.length) pump(group)
  }

  const hasRoom = ({ inFlight, slots }: Consumer) => inFlight.size < slots

  function choose(group: Group, bucket: number): Consumer | undefined {
    const { consumers, settings } = group
    if (settings.strategy.startsWith('Pinned')) {
      let pinned = group.pins.get(bucket)
      if (!pinned) {
        const load = (consumer: Consumer) => [...group.pins.values()].filter((each) => each === consumer).length
        pinned = consumers.toSorted((a, b) => load(a) - load(b))[0] as Consumer
        group.pins.set(bucket, pinned)
      }
      return hasRoom(pinned) ? pinned : undefined
    }
    if (settings.strategy === 'DispatchToSingle') return consumers.find(hasRoom)
    for (let index = 0; index < consumers.length; index++) {
      const consumer = consumers[(group.turn + index) % consumers.length] as Consumer
      if (!hasRoom(consumer)) continue
      group.turn = (group.turn + index + 1) % consumers.length
      return consumer
    }
    return undefined
  }

  function deliver(group: Group, consumer: Consumer, queued: Queued): void {
    const { record, retryCount } = queued
    const timer = setTimeout(() => {
      if (consumer.inFlight.delete(record.id)) retry(group, queued)
    }, group.settings.messageTimeout || 30_000)
    consumer.inFlight.set(record.id, { queued, timer })
    const event = readEventOf(record, consumer.form, proto)
    event.setRetryCount(retryCount)
    const response = new proto.ReadResp()
    response.setEvent(event)
    consumer.call.write(response)
  }

  function retry(group: Group, queued: Queued): void {
    if (queued.retryCount >= group.settings.maxRetryCount) group.parked.push(queued)
    else group.waiting.unshift({ record: queued.record, retryCount: queued.retryCount + 1 })
    pump(group)
  }

  function leave(group: Group, consumer: Consumer): void {
    const index = group.consumers.indexOf(consumer)
    if (index < 0) return
    group.consumers.splice(index, 1)
    for (const [bucket, holder] of group.pins) if (holder === consumer) group.pins.delete(bucket)
    const left = [...consumer.inFlight.values()].map(({ queued, timer }) => {
      clearTimeout(timer)
      return { record: queued.record, retryCount: queued.retryCount + 1 }
    })
    consumer.inFlight.clear()
    group.waiting.unshift(...left.toSorted((a, b) => a.record.position - b.record.position))
    pump(group)
  }

  function handle(group: Group, consumer: Consumer, request: Message): void {
    const taken = (ids: Message[]) =>
      ids.flatMap((id) => {
        const entry = consumer.inFlight.get(idOf(id))
        if (!entry) return []
        clearTimeout(entry.timer)
        consumer.inFlight.delete(idOf(id))
        return [entry.queued]
      })
    if (request.hasAck()) taken(request.getAck().getIdsList())
    if (request.hasNack()) {
      const nack = request.getNack()
      const nacked = taken(nack.getIdsList())
      for (const queued of nacked) {
        if (nack.getAction() === PARK) group.parked.push(queued)
        else if (nack.getAction() === RETRY) retry(group, queued)
        else if (nack.getAction() !== SKIP && nack.getAction() !== STOP) retry(group, queued)
      }
      if (nack.getAction() === STOP) {
        leave(group, consumer)
        consumer.call.end()
      }
    }
    pump(group)
  }

  function place(group: Group, record: LogRecord | undefined): string {
    if (record === undefined) return ''
    return group.source === '$all' ? `C:${record.position}/P:${record.position}` : String(record.revision)
  }

  function infoOf(group: Group): Message {
    fill(group)
    const info = new proto.SubscriptionInfo()
    const outstanding = [
      ...group.waiting,
      ...group.consumers.flatMap(({ inFlight }) => [...inFlight.values()].map(({ queued }) => queued)),
    ].map(({ record }) => log.indexOf(record.position))
    let done = Math.min(group.next, ...outstanding) - 1
    while (done >= 0 && !group.isWanted(log.records[done] as LogRecord)) done--
    info.setEventSource(group.source)
    info.setGroupName(group.name)
    info.setStatus('Live')
    info.setLastCheckpointedEventPosition(place(group, log.records[done]))
    info.setLastKnownEventPosition(place(group, group.lastKnown))
    info.setParkedMessageCount(String(group.parked.length))
    info.setTotalInFlightMessages(group.consumers.reduce((sum, { inFlight }) => sum + inFlight.size, 0))
    info.setNamedConsumerStrategy(group.settings.strategy)
    info.setMaxRetryCount(group.settings.maxRetryCount)
    info.setMessageTimeoutMilliseconds(group.settings.messageTimeout)
    info.setMaxSubscriberCount(group.settings.maxSubscribers)
    info.setStartFrom(group.source === '$all' ? 'C:0/P:0' : '0')
    info.setConnectionsList(
      group.consumers.map(({ slots, inFlight }) => {
        const connection = new proto.SubscriptionInfo.ConnectionInfo()
        connection.setAvailableSlots(slots - inFlight.size)
        connection.setInFlightMessages(inFlight.size)
        return connection
      }),
    )
    return info
  }

  /** A unary method that needs the leader. */
  const method =
    (Response: Message, work: (options: Message, response: Message) => void) => (call: Message, answer: Answer) => {
      if (controls.hanging) return
      try {
        controls.checkLeader()
        const response = new Response()
        work(call.request.getOptions(), response)
        answer(null, response)
      } catch (reason) {
        answer(toFailure(reason))
      }
    }

  return {
    create: method(proto.CreateResp, (options) => {
      const source = options.hasAll()
        ? '$all'
        : nameOf(options.getStreamIdentifier() ?? options.getStream().getStreamIdentifier())
      const name = options.getGroupName()
      if (groups.has(keyOf(source, name))) throw exists(source, name)
      const settings = options.getSettings()
      const named = ['DispatchToSingle', 'RoundRobin', 'Pinned'][settings.getNamedConsumerStrategy()] ?? 'RoundRobin'
      const group: Group = {
        source,
        name,
        settings: settingsOf(settings, settings.getConsumerStrategy() || named),
        isWanted: source === '$all' ? filterOf(options.getAll()) : ({ stream }) => stream === source,
        next: 0,
        waiting: [],
        parked: [],
        consumers: [],
        pins: new Map(),
        turn: 0,
        lastKnown: undefined,
      }
      const start = source === '$all' ? options.getAll() : options.getStream()
      if (start.hasEnd()) group.next = log.records.length
      else if (source === '$all' && start.hasPosition()) {
        const position = Number(start.getPosition().getCommitPosition())
        group.next = log.indexOf(position)
        if (log.records[group.next]?.position === position) group.next++
      } else if (source !== '$all' && !start.hasStart()) {
        const revision = Number(start.getRevision())
        group.next = log.records.findIndex((record) => record.stream === source && record.revision >= revision)
        if (group.next < 0) group.next = log.records.length
      }
      groups.set(keyOf(source, name), group)
    }),

    update: method(proto.UpdateResp, (options) => {
      const source = options.hasAll()
        ? '$all'
        : nameOf(options.getStreamIdentifier() ?? options.getStream().getStreamIdentifier())
      const group = groups.get(keyOf(source, options.getGroupName()))
      if (!group) throw missing(source, options.getGroupName())
      group.settings = settingsOf(options.getSettings(), group.settings.strategy)
      dropConsumers(group)
    }),

    delete: method(proto.DeleteResp, (options) => {
      const group = find(options)
      groups.delete(keyOf(group.source, group.name))
      dropConsumers(group)
    }),

    getInfo: method(proto.GetInfoResp, (options, response) => response.setSubscriptionInfo(infoOf(find(options)))),

    list: method(proto.ListResp, (options, response) => {
      const source = options.hasListForStream()
        ? options.getListForStream().hasAll()
          ? '$all'
          : nameOf(options.getListForStream().getStream())
        : undefined
      const found = [...groups.values()].filter((group) => source === undefined || group.source === source)
      if (found.length === 0) throw missing(source ?? '', '')
      response.setSubscriptionsList(found.map(infoOf))
    }),

    replayParked: method(proto.ReplayParkedResp, (options) => {
      const group = find(options)
      const count = options.hasStopAt() ? Number(options.getStopAt()) : group.parked.length
      const replayed = group.parked.splice(0, count).map(({ record }) => ({ record, retryCount: 0 }))
      group.waiting.unshift(...replayed)
      setImmediate(() => pump(group))
    }),

    read(call: Message) {
      let joined: { group: Group; consumer: Consumer } | undefined
      call.on('cancelled', () => joined && leave(joined.group, joined.consumer))
      call.on('end', () => {
        if (joined) leave(joined.group, joined.consumer)
        call.end()
      })
      call.on('data', (request: Message) => {
        if (controls.hanging) return
        try {
          if (joined) return handle(joined.group, joined.consumer, request)
          controls.checkLeader()
          const options = request.getOptions()
          const group = find(options)
          const { maxSubscribers } = group.settings
          if (maxSubscribers > 0 && group.consumers.length >= maxSubscribers) {
            throw new Failure(
              status.FAILED_PRECONDITION,
              `Maximum subscriptions reached for subscription group ${group.name} on stream ${group.source}.`,
              trailers('maximum-subscribers-reached', group.source, group.name),
            )
          }
          const form = options.getUuidOption()?.hasString() ? 'string' : 'structured'
          const consumer: Consumer = { call, form, slots: options.getBufferSize() || 10, inFlight: new Map() }
          joined = { group, consumer }
          const confirmation = new proto.ReadResp.SubscriptionConfirmation()
          confirmation.setSubscriptionId(crypto.randomUUID())
          const response = new proto.ReadResp()
          response.setSubscriptionConfirmation(confirmation)
          call.write(response)
          group.consumers.push(consumer)
          pump(group)
        } catch (reason) {
          refuse(call, reason)
        }
      })
    },
  }

  function dropConsumers(group: Group): void {
    for (const consumer of [...group.consumers]) {
      leave(group, consumer)
      refuse(
        consumer.call,
        new Failure(
          status.CANCELLED,
          `Subscription group ${group.name} on stream ${group.source} was dropped.`,
          trailers('persistent-subscription-dropped', group.source, group.name),
        ),
      )
    }
  }
}

const bucketOf = (stream: string) => createHash('sha1').update(stream).digest().readUInt32BE(0) % BUCKETS
