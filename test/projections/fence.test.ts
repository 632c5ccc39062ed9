/** Marks, lease and fence of an instance, where calls of the stores are refused, lost or late: one at a time, in order. */
import t, { type Test } from 'tap'
import { type EventStore, EventStoreUnavailable, WrongExpectedRevision } from '../../eventstore/port.ts'
import { newestEvent } from '../../eventstore/read.ts'
import { ReadModelUnavailable } from '../../projections/errors.ts'
import { coverLog } from '../../projections/fence/coverage.ts'
import { createMarks, type Marks } from '../../projections/fence/marks.ts'
import { registerStream } from '../../projections/fence/register.ts'
import type { ReadModel } from '../../projections/read-model.ts'
import { startProjection } from '../../projections/worker/worker.ts'
import { SILENT } from '../../runtime/log.ts'
import type { FenceEvent } from '../../schema/events.ts'
import { until, untilDone } from '../support/until.ts'
import { appendHistories, openStores, someHistories } from './support.ts'

const STREAM = 'readModelFence'
type Register = FenceEvent['data']

/** What a test does in place of the stores' own calls. */
interface Faults {
  /** By what it has a lease when it begins. Default: it trusts something. */
  hasLease?: (trusted: ReadonlySet<string> | undefined) => boolean
  /** Awaited before the register is read. */
  beforeRead?: (() => Promise<void>) | undefined
  /** In place of an append to the register. */
  replace?: ((register: Register, append: () => Promise<unknown>) => Promise<unknown>) | undefined
  /** Whether the read model refuses marks. */
  refuses?: boolean | undefined
  /** Awaited before a mark is written. */
  beforeMark?: ((id: number, revision: number) => Promise<void>) | undefined
  /** The incarnation that has taken a mark; default: the read model's own. */
  markedIn?: string | undefined
  /** The incarnations that the instance reaches; default: the read model's own. */
  reached?: readonly string[] | undefined
  /** In place of a probe. */
  probe?: (() => Promise<readonly string[]>) | undefined
}

type Stores = Awaited<ReturnType<typeof openStores>>

/** An instance's marks, over stores that fail as the test says. */
async function startInstance(t: Test, stores?: Stores, faults: Faults = {}) {
  const { eventStore, readModel } = stores ?? (await openStores(t))
  const marked: (readonly [id: number, revision: number])[] = []
  const altered: EventStore = {
    ...eventStore,
    async append(stream, events, options) {
      const append = () => eventStore.append(stream, events, options)
      if (stream !== STREAM || !faults.replace) return append()
      return (await faults.replace(events[0]?.data as Register, append)) as ReturnType<typeof append>
    },
    async *readStream(stream, options) {
      if (stream === STREAM) await faults.beforeRead?.()
      yield* eventStore.readStream(stream, options)
    },
  }
  const failing: ReadModel = {
    ...readModel,
    async acknowledge(id, revision) {
      if (faults.refuses) throw new ReadModelUnavailable('It refuses marks.')
      await faults.beforeMark?.(id, revision)
      marked.push([id, revision])
      const incarnation = await readModel.acknowledge(id, revision)
      return faults.markedIn ?? incarnation
    },
    async incarnations() {
      const found = await readModel.incarnations()
      return faults.reached ? { reached: faults.reached, isWhole: true } : found
    },
    probe: () => faults.probe?.() ?? readModel.probe(),
  }
  const marks = createMarks({ eventStore: altered, readModel: failing, log: SILENT })
  t.teardown(async () => {
    for (const name of Object.keys(faults)) delete faults[name as keyof Faults]
    await marks.close()
  })
  const register = async () => (await newestEvent<FenceEvent>(eventStore, STREAM))?.data as Register
  const { hasLease = (trusted) => (trusted?.size ?? 0) > 0 } = faults
  await until('it has a lease', () => hasLease(marks.trusted()))
  return { eventStore, readModel, marks, faults, marked, register }
}

const lost = () => Promise.reject(new EventStoreUnavailable('Nobody knows what has become of it.'))
/** Repeated where the machine stood still for longer than an acknowledgement may take. */
const acknowledged = ({ acknowledge }: Marks, id: number, revision: number) =>
  untilDone('it is acknowledged', () => acknowledge(id, revision))
/** Long enough for whatever waits for nothing. */
const turns = async () => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
}
const never = () => new Promise<never>(() => {})
const aSecond = async () => {
  const began = performance.now()
  await until('a second is over', () => performance.now() - began > 1_000)
}

t.jobs = 4 // most of it is waiting

