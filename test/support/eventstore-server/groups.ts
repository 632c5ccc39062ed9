/** The persistent-subscriptions service: groups are made, changed, asked about and joined here; see group.ts for the rest. */
import { status } from '@grpc/grpc-js'
import { type Controls, notReady } from './controls.ts'
import { type Consumer, createGroup, type Group, type GroupDefinition, type Nack, type Settings } from './group.ts'
import type { Log, LogRecord } from './log.ts'
import {
  asTrailer,
  Failure,
  filterOf,
  idOf,
  type Message,
  messages,
  nameOf,
  readEventOf,
  refuse,
  resolveLink,
  toFailure,
} from './wire.ts'

const { groups: proto } = messages
const END_REVISION = '18446744073709551615'
/** By their numbers; what is unknown is tried again. */
const NACKS: readonly Nack[] = ['retry', 'park', 'retry', 'skip', 'skip']
const STRATEGIES = ['DispatchToSingle', 'RoundRobin', 'Pinned']
const BY_CORRELATION = 'PinnedByCorrelation'
const PAST_END =
  'Invalid Start From position: commit position must be less than or equal to the last commit position in the transaction file.'
const LARGE_BATCH =
  "Specified argument was out of the range of valid values. (Parameter 'ReadBatchSize may not be greater than or equal to BufferSize')"
const TICK_MS = 1_000
const STARTING_MS = 100

type Answer = (error: unknown, response?: Message) => void
type Source = Pick<GroupDefinition, 'source' | 'name'>

