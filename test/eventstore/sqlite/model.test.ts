/** Any sequence of operations gives the results that a small model in memory gives. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import type { EventStore, ExpectedRevision, NewEvent, StreamMetadata } from '../../../eventstore/port.ts'
import { openSqliteEventStore } from '../../../eventstore/sqlite/event-store.ts'
import { all, anEvent, caughtUp, pull } from '../../contract/event-store.ts'

interface ModelStream {
  /** Every id that was ever written, by revision. */
  history: string[]
  metadata: StreamMetadata
  hasMetadata: boolean
  deleted: boolean
  tombstoned: boolean
  /** Events below are no longer on the disk. */
  purged: number
  /** Ids that this opening of the store has written, with their last revision. */
  remembered: Map<string, number>
}

type Expectation = 'any' | 'no_stream' | 'stream_exists' | 'current' | 'lower' | 'higher'
type Operation = { readonly stream: number } & (
  | { readonly kind: 'append'; readonly expectation: Expectation; readonly count: number }
  | { readonly kind: 'repeat'; readonly which: number; readonly change: 'none' | 'last' | 'more' }
  | { readonly kind: 'delete' | 'tombstone'; readonly expectation: Expectation }
  | { readonly kind: 'metadata'; readonly metadata: StreamMetadata }
  | { readonly kind: 'read'; readonly backwards: boolean; readonly from: number; readonly maxCount: number }
  | { readonly kind: 'reopen' }
)

const stream = fc.nat({ max: 1 })
const expectation = fc.constantFrom<Expectation>('any', 'no_stream', 'stream_exists', 'current', 'lower', 'higher')
const metadata = fc.oneof(
  fc.constant({}),
  fc.record({ $maxCount: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ $tb: fc.nat({ max: 8 }) }),
  fc.record({ $maxCount: fc.integer({ min: 1, max: 4 }), $tb: fc.nat({ max: 8 }) }),
)
const kind = <K extends string>(name: K) => fc.constant(name)
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: kind('append'), stream, expectation, count: fc.integer({ min: 1, max: 3 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: kind('repeat'),
      stream,
      which: fc.nat({ max: 20 }),
      change: fc.constantFrom('none', 'none', 'last', 'more'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: kind('delete'), stream, expectation }) },
  { weight: 3, arbitrary: fc.record({ kind: kind('metadata'), stream, metadata }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: kind('read'),
      stream,
      backwards: fc.boolean(),
      from: fc.nat({ max: 12 }),
      maxCount: fc.integer({ min: 1, max: 5 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: kind('tombstone'), stream, expectation }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('reopen'), stream }) },
)

const newStream = (): ModelStream => ({
  history: [],
  metadata: {},
  hasMetadata: false,
  deleted: false,
  tombstoned: false,
  purged: 0,
  remembered: new Map(),
})
const lastOf = ({ history }: ModelStream) => history.length - 1

function numberOf(model: ModelStream, wanted: Expectation): ExpectedRevision {
  if (wanted === 'current') return lastOf(model) < 0 ? 'no_stream' : lastOf(model)
  if (wanted === 'lower') return Math.max(0, lastOf(model) - 1)
  return wanted === 'higher' ? lastOf(model) + 1 : wanted
}

/** An error's name, or nothing where the stream is as expected. */
function refusal(model: ModelStream, expected: ExpectedRevision): string | undefined {
  if (model.tombstoned) return 'StreamDeleted'
  if (expected === 'any') return undefined
  if (expected === 'stream_exists') {
    if (model.deleted) return 'StreamDeleted'
    return lastOf(model) >= 0 || model.hasMetadata ? undefined : 'WrongExpectedRevision'
  }
  const matches = expected === 'no_stream' ? lastOf(model) < 0 || model.deleted : expected === lastOf(model)
  return matches ? undefined : 'WrongExpectedRevision'
}

/** The revision that an append gives, or its error's name. */
function modelAppend(model: ModelStream, events: readonly NewEvent[], expected: ExpectedRevision): number | string {
  const refused = refusal(model, expected)
  if (refused === 'StreamDeleted') return refused
  const [first] = events
  if (expected === 'any' || expected === 'stream_exists') {
    if (refused) return refused
    const start = model.remembered.get(first?.id ?? '')
    if (start !== undefined) {
      const same = events.every(({ id }, index) => model.remembered.get(id) === start + index)
      return same ? start + events.length - 1 : 'WrongExpectedRevision'
    }
  } else {
    const start = expected === 'no_stream' ? 0 : expected + 1
    if (start <= lastOf(model)) {
      const known = events.every(({ id }, index) => model.remembered.get(id) === start + index)
      const there = start >= model.purged && events.every(({ id }, index) => model.history[start + index] === id)
      if (known || there) return start + events.length - 1
    }
    if (refused) return refused
  }
  if (model.deleted) model.metadata = { ...model.metadata, $tb: model.history.length }
  if (model.deleted) model.deleted = false
  for (const { id } of events) {
    model.remembered.set(id, model.history.length)
    model.history.push(id)
  }
  model.purged = Math.min(firstVisible(model), model.history.length)
  return lastOf(model)
}

function firstVisible(model: ModelStream): number {
  const { $tb = 0, $maxCount = Number.POSITIVE_INFINITY } = model.metadata
  return Math.max(model.purged, $tb, model.history.length - $maxCount)
}

