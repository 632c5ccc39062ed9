/**
 * The read model in Redis: a server, a Sentinel group or a Cluster, which other programs may use too.
 *
 * `customer:{generation}`    which generation is live (a hash: `live`, and a field for each one there is)
 * `customer:{owed-scrubs}`   scrubs that are owed (a hash, a field for each)
 * `customer:{ID}:revision`   the mark: the newest revision that was acknowledged
 * `customer:{ID}`            the revision, a blank, the document as JSON
 * `customer:{checkpoint}`    the checkpoint, and the epoch of the filling that it belongs to
 * `customer:{newest}`        the newest event that a document may reflect
 * `customer:{parked}`        events that can't be applied (a hash by customer)
 * `customer:probe:{TAG}`     for a minute: a server took a write
 * `customer:seal:{TAG}`      whether queries may see the slot's documents: one for each slot; without a Cluster one for all
 *
 * Documents, checkpoint, newest event, parked events and seals are the first generation's; of generation N they begin with
 * `customer:N:`.
 *
 * A mark that is lost must not make an old document look new. A flush loses all marks of a server; a start from an
 * older snapshot, or a replica that takes over, loses the newest. What was lost can't be seen in the keys that are left,
 * so each slot has a seal, `complete:RUN`, where RUN is the server's incarnation: a master's `master_replid`, another one
 * after each start and each promotion. A query reads document, mark and seal by one script in one slot, and has no document unless the seal is there
 * and of the server that answers. So from the very moment of a loss queries fold the stream; no instance has to be told.
 *
 * The seal comes back when the worker has reached the end of the log once more: by then the documents hold everything
 * that was acknowledged before the loss. The first checkpoint, or the one after a loss, begins an epoch: `filling:EPOCH:RUN`
 * in each slot that has no whole seal. The first complete checkpoint turns these into `complete:RUN`; where one is no
 * longer there, the slot suffered a loss meanwhile, and it begins again. `getCheckpoint` is where a loss is noticed
 * (the worker calls it every two seconds): if the seal is broken, what is stored is called incomplete. One server's keys
 * are all of the same moment, so the worker goes on from the checkpoint that is left. In a Cluster a node may have lost
 * what the checkpoint on another one counts as done: there the checkpoint is dropped and all events are applied again,
 * while queries go on from the slots that are whole. (A slot that is moved to another node counts as lost too.)
 *
 * An epoch lasts two seconds at least: an instance of the subgraph that has not connected again after a restart keeps its
 * marks to itself that long.
 *
 * Anything may stand in these keys: what can't be read counts as not there (stored.ts), and gives way to what is written.
 *
 * Redis must not evict keys (`maxmemory-policy noeviction`, the default) and the user needs the command INFO.
 */
import { setTimeout as delay } from 'node:timers/promises'
import {
  type Checkpoint,
  type DocumentWrite,
  type Generation,
  type ReadModel,
  type ReadModelEntry,
  sameCheckpoint,
  UNKNOWN,
} from '../read-model.ts'
import { readNumber, readParked } from '../stored.ts'
import { ALL, connectRedis, REFUSED, type RedisCommands, unlessRefused } from './connection.ts'
import { slotOf, tagOfEachSlot } from './slots.ts'
import {
  format,
  formatPlace,
  liveIn,
  parse,
  parseDocument,
  parsePlace,
  readText,
  type Stored,
  toCheckpoint,
} from './values.ts'

/** The most that is sent before the answers are awaited. */
const BATCH = { commands: 1_000, characters: 1_000_000 }
/** Documents that one script writes. */
const CHUNK = 100

/**
 * After a restart of Redis an instance of the subgraph may take a second to connect again, and its marks wait until then:
 * the documents may not be called complete before. Milliseconds; longer than the longest back-off of a connection.
 */
const SETTLE_MS = 2_000

const PROBE_KEPT_MS = 60_000

/**
 * @param url see url.ts; the connection is made in the background and again after each loss
 * @param options.generation the one to work on; default: the live one, as of the first use and of each `follow`
 * @param options.prefix what all keys begin with; default `customer`
 * @param options.settleMs how long an epoch lasts at least; default {@link SETTLE_MS}
 * @throws TypeError for a URL or a prefix that can't be used
 */