t.test('a fence whose lifting was sent, and lost, is relied on again once it is raised anew', async (t) => {
  const { marks, faults, register } = await startInstance(t)
  faults.refuses = true
  await acknowledged(marks, 1, 0)
  t.equal((await register()).fences.length, 1)

  let again: Promise<void> | undefined
  faults.replace = async ({ fences }, append) => {
    if (fences.length > 0) return append()
    faults.refuses = true
    again = acknowledged(marks, 1, 1)
    await until('the mark is owed', () => marks.outstanding(1) === 1)
    return lost()
  }
  faults.refuses = false
  await until('its lifting is lost', () => again !== undefined)
  await again
  t.equal((await register()).fences.length, 1)
})

t.test('nor while its lifting may come late, also where the first attempt to raise it anew is lost', async (t) => {
  const { marks, faults, register } = await startInstance(t)
  faults.refuses = true
  await acknowledged(marks, 1, 0)

  let again: Promise<void> | undefined
  let late = async (): Promise<unknown> => t.fail('it was not lifted')
  let attempts = 0
  faults.replace = async ({ fences }, append) => {
    if (fences.length > 0) return ++attempts === 1 ? lost() : append()
    faults.refuses = true
    late = append
    again = acknowledged(marks, 1, 1)
    await until('the mark is owed', () => marks.outstanding(1) === 1)
    return lost()
  }
  faults.refuses = false
  await until('its lifting is lost', () => again !== undefined)
  await again
  await t.rejects(late(), WrongExpectedRevision, 'it can no longer take effect')
  t.equal((await register()).fences.length, 1)
})

t.test('what is acknowledged under a fence: nobody has a lease of before by then', async (t) => {
  const stores = await openStores(t)
  const [one, two] = [await startInstance(t, stores), await startInstance(t, stores)]
  two.faults.beforeRead = never
  one.faults.refuses = true
  const first = acknowledged(one.marks, 1, 0)
  await until('the fence is raised', async () => (await one.register()).fences.length === 1)
  await turns()
  await acknowledged(one.marks, 2, 0)
  t.equal(two.marks.trusted(), undefined)
  await first
  two.faults.beforeRead = undefined
  const later = await startInstance(t, stores, { hasLease: (trusted) => trusted !== undefined })
  t.same([...(later.marks.trusted() ?? ['no lease'])], [], 'and who has one trusts nothing')
})

t.test('a fence that is asked about is not relied on before it is answered', async (t) => {
  const { eventStore, marks, faults } = await startInstance(t)
  faults.refuses = true
  await acknowledged(marks, 1, 0)
  const stream = registerStream(eventStore)
  const answered = Promise.withResolvers<void>()
  let isAnswering = false
  faults.replace = async (_, append) => {
    isAnswering = true
    await answered.promise
    return append()
  }
  const now = await stream.load()
  await stream.replace(now, { ...now, fences: now.fences.map((fence) => ({ ...fence, challenger: 'another' })) })
  await until('it is about to answer', () => isAnswering)
  let isAcknowledged = false
  const acknowledging = acknowledged(marks, 1, 1).then(() => {
    isAcknowledged = true
  })
  await turns()
  t.equal(isAcknowledged, false)
  answered.resolve()
  await acknowledging
  t.match((await stream.load()).fences, [{ challenger: null, answers: 1 }])
})

t.test('a mark where it never counts: the others are fenced off, and it is owed', async (t) => {
  const { marks, faults, marked, register } = await startInstance(t)
  faults.markedIn = 'elsewhere'
  await acknowledged(marks, 1, 0)
  t.equal((await register()).fences.length, 1)
  const before = marked.length
  await until('it is written again', () => marked.length > before + 1)
  t.equal(marks.outstanding(1), 0)
})

t.test('a mark without a lease: whether it counts is not known', async (t) => {
  const { marks, faults } = await startInstance(t)
  faults.beforeRead = lost
  await until('the lease is over', () => marks.trusted() === undefined)
  await t.rejects(marks.acknowledge(1, 0), EventStoreUnavailable)
})

t.test('a replica is not trusted', async (t) => {
  const { register } = await startInstance(t, undefined, { reached: ['', 'here'] })
  t.same((await register()).trusted, ['here'])
})

t.test('the register: of two changes to one state, the first counts; its stream is kept short', async (t) => {
  const { eventStore } = await openStores(t)
  const [one, two] = [registerStream(eventStore), registerStream(eventStore)]
  const loaded = await one.load()
  t.match(await one.replace(loaded, { ...loaded, trusted: ['one'] }), { revision: 0 })
  t.equal(await two.replace(loaded, { ...loaded, trusted: ['two'] }), undefined)
  t.match(await two.load(), { revision: 0, trusted: ['one'] })
  t.match(await eventStore.getStreamMetadata(STREAM), { $maxCount: 1 })
})