function modelRead(model: ModelStream, backwards: boolean, from: number, maxCount: number): string[] | string {
  if (model.tombstoned) return 'StreamDeleted'
  if (model.deleted || lastOf(model) < 0) return 'StreamNotFound'
  const visible = model.history.map((id, revision) => ({ id, revision })).slice(firstVisible(model))
  const found = backwards
    ? visible.filter(({ revision }) => revision <= from).toReversed()
    : visible.filter(({ revision }) => revision >= from)
  return found.slice(0, maxCount).map(({ id, revision }) => `${revision} ${id}`)
}

const nameOf = (error: unknown) => (error as Error).name

async function read(store: EventStore, name: string, backwards: boolean, from: number, maxCount: number) {
  const direction = backwards ? 'backwards' : 'forwards'
  try {
    const events = await all(store.readStream(name, { direction, from, maxCount }))
    return events.map(({ id, revision }) => `${revision} ${id}`)
  } catch (error) {
    return nameOf(error)
  }
}

t.test('the store does what the model does', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'eventstore-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  let files = 0

  const property = fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 40 }), async (operations) => {
    const path = join(folder, `${++files}.db`)
    let store = openSqliteEventStore({ path })
    const models = [newStream(), newStream()]
    const appended: { stream: number; events: NewEvent[]; expected: ExpectedRevision }[] = []
    const same = (actual: unknown, wanted: unknown, what: string) => {
      if (JSON.stringify(actual) !== JSON.stringify(wanted)) {
        throw new Error(`${what}: the store says ${JSON.stringify(actual)}, the model ${JSON.stringify(wanted)}`)
      }
    }
    try {
      for (const [step, operation] of operations.entries()) {
        const model = models[operation.stream] as ModelStream
        const name = `s-${operation.stream}`
        const what = `${step} ${JSON.stringify(operation)}`
        if (operation.kind === 'append' || operation.kind === 'repeat') {
          let events: NewEvent[]
          let expected: ExpectedRevision
          if (operation.kind === 'append') {
            events = Array.from({ length: operation.count }, () => anEvent(step))
            expected = numberOf(model, operation.expectation)
            appended.push({ stream: operation.stream, events, expected })
          } else {
            const earlier = appended.filter((each) => each.stream === operation.stream)
            const repeated = earlier[operation.which % earlier.length]
            if (repeated === undefined) continue
            ;({ events, expected } = repeated)
            if (operation.change === 'last') events = [...events.slice(0, -1), anEvent(step)]
            if (operation.change === 'more') events = [...events, anEvent(step)]
          }
          const outcome = await store.append(name, events, { expected }).then(({ revision }) => revision, nameOf)
          same(outcome, modelAppend(model, events, expected), what)
        } else if (operation.kind === 'delete' || operation.kind === 'tombstone') {
          const expected = numberOf(model, operation.expectation)
          let wanted = refusal(model, expected)
          if (operation.kind === 'delete' && !wanted && lastOf(model) < 0) wanted = 'WrongExpectedRevision'
          const act = operation.kind === 'delete' ? store.deleteStream : store.tombstoneStream
          same(await act(name, { expected }).then(() => undefined, nameOf), wanted, what)
          if (!wanted && operation.kind === 'delete') {
            model.deleted = model.hasMetadata = true
            model.purged = model.history.length
          }
          if (!wanted && operation.kind === 'tombstone') model.tombstoned = true
        } else if (operation.kind === 'metadata') {
          const wanted = model.tombstoned ? 'StreamDeleted' : undefined
          same(await store.setStreamMetadata(name, operation.metadata).then(() => undefined, nameOf), wanted, what)
          if (wanted) continue
          const { $tb = 0 } = operation.metadata
          const hidden = model.deleted ? { $tb: Math.max($tb, model.history.length) } : {}
          model.purged = Math.max(model.purged, Math.min($tb, model.history.length))
          Object.assign(model, { metadata: { ...operation.metadata, ...hidden }, hasMetadata: true, deleted: false })
          same(await store.getStreamMetadata(name), model.metadata, what)
        } else if (operation.kind === 'read') {
          const { backwards, from, maxCount } = operation
          same(await read(store, name, backwards, from, maxCount), modelRead(model, backwards, from, maxCount), what)
        } else {
          await store.close()
          store = openSqliteEventStore({ path })
          for (const each of models) each.remembered.clear()
        }
        same(await read(store, name, false, 0, 1000), modelRead(model, false, 0, 1000), `${what}, then a read`)
        same(await read(store, name, true, 1000, 1000), modelRead(model, true, 1000, 1000), `${what}, then backwards`)
      }

      const forwards = await all(store.readAll())
      same(
        (await all(store.readAll({ direction: 'backwards' }))).map(({ id }) => id),
        forwards.map(({ id }) => id).toReversed(),
        'the log backwards',
      )
      for (const [index, model] of models.entries()) {
        const inLog = forwards.filter(({ stream }) => stream === `s-${index}`)
        const wanted = model.tombstoned ? [] : model.history.slice(model.purged)
        const events = inLog.filter(({ type }) => type !== '$streamDeleted')
        same(
          events.map(({ id }) => id),
          wanted,
          `the log of ${index}`,
        )
      }
      const subscription = store.subscribeToAll({ from: 'start', batchSize: 3 })
      const { events } = await pull(subscription, caughtUp)
      same(
        events.map(({ id }) => id),
        forwards.map(({ id }) => id),
        'a subscription',
      )
    } finally {
      await store.close()
    }
  })
  await fc.assert(property, { numRuns: 100, interruptAfterTimeLimit: 8_000, markInterruptAsFailure: false })
})