export function openRedisReadModel(
  url: string,
  {
    generation,
    prefix = 'customer',
    settleMs = SETTLE_MS,
  }: { readonly generation?: number | undefined; readonly prefix?: string; readonly settleMs?: number } = {},
): ReadModel {
  if (!/^[\w.:-]+$/.test(prefix)) throw new TypeError('A key prefix consists of letters, digits and _ . : -')
  const redis = connectRedis(url)
  const isCluster = redis.kind === 'cluster'
  const sealTags = isCluster ? tagOfEachSlot() : [ALL]
  const generationsKey = `${prefix}:{generation}`
  const owedKey = `${prefix}:{owed-scrubs}`
  const probeKey = (tag: string) => `${prefix}:probe:{${tag}}`
  const markKey = (id: number) => `${prefix}:{${id}}:revision`
  const ownPrefix = (of: number) => (of === 1 ? prefix : `${prefix}:${of}`)
  /** The generation that this handle works on, and what its keys begin with; '' as long as it is not known. */
  let current = generation ?? 0
  let own = generation === undefined ? '' : ownPrefix(generation)
  const checkpointKey = () => `${own}:{checkpoint}`
  const newestKey = () => `${own}:{newest}`
  const parkedKey = () => `${own}:{parked}`
  const documentKeyOf = (prefix: string, id: number) => `${prefix}:{${id}}`
  const documentKey = (id: number) => documentKeyOf(own, id)
  const sealKey = (tag: string) => `${own}:seal:{${tag}}`
  /** The seal in the slot of a hash tag. */
  const sealOf = (tag: string) => sealKey(sealTags[isCluster ? slotOf(tag) : 0] as string)
  /** The checkpoint that was seen last, as it is stored; '' for none. */
  let seen = ''
  /** The epoch that was met last, and when that was. */
  let filling = { epoch: '', since: 0 }

  /** Runs one command for each item, in batches; the answers are in the items' order. */
  async function each<T, R>(
    items: readonly T[],
    command: (commands: RedisCommands, item: T) => Promise<R>,
    size: (item: T) => number = () => 0,
  ): Promise<R[]> {
    const answers: R[] = []
    for (let start = 0; start < items.length; ) {
      let end = start
      for (let total = 0; end < items.length && end - start < BATCH.commands && total < BATCH.characters; end++) {
        total += size(items[end] as T)
      }
      const batch = items.slice(start, end)
      answers.push(...(await redis.call((commands) => Promise.all(batch.map((item) => command(commands, item))))))
      start = end
    }
    return answers
  }

  /** One step of all seals (see the script `stepSeals`). @returns whether all are complete after it */
  async function stepSeals(step: 'begin' | 'complete' | 'check', epoch = ''): Promise<boolean> {
    const broken = await onEachServer(sealTags.map(sealKey), (commands, seals) =>
      commands.stepSeals(seals[0] as string, step, epoch, ...seals),
    )
    return broken.every((count) => count === 0)
  }

  /** Runs a command for the seals of each server, or for each one where slots have moved and it is not known whose they are. */
  async function onEachServer<R>(
    seals: readonly string[],
    command: (commands: RedisCommands, seals: readonly string[]) => Promise<R>,
  ): Promise<R[]> {
    const servers = Map.groupBy(seals, (_, index) => redis.serverOf(sealTags[index] as string))
    const answers = [...servers.values()].map(async (own) => {
      const answer = await redis.call((commands) => command(commands, own).catch(unlessRefused))
      return answer === REFUSED ? each(own, (commands, seal) => command(commands, [seal])) : [answer]
    })
    return (await Promise.all(answers)).flat()
  }

  /** Replaces the checkpoint; `begin` starts an epoch. Gives what is stored, and whether the seal beside it was broken. */
  function replace(expected: string, next: Stored, step: 'begin' | 'go on') {
    return redis.call((commands) =>
      commands.setCheckpoint(checkpointKey(), sealOf('checkpoint'), expected, format(next), next.epoch, step),
    )
  }

  /** After a loss: what is stored is not complete any more. */
  async function demote(stored: string): Promise<void> {
    if (isCluster) {
      await redis.call((commands) => commands.dropValue(checkpointKey(), stored))
      return
    }
    const last = parse(stored)
    if (last) await replace(stored, { ...last, complete: false, epoch: crypto.randomUUID() }, 'begin')
  }

  async function readHash(key: string): Promise<Map<string, string>> {
    const flat = await redis.call((commands) => commands.readHash(key))
    return new Map(
      Array.from({ length: flat.length / 2 }, (_, index) => [flat[2 * index] ?? '', flat[2 * index + 1] ?? '']),
    )
  }

  async function goOver(to: number): Promise<number> {
    if (to !== current) {
      current = to
      own = ownPrefix(to)
      seen = ''
      if (to !== 1) await redis.call((commands) => commands.setField(generationsKey, String(to), ''))
    }
    return current
  }

  const live = async () => liveIn(await readHash(generationsKey))

  /** Before the first use of a key whose name depends on the generation. */
  async function begin(): Promise<void> {
    if (own === '') await goOver(await live())
    else if (!registered && generation !== undefined) {
      registered = true
      await redis.call((commands) => commands.setField(generationsKey, String(generation), ''))
    }
  }
  let registered = false

  /** A handle's work needs its generation. */
  const begun =
    <A extends unknown[], R>(work: (...values: A) => Promise<R>) =>
    async (...values: A): Promise<R> => {
      if (own === '' || (generation !== undefined && !registered)) await begin()
      return work(...values)
    }

  async function drop(pattern: string, isOurs: (key: string) => boolean): Promise<void> {
    for await (const keys of redis.scan(pattern)) {
      const ours = keys.filter(isOurs)
      if (ours.length > 0) await redis.call((commands) => commands.dropKeys(ours[0] as string, ...ours))
    }
  }

  const readCheckpoint = async () =>
    (await redis.call((commands) => readText(commands, checkpointKey()), 'checkpoint')) ?? ''

  async function getCheckpoint(): Promise<Checkpoint | null> {
    const stored = await readCheckpoint()
    const checkpoint = toCheckpoint(stored)
    if (!checkpoint?.complete || (await stepSeals('check'))) {
      seen = stored
      return checkpoint
    }
    await demote(stored)
    return getCheckpoint()
  }

  async function setCheckpoint(next: Checkpoint, expected: Checkpoint | null): Promise<Checkpoint | null> {
    if (!sameCheckpoint(toCheckpoint(seen), expected)) {
      seen = await readCheckpoint()
      const stored = toCheckpoint(seen)
      if (!sameCheckpoint(stored, expected)) return stored
    }
    const before = seen
    const last = parse(before)
    const epoch = last?.epoch ?? crypto.randomUUID()
    if (filling.epoch !== epoch) filling = { epoch, since: Date.now() }
    if (last && next.complete && !last.complete) {
      const wait = filling.since + settleMs - Date.now()
      if (wait > 0) await delay(wait)
      if (!(await stepSeals('complete', epoch))) {
        await demote(before)
        return getCheckpoint()
      }
    }
    // A new epoch begins incomplete, also where it is complete at once: its seals have to be seen to stay.
    const wanted = { ...next, complete: last !== null && next.complete, epoch }
    const [stored, broken] = await replace(before, wanted, last ? 'go on' : 'begin')
    if (broken === 1) {
      await demote(before)
      return getCheckpoint()
    }
    seen = stored
    if (stored !== format(wanted)) return setCheckpoint(next, expected) // what was seen last was out of date
    if (!last) await stepSeals('begin', epoch)
    return wanted.complete === next.complete ? next : setCheckpoint(next, { ...next, complete: false })
  }

  async function putAll(writes: readonly DocumentWrite[]): Promise<number[]> {
    const values = writes.map(({ document, expected }: DocumentWrite) => ({
      key: documentKey(document.id),
      expected: String(expected),
      value: `${document.revision} ${JSON.stringify(document)}`,
    }))
    const revisions = writes.map(({ document }) => document.revision)
    const notWritten: number[] = []
    const refuse = (index: number, stored: number) => {
      revisions[index] = stored
      notWritten.push(index)
    }
    if (isCluster) {
      const answers = await each(
        values,
        (commands, { key, expected, value }) => commands.putDocument(key, expected, value),
        ({ value }) => value.length,
      )
      for (const [index, stored] of answers.entries()) if (stored !== null) refuse(index, stored)
      return replaceUnreadable()
    }
    // On one server many documents share a script: that takes half the time.
    const chunks = inChunks(values, CHUNK)
    const refused = await each(
      chunks,
      (commands, chunk) =>
        commands.putDocuments(
          chunk[0]?.key ?? '',
          ...chunk.flatMap(({ key, expected, value }) => [key, expected, value]),
        ),
      (chunk) => chunk.reduce((sum, { value }) => sum + value.length, 0),
    )
    for (const [chunk, pairs] of refused.entries()) {
      for (let i = 0; i < pairs.length; i += 2) refuse(chunk * CHUNK + (pairs[i] as number), pairs[i + 1] as number)
    }
    return replaceUnreadable()

    /** What stands in a document's way and is none is removed, and the write made again if it expected nothing there. */
    async function replaceUnreadable(): Promise<number[]> {
      const there = await each(notWritten, (commands, index) => readText(commands, values[index]?.key ?? ''))
      for (const [at, index] of notWritten.entries()) {
        const found = there[at] ?? null
        const { document } = writes[index] as DocumentWrite
        const { key, expected, value } = values[index] as (typeof values)[number]
        if (found === null || parseDocument(found, document.id)) continue
        await redis.call((commands) => commands.dropValue(key, found))
        if (expected !== '-1') revisions[index] = -1
        else {
          const stored = await redis.call((commands) => commands.putDocument(key, expected, value))
          revisions[index] = stored ?? document.revision
        }
      }
      return revisions
    }
  }

  /** From then on queries see no document of this generation. */
  async function dropSeals(): Promise<void> {
    await onEachServer(sealTags.map(sealKey), (commands: RedisCommands, keys: readonly string[]) =>
      commands.dropKeys(keys[0] as string, ...keys),
    )
  }

  const readModel: ReadModel = {
    generation: begun(async () => current),

    wanted: async () => generation ?? (await live()),

    async follow() {
      if (generation === undefined) return goOver(await live())
      await begin()
      return generation
    },

    generations: begun(async () => {
      const known = await readHash(generationsKey)
      const liveOne = liveIn(known)
      const numbers = new Set([...known.keys()].flatMap((field) => readNumber(field) || [])).add(liveOne)
      const found: Generation[] = []
      for (const number of [...numbers].sort((a, b) => a - b)) {
        const stored = await redis.call((commands) => readText(commands, `${ownPrefix(number)}:{checkpoint}`))
        found.push({ number, live: number === liveOne, checkpoint: toCheckpoint(stored ?? '') })
      }
      return found
    }),

    async switchGeneration(from, to) {
      const switched = await redis.call((commands) =>
        commands.switchGeneration(generationsKey, String(from), String(to)),
      )
      return switched === 1
    },

    async dropGeneration(number) {
      if (number === (await live())) throw new RangeError(`Generation ${number} is live; it can't be dropped.`)
      const gone = ownPrefix(number)
      // The checkpoint first: what is half gone must not be taken for whole.
      await redis.call((commands) => commands.dropKeys(`${gone}:{checkpoint}`, `${gone}:{checkpoint}`))
      await drop(`${gone}:seal:{*`, () => true)
      await drop(`${gone}:{*`, (key) => !isShared(key))
      await redis.call((commands) => commands.dropField(generationsKey, String(number)))
    },

    async *customers() {
      await begin()
      const form = `${own}:{`
      for await (const keys of redis.scan(`${form}*}`)) {
        const ids = keys
          .map((key) => Number(key.slice(form.length, -1)))
          .filter((id) => Number.isSafeInteger(id) && id > 0)
        if (ids.length > 0) yield ids
      }
    },

    differing: begun((ids, other) =>
      select(ids, (commands, chunk) => {
        const pairs = chunk.flatMap((id) => [documentKey(id), documentKeyOf(ownPrefix(other), id)])
        return commands.compareDocuments(pairs[0] as string, ...pairs)
      }),
    ),

    lacking: begun((ids) =>
      select(ids, (commands, chunk) => {
        const keys = chunk.map(documentKey)
        return commands.missingDocuments(keys[0] as string, ...keys)
      }),
    ),

    park: begun(async (event) => {
      await redis.call((commands) => commands.setField(parkedKey(), String(event.customerId), JSON.stringify(event)))
    }),

    unpark: begun(async (customerId) => {
      await redis.call((commands) => commands.dropField(parkedKey(), String(customerId)))
    }),

    parked: begun(async () => {
      const events = [...(await readHash(parkedKey())).values()].flatMap(readParked)
      return events.sort((a, b) => a.customerId - b.customerId)
    }),

    get: begun((ids, trusted) =>
      Promise.all(
        ids.map(async (id): Promise<ReadModelEntry> => {
          const tag = String(id)
          const [document, mark, incarnation] = await redis.call(
            (commands) => commands.readCustomer(sealOf(tag), documentKey(id), markKey(id)),
            tag,
          )
          if (trusted && !trusted.has(incarnation)) return UNKNOWN
          const acknowledged = mark === null ? -1 : readNumber(mark)
          // Without its mark nobody knows whether a document is behind.
          if (acknowledged === undefined) return { document: null, acknowledged: -1 }
          return { document: parseDocument(document, id), acknowledged }
        }),
      ),
    ),

    documents: begun(async (ids) => {
      const values = await each(ids, (commands, id) => readText(commands, documentKey(id)))
      return values.map((value, index) => parseDocument(value, ids[index] as number))
    }),

    acknowledge: (id, revision) =>
      redis.call((commands) => commands.raiseMark(markKey(id), String(revision)), String(id)),

    async incarnations() {
      const tags = await redis.tagOfEachServer()
      const answers = await Promise.allSettled(
        tags.map((tag) => redis.call((commands) => commands.incarnation(probeKey(tag)), tag)),
      )
      const reached = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []))
      const [first] = answers
      if (reached.length === 0 && first?.status === 'rejected') throw first.reason
      return { reached, isWhole: reached.length === answers.length }
    },

    async probe() {
      const tags = await redis.tagOfEachServer()
      return Promise.all(
        tags.map((tag) => redis.call((commands) => commands.probe(probeKey(tag), String(PROBE_KEPT_MS)), tag)),
      )
    },

    put: begun(async (writes, newest) => {
      // Sent first, without waiting for the answer: on one server it is stored before the documents are.
      const raising = newest && redis.call((commands) => commands.raisePlace(newestKey(), formatPlace(newest)))
      raising?.catch(() => {}) // met below, unless the documents fail too
      const revisions = await putAll(writes)
      await raising
      return revisions
    }),

    newest: begun(async () => parsePlace(await redis.call((commands) => readText(commands, newestKey()), 'newest'))),

    distrust: begun(dropSeals),

    getCheckpoint: begun(getCheckpoint),
    setCheckpoint: begun(setCheckpoint),

    reset: begun(async () => {
      const isLive = current === (await live())
      // The checkpoint and the seals first: a document must not outlive its mark where queries see it. And once more at
      // the end: what another worker has filled in meanwhile may have lost documents here, so it has to begin again.
      const dropCheckpoint = async () => {
        await redis.call((commands) => commands.dropKeys(checkpointKey(), checkpointKey()))
        await dropSeals()
      }
      await dropCheckpoint()
      await drop(`${own}:{*`, (key) => !isShared(key) && key !== newestKey())
      if (isLive) await drop(`${prefix}:{*}:revision`, () => true)
      await dropCheckpoint()
      // Last: where this is cut short, the documents that are left are still known to be another log's.
      await redis.call((commands) => commands.dropKeys(newestKey(), newestKey()))
    }),

    forget: begun(async (ids) => {
      const others = (await readModel.generations()).filter(({ number }) => number !== current)
      const keys = others.flatMap(({ number }) => ids.map((id) => ({ id, key: documentKeyOf(ownPrefix(number), id) })))
      const values = await each(keys, (commands, { key }) => readText(commands, key))
      const known = keys.flatMap(({ id, key }, index) => {
        const value = values[index] ?? null
        return value !== null && parseDocument(value, id)?.status !== 'deleted' ? [{ key, value }] : []
      })
      await each(known, (commands, { key, value }) => commands.dropValue(key, value))
    }),

    async oweScrub() {
      await redis.call((commands) => commands.setField(owedKey, crypto.randomUUID(), ''))
    },

    isScrubOwed: async () => (await readHash(owedKey)).size > 0,

    async scrub() {
      const owed = [...(await readHash(owedKey)).keys()]
      await redis.scrub()
      await each(owed, (commands, id) => commands.dropField(owedKey, id))
    },

    ping: begun(async () => {
      await readCheckpoint()
    }),

    close: redis.close,
  }
  return readModel

  /** Those of the ids whose numbers a script names, asked in chunks. */
  async function select(
    ids: readonly number[],
    ask: (commands: RedisCommands, chunk: readonly number[]) => Promise<number[]>,
  ): Promise<number[]> {
    const size = isCluster ? 1 : CHUNK // in a Cluster the keys of several customers are not on one server
    const answers = await each(inChunks(ids, size), ask)
    return answers.flatMap((numbers, chunk) => numbers.map((number) => ids[chunk * size + number] as number))
  }

  /** Of all generations: the marks, which one is live, and the scrubs that are owed. */
  function isShared(key: string): boolean {
    return key === generationsKey || key === owedKey || key.endsWith('}:revision')
  }
}

function inChunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  )
}