/** One set for all nodes of a cluster: the groups are part of its log, and the leader runs them. */
export function createGroups(log: Log) {
  const groups = new Map<string, Group>()
  /** How each group's consumers are told that they are let go. */
  const drops = new Map<Consumer, (failure: Failure) => void>()
  const keyOf = ({ source, name }: Source) => `${source}::${name}`

  let isStarting = false

  let scheduled = false
  log.onAppend(() => {
    if (scheduled) return
    scheduled = true
    setImmediate(() => {
      scheduled = false
      for (const group of groups.values()) group.pump()
    })
  })
  setInterval(() => {
    for (const group of groups.values()) group.tick()
  }, TICK_MS).unref()

  /** Of the methods' options: the group that they name. Older clients name a stream in another place. */
  function sourceOf(options: Message): Source {
    const name: string = options.getGroupName()
    if (options.hasAll()) return { source: '$all', name }
    return { source: nameOf(options.getStreamIdentifier() ?? options.getStream().getStreamIdentifier()), name }
  }

  function find(options: Message): Group {
    const wanted = sourceOf(options)
    const group = groups.get(keyOf(wanted))
    if (!group) throw failure('missing', wanted)
    return group
  }

  function startOf(
    options: Message,
    source: string,
  ): Pick<GroupDefinition, 'from' | 'startFrom'> & { revision: number } {
    const all = source === '$all'
    const place = all ? options.getAll() : options.getStream()
    const revision: string = all ? '0' : (place ?? options.getSettings()).getRevision()
    const start = { from: 'start', startFrom: all ? 'C:0/P:0' : '0', revision: 0 } as const
    if (place?.hasStart() || (!all && revision === '0')) return start
    if (place?.hasEnd() || revision === END_REVISION) {
      return { from: 'end', startFrom: all ? 'C:-1/P:-1' : '-1', revision: 0 }
    }
    if (!all)
      return {
        from: log.visible(source).events[Number(revision)] ?? 'end',
        startFrom: revision,
        revision: Number(revision),
      }
    const position = place.getPosition()
    const [commit, prepare] = [position.getCommitPosition(), position.getPreparePosition()]
    if (commit === '0') return start
    if (BigInt(prepare) > BigInt(commit)) throw new Failure(status.UNKNOWN, 'Exception was thrown by handler.')
    // The server takes the largest number for the end.
    if (commit === END_REVISION) return { from: 'end', startFrom: 'C:-1/P:-1', revision: 0 }
    if (Number(commit) > (log.records.at(-1)?.position ?? 0)) throw rejected(sourceOf(options), PAST_END)
    const record = log.records[log.indexOf(Number(commit))]
    const isBoundary = record?.position === Number(commit)
    return { from: isBoundary ? record : 'invalid', startFrom: `C:${commit}/P:${prepare}`, revision: 0 }
  }

  function define(options: Message): Group {
    const { source, name } = sourceOf(options)
    const { revision, ...start } = startOf(options, source)
    const isInSource = (record: LogRecord) => source === '$all' || record.stream === source
    const isWanted = source === '$all' ? filterOf(options.getAll()) : (record: LogRecord) => record.revision >= revision
    const settings = options.getSettings()
    const strategy = settings.getConsumerStrategy() || (STRATEGIES[settings.getNamedConsumerStrategy()] ?? 'RoundRobin')
    if (![...STRATEGIES, BY_CORRELATION].includes(strategy)) {
      throw rejected({ source, name }, `Consumer strategy ${strategy} does not exist.`)
    }
    if (settings.getReadBatchSize() >= settings.getHistoryBufferSize()) throw rejected({ source, name }, LARGE_BATCH)
    return createGroup(log, { source, name, ...start, isInSource, isWanted }, settingsOf(settings, strategy))
  }

  function dropConsumers(group: Group): void {
    for (const consumer of [...group.consumers]) {
      group.leave(consumer)
      drops.get(consumer)?.(failure('dropped', group))
    }
  }

  /** A unary method that needs the leader. */
  const method =
    (Response: Message, work: (options: Message, response: Message) => void, asks = false) =>
    (controls: Controls, call: Message, answer: Answer) => {
      try {
        // Who asks is told so; who wants something done goes to the leader, and is forgotten by one that is starting.
        if (asks && (isStarting || controls.role().state !== 'LEADER')) throw notReady()
        controls.admit('group', call.metadata)
        if (isStarting) return
        const response = new Response()
        work(call.request.getOptions(), response)
        answer(null, response)
      } catch (reason) {
        answer(toFailure(reason))
      }
    }

  const handlers: Record<string, (controls: Controls, call: Message, answer: Answer) => void> = {
    create: method(proto.CreateResp, (options) => {
      const source = sourceOf(options)
      if (groups.has(keyOf(source))) throw failure('exists', source)
      groups.set(keyOf(source), define(options))
    }),

    update: method(proto.UpdateResp, (options) => {
      const group = find(options)
      const settings = settingsOf(options.getSettings(), group.settings().strategy)
      dropConsumers(group)
      group.restart(settings)
    }),

    delete: method(proto.DeleteResp, (options) => {
      const group = find(options)
      groups.delete(keyOf(group))
      dropConsumers(group)
    }),

    getInfo: method(
      proto.GetInfoResp,
      (options, response) => response.setSubscriptionInfo(infoOf(find(options))),
      true,
    ),

    list: method(
      proto.ListResp,
      (options, response) => {
        const one = options.getListForStream()
        const source = one ? (one.hasAll() ? '$all' : nameOf(one.getStream())) : undefined
        const found = [...groups.values()].filter((group) => source === undefined || group.source === source)
        if (source !== undefined && found.length === 0) throw failure('missing', { source, name: '' })
        response.setSubscriptionsList(found.map(infoOf))
      },
      true,
    ),

    replayParked: method(proto.ReplayParkedResp, (options) => {
      find(options).replayParked(options.hasStopAt() ? Number(options.getStopAt()) : undefined)
    }),

    read(controls, call) {
      let joined: { readonly group: Group; readonly consumer: Consumer } | undefined
      const leave = () => {
        if (!joined) return
        joined.group.leave(joined.consumer)
        drops.delete(joined.consumer)
        joined = undefined
      }
      call.on('cancelled', leave)
      call.on('end', () => {
        leave()
        call.end()
      })
      call.on('data', (request: Message) => controls.whenAwake(() => take(request)))

      function take(request: Message): void {
        try {
          if (joined) {
            const { group, consumer } = joined
            if (request.hasAck()) group.ack(consumer, request.getAck().getIdsList().map(idOf))
            else if (request.hasNack()) {
              const nack = request.getNack()
              group.nack(consumer, nack.getIdsList().map(idOf), NACKS[nack.getAction()] ?? 'retry')
            }
            return
          }
          if (!request.hasOptions()) return // of a consumer that was let go
          controls.admit('group', call.metadata)
          if (isStarting) return
          joined = join(call, request.getOptions())
        } catch (reason) {
          refuse(call, reason)
        }
      }
    },
  }

  function join(call: Message, options: Message): { readonly group: Group; readonly consumer: Consumer } | undefined {
    const group = find(options)
    if (options.getBufferSize() < 0) throw new Failure(status.UNKNOWN, 'Exception was thrown by handler.')
    if (group.isFull()) throw failure('full', group)
    const confirmation = new proto.ReadResp.SubscriptionConfirmation()
    confirmation.setSubscriptionId(`${group.source}::${group.name}`)
    const confirmed = new proto.ReadResp()
    confirmed.setSubscriptionConfirmation(confirmation)
    call.write(confirmed)
    if (group.from === 'invalid') throw failure('dropped', group)
    const form = options.getUuidOption()?.hasString() ? 'string' : 'structured'
    const consumer: Consumer = {
      slots: options.getBufferSize(),
      name: String(call.metadata.get('connection-name')[0] ?? ''),
      total: 0,
      inFlight: new Map(),
      deliver(record, retryCount) {
        const resolved = group.settings().resolveLinks ? resolveLink(log, record) : { record }
        const event = readEventOf(resolved, form, proto)
        event.setRetryCount(retryCount)
        const response = new proto.ReadResp()
        response.setEvent(event)
        call.write(response)
      },
    }
    drops.set(consumer, (reason) => {
      drops.delete(consumer)
      refuse(call, reason)
    })
    group.join(consumer)
    return { group, consumer }
  }

  return {
    /** Those of one node. */
    handlers: (controls: Controls): Record<string, (call: Message, answer: Answer) => void> =>
      Object.fromEntries(
        Object.entries(handlers).map(([name, handler]) => [name, (call, answer) => handler(controls, call, answer)]),
      ),
    /** As a restart of the server does. */
    restart() {
      drops.clear()
      for (const group of groups.values()) group.restart()
    },
    /** As a node does that no longer leads. */
    end() {
      for (const group of groups.values()) {
        dropConsumers(group)
        group.restart()
      }
    },
    /** As a node does that has just become the leader: while it reads what groups there are, it answers nobody. */
    begin() {
      isStarting = true
      setTimeout(() => {
        isStarting = false
      }, STARTING_MS).unref()
    },
  }
}