t.test('what a new incarnation alone has: nobody has a lease of before by then, and it is noted first', async (t) => {
  const stores = await openStores(t)
  const [one, two] = [await startInstance(t, stores), await startInstance(t, stores)]
  two.faults.beforeRead = never
  one.faults.reached = ['next']
  one.faults.markedIn = 'next'
  await acknowledged(one.marks, 1, 0)
  t.equal(two.marks.trusted(), undefined)
  const { settling, retired, fences } = await one.register()
  t.match({ settling, retired }, { settling: [{ incarnation: 'next' }], retired: [/./] })
  t.same(fences, [], 'and needs no fence')
  t.same([...(one.marks.trusted() ?? [])], [], 'not before the log is covered')
})

t.test('a new incarnation is trusted once all that the log has is marked there, and nowhere else', async (t) => {
  const stores = await openStores(t)
  const { eventStore, readModel } = stores
  const projection = startProjection({ eventStore, readModel })
  await appendHistories(eventStore, someHistories(1))
  await projection.caughtUp()
  await projection.stop()
  await appendHistories(eventStore, [{ ...someHistories(1)[0], id: 2 } as never])
  const { faults, marked, register } = await startInstance(t, stores)
  faults.reached = ['next']
  faults.markedIn = 'elsewhere'
  await until('the log is covered, in vain', () => marked.length > 1)
  t.same((await register()).trusted, [])
  faults.markedIn = 'next'
  await until('it is trusted', async () => (await register()).trusted.includes('next'))
  t.ok(marked.some(([id]) => id === 2))
})

t.test('covering the log: what documents have needs no mark; each mark has to count', async (t) => {
  const { eventStore, readModel } = await openStores(t)
  const written: (readonly [id: number, revision: number])[] = []
  let refused = 0
  const marking: ReadModel = {
    ...readModel,
    async acknowledge(id, revision) {
      written.push([id, revision])
      return id === refused ? 'elsewhere' : 'here'
    },
  }
  const cover = () => coverLog(eventStore, marking, (incarnation) => incarnation === 'here')
  t.equal(await cover(), false, 'there are no documents')
  const past = someHistories(2)
  const projection = startProjection({ eventStore, readModel })
  await appendHistories(eventStore, past)
  await projection.caughtUp()
  await projection.stop()
  t.equal(await cover(), true)
  const [first] = past
  const more = Array.from({ length: 502 }, (_, index) => ({ id: index + 3, events: first?.events.slice(0, 2) ?? [] }))
  await appendHistories(eventStore, more)
  written.length = 0
  t.equal(await cover(), true)
  const isDocumented = (id: number) => id <= past.length
  t.same(new Map(written.filter(([id]) => !isDocumented(id))), new Map(more.map(({ id }) => [id, 1])))
  const again = new Set(written.map(([id]) => id).filter(isDocumented))
  t.equal(again.size, 1, 'none of those before the checkpoint: the event there is read again')
  for (refused of [3, 504]) t.equal(await cover(), false, `the mark of ${refused} did not count`)

  const checkpoint = await readModel.getCheckpoint()
  const filling = { ...marking, getCheckpoint: async () => checkpoint && { ...checkpoint, complete: false } }
  refused = 0
  t.equal(await coverLog(eventStore, filling, () => true), false, 'the documents are not complete')
})

t.test('a lease lasts a second, by both clocks, from before the register was read', async (t) => {
  const { marks, faults } = await startInstance(t)
  const { now } = Date
  t.teardown(() => {
    Date.now = now
  })
  Date.now = () => now() + 1_000
  t.equal(marks.trusted(), undefined, 'the other clock says so')
  Date.now = now
  const monotonic = performance.now()
  Object.defineProperty(performance, 'now', { value: () => monotonic + 2_000, configurable: true })
  const trusted = marks.trusted()
  Reflect.deleteProperty(performance, 'now')
  t.equal(trusted, undefined, 'the monotonic clock says so')
  let reads = 0
  const released = Promise.withResolvers<void>()
  faults.beforeRead = () => {
    reads++
    return released.promise
  }
  await until('it is read', () => reads === 1)
  await aSecond()
  t.equal(marks.trusted(), undefined)
  faults.beforeRead = never
  released.resolve()
  for (let turn = 0; turn < 20; turn++) {
    await turns()
    if (marks.trusted() !== undefined) t.fail('it was asked for too long ago')
  }
})

t.test('marks: what is shown already is not written, and an older one is no news', async (t) => {
  const { marks, marked } = await startInstance(t)
  await marks.acknowledge(1, 3, 3)
  t.same(marked, [], 'it is known to be shown')
  await marks.acknowledge(1, 3)
  await marks.acknowledge(1, 3)
  await marks.acknowledge(1, 2)
  t.same(marked, [[1, 3]])
  marks.note(2, 5)
  marks.note(2, 4)
  await marks.acknowledge(2, 5)
  t.same(marked, [[1, 3]])
  marks.forget()
  await marks.acknowledge(1, 0)
  t.same(marked.slice(1), [[1, 0]], 'another log')
})