function settingsOf(message: Message, strategy: string): Settings {
  const milliseconds = (name: 'MessageTimeout' | 'CheckpointAfter') =>
    message[`has${name}Ms`]() ? message[`get${name}Ms`]() : Number(message[`get${name}Ticks`]()) / 10_000
  return {
    maxRetryCount: message.getMaxRetryCount(),
    messageTimeout: milliseconds('MessageTimeout'),
    maxSubscribers: message.getMaxSubscriberCount(),
    strategy,
    checkpointAfter: milliseconds('CheckpointAfter'),
    minCheckpoint: message.getMinCheckpointCount(),
    maxCheckpoint: message.getMaxCheckpointCount(),
    historyBuffer: message.getHistoryBufferSize(),
    liveBuffer: message.getLiveBufferSize(),
    readBatch: message.getReadBatchSize(),
    resolveLinks: message.getResolveLinks(),
    extraStatistics: message.getExtraStatistics(),
  }
}

const FAILURES = {
  exists: [status.ALREADY_EXISTS, 'persistent-subscription-exists', (group: string) => `${group} exists.`],
  missing: [status.NOT_FOUND, 'persistent-subscription-does-not-exist', (group: string) => `${group} does not exist.`],
  full: [
    status.FAILED_PRECONDITION,
    'maximum-subscribers-reached',
    (group: string) => `Maximum subscriptions reached for ${group.replace(/^S/, 's')}.`,
  ],
  dropped: [status.CANCELLED, 'persistent-subscription-dropped', (group: string) => `${group} was dropped.`],
} as const

function failure(kind: keyof typeof FAILURES, { source, name }: Source): Failure {
  const [code, exception, text] = FAILURES[kind]
  return new Failure(code, text(`Subscription group ${name} on stream ${source}`), {
    exception,
    'stream-name': asTrailer(source),
    'group-name': asTrailer(name),
  })
}

/** A group that can't be made as it was asked for. */
function rejected({ source, name }: Source, reason: string): Failure {
  return new Failure(status.INTERNAL, `Subscription group ${name} on stream ${source} failed: '${reason}'`, {
    exception: 'persistent-subscription-failed',
    'stream-name': asTrailer(source),
    'group-name': asTrailer(name),
    reason,
  })
}

function infoOf(group: Group): Message {
  const { checkpoint, lastKnown, parked, waiting, retries } = group.state()
  const settings = group.settings()
  const inFlight = group.consumers.reduce((sum, consumer) => sum + consumer.inFlight.size, 0)
  const place = (record: LogRecord | undefined) => {
    if (record === undefined) return ''
    return group.source === '$all' ? `C:${record.position}/P:${record.position}` : String(record.revision)
  }
  const info = new proto.SubscriptionInfo()
  info.setEventSource(group.source)
  info.setGroupName(group.name)
  info.setStatus('Live')
  info.setStartFrom(group.startFrom)
  info.setLastCheckpointedEventPosition(place(checkpoint))
  info.setLastKnownEventPosition(place(lastKnown))
  info.setParkedMessageCount(String(parked))
  info.setReadBufferCount(waiting)
  info.setRetryBufferCount(retries)
  info.setTotalInFlightMessages(inFlight)
  info.setOutstandingMessagesCount(inFlight)
  info.setTotalItems(String(group.consumers.reduce((sum, { total }) => sum + total, 0)))
  info.setNamedConsumerStrategy(settings.strategy)
  info.setMaxRetryCount(settings.maxRetryCount)
  info.setMessageTimeoutMilliseconds(settings.messageTimeout)
  info.setMaxSubscriberCount(settings.maxSubscribers)
  info.setCheckPointAfterMilliseconds(settings.checkpointAfter)
  info.setMinCheckPointCount(settings.minCheckpoint)
  info.setMaxCheckPointCount(settings.maxCheckpoint)
  info.setBufferSize(settings.historyBuffer)
  info.setLiveBufferSize(settings.liveBuffer)
  info.setReadBatchSize(settings.readBatch)
  info.setResolveLinkTos(settings.resolveLinks)
  info.setExtraStatistics(settings.extraStatistics)
  info.setConnectionsList(
    group.consumers.map((consumer) => {
      const connection = new proto.SubscriptionInfo.ConnectionInfo()
      connection.setConnectionName(consumer.name)
      connection.setTotalItems(String(consumer.total))
      connection.setAvailableSlots(consumer.slots - consumer.inFlight.size)
      connection.setInFlightMessages(consumer.inFlight.size)
      return connection
    }),
  )
  return info
}