t.test('marks that are owed: the newest of each customer, until it is written', async (t) => {
  const { marks, faults, marked } = await startInstance(t)
  faults.refuses = true
  await Promise.all([acknowledged(marks, 1, 5), acknowledged(marks, 1, 4)])
  t.equal(marks.outstanding(1), 5)
  await acknowledged(marks, 2, 5)
  await acknowledged(marks, 1, 7)
  t.same([marks.outstanding(1), marks.outstanding(2), marks.outstanding(3)], [7, 5, -1])
  t.same(marked, [])

  const writing = Promise.withResolvers<void>()
  const held = Promise.withResolvers<void>()
  faults.beforeMark = async (id, revision) => {
    if (id !== 1 || revision !== 7) return
    writing.resolve()
    await held.promise
  }
  faults.refuses = false
  await until('the first is written', () => marks.outstanding(2) === -1)
  await writing.promise
  await acknowledged(marks, 1, 8)
  t.equal(marks.outstanding(1), 8)
  held.resolve()
  await until('the older one is written', () => marked.some(([, revision]) => revision === 7))
  await until('and the newer one', () => marked.some(([, revision]) => revision === 8))
  await until('none is owed', () => marks.outstanding(1) === -1)

  faults.refuses = true
  await acknowledged(marks, 1, 9)
  marks.forget()
  t.equal(marks.outstanding(1), -1, 'of another log')
})

t.test('an instance that ends writes what it owes, and lifts its fence', async (t) => {
  const { marks, faults, marked, register } = await startInstance(t)
  faults.refuses = true
  await acknowledged(marks, 1, 5)
  t.equal((await register()).fences.length, 1)
  faults.refuses = false
  await marks.close()
  t.same(marked, [[1, 5]])
  t.same((await register()).fences, [])
  faults.beforeRead = async () => void t.fail('the register is read still')
  await aSecond()
})

t.test('and leaves it to others where it still owes something', async (t) => {
  const { marks, faults, register } = await startInstance(t)
  faults.refuses = true
  await acknowledged(marks, 1, 5)
  await marks.close()
  t.equal((await register()).fences.length, 1)
})

t.test(
  'without a lease: what took a write of this instance, where the event store is away and no fence was seen',
  async (t) => {
    const { eventStore, marks, faults, register } = await startInstance(t)
    const [trusted = ''] = (await register()).trusted
    let probes = 0
    faults.probe = async () => {
      probes++
      return [trusted, 'another']
    }
    t.same([...(await marks.trustedWithoutLease())], [], 'the event store answers')
    t.equal(probes, 0)
    faults.beforeRead = lost
    await until('it is away', () => marks.trusted() === undefined)
    t.same([...(await marks.trustedWithoutLease())], [trusted])
    t.same([...(await marks.trustedWithoutLease())], [trusted])
    await aSecond()
    faults.probe = () => Promise.reject(new ReadModelUnavailable('It refuses writes.'))
    t.same([...(await marks.trustedWithoutLease())], [], 'the write is too long ago')

    await aSecond()
    const probing = Promise.withResolvers<readonly string[]>()
    faults.probe = () => probing.promise
    const asked = marks.trustedWithoutLease()
    const stream = registerStream(eventStore)
    const now = await stream.load()
    const fence = { writer: 'another', challenger: null, answers: 0 }
    await stream.replace(now, { ...now, period: 'p', fences: [fence] })
    faults.beforeRead = undefined
    await until('the event store is back, with a fence', () => marks.trusted()?.size === 0)
    faults.beforeRead = lost
    marks.missed()
    probing.resolve([trusted])
    t.same([...(await asked)], [], 'a fence was seen meanwhile')
  },
)

t.test('an event store that has just refused a read is away, as is one that is silent, until it answers', async (t) => {
  const { marks, faults, register } = await startInstance(t)
  const { trusted } = await register()
  faults.beforeRead = never
  marks.missed()
  t.same([...(await marks.trustedWithoutLease())], trusted)
  faults.beforeRead = undefined
  const silent = await startInstance(t)
  silent.faults.beforeRead = never
  await until('it is silent', async () => (await silent.marks.trustedWithoutLease()).size > 0)

  const back = await startInstance(t)
  back.faults.beforeRead = lost
  await until('the lease is over', () => back.marks.trusted() === undefined)
  back.faults.beforeRead = undefined
  await until('it is back', () => back.marks.trusted() !== undefined)
  t.same([...(await back.marks.trustedWithoutLease())], [])
})

t.test('a fence that was seen last: nothing is trusted without a lease', async (t) => {
  const { marks, faults } = await startInstance(t)
  faults.refuses = true
  await acknowledged(marks, 1, 0)
  faults.beforeRead = lost
  marks.missed()
  t.same([...(await marks.trustedWithoutLease())], [])
})
