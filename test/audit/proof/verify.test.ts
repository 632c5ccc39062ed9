/** Whatever is done to a log behind the service's back, verification finds it, and names it. */
import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import t from 'tap'
import { coverageOf } from '../../../audit/proof/coverage.ts'
import { writeCheckpoint } from '../../../audit/proof/signed-checkpoints.ts'
import { lastVerification } from '../../../audit/proof/verifications.ts'
import { type FaultKind, type Verification, verifyLog } from '../../../audit/proof/verify.ts'
import { verifyCommand } from '../../../audit/subcommands/proof.ts'
import { eventHash } from '../../../eventstore/event-hash.ts'
import { chained } from '../../../eventstore/hash-chain.ts'
import type { EventStore, Json } from '../../../eventstore/port.ts'
import { orNone } from '../../../eventstore/read.ts'
import { collect } from '../../projections/support.ts'
import { builtIn } from '../../support/eventstore-server/server.ts'
import { aKey, aLog, fill, grow, IN_TREE, KINDS, type Row } from './support.ts'

/** A real server's log can't be rewritten under it. */
const FORGES = builtIn('it rewrites the log')

const key = aKey()
const verify = (eventStore: EventStore, keys = [key]) => verifyLog(eventStore, { keys })
const at = (rows: readonly Row[], stream: string, revision: number) =>
  rows.findIndex((row) => row.stream === stream && row.revision === revision)
const text = (content: Buffer, from: string, to: string) => {
  const changed = content.toString().replace(from, to)
  if (changed === content.toString()) throw new Error(`${from} is not in it`)
  return Buffer.from(changed)
}
/** With another event in the place of one. */
function change(rows: readonly Row[], stream: string, revision: number, edit: (row: Row) => Partial<Row>): Row[] {
  const index = at(rows, stream, revision)
  const row = rows[index] as Row
  return rows.with(index, { ...row, ...edit(row) })
}
/** The stream's later events have revisions one further. */
const renumber = (rows: readonly Row[], stream: string, from: number, by: number) =>
  rows.map((row) => (row.stream === stream && row.revision >= from ? { ...row, revision: row.revision + by } : row))
/** As one would who knows how hashes are made. */
function rehash(row: Row, data: Json): Row {
  const { $hash, $previous, ...metadata } = JSON.parse(row.metadata.toString())
  const hash = eventHash({ ...row, data, metadata }, $previous)
  return {
    ...row,
    data: Buffer.from(JSON.stringify(data)),
    metadata: Buffer.from(JSON.stringify({ ...metadata, $previous, $hash: hash })),
  }
}

const stream = 'customer-2'
const without = (rows: readonly Row[], revision: number, name = stream) => rows.toSpliced(at(rows, name, revision), 1)
const forged = (row: Row): Row => ({ ...row, id: crypto.randomUUID() })

/** What is done, and the first fault that is to be found. */
const FORGERIES: Record<string, readonly [(rows: Row[]) => Row[], FaultKind, string, number]> = {
  'a byte of the data': [
    (rows) => change(rows, stream, 3, ({ data }) => ({ data: text(data, 'Ann', 'Bnn') })),
    'altered',
    stream,
    3,
  ],
  'a byte of the metadata': [
    (rows) => change(rows, stream, 0, ({ metadata }) => ({ metadata: text(metadata, 'customer:1', 'customer:2') })),
    'altered',
    stream,
    0,
  ],
  'the type': [(rows) => change(rows, stream, 5, () => ({ type: 'Happenes' })), 'altered', stream, 5],
  'the id': [(rows) => change(rows, stream, 2, forged), 'altered', stream, 2],
  'the stream': [
    (rows) => change(rows, 'customerEmail-a', 0, () => ({ stream: 'customerEmail-b', revision: 1 })),
    'altered',
    'customerEmail-b',
    1,
  ],
  'an event in a stream with a limit': [
    (rows) => change(rows, 'customerCredentials-1', 2, ({ data }) => ({ data: text(data, 'Ann', 'Bnn') })),
    'altered',
    'customerCredentials-1',
    2,
  ],
  'a hash that is taken away': [
    (rows) => change(rows, stream, 2, ({ metadata }) => ({ metadata: text(metadata, '$hash', '$hush') })),
    'inserted',
    stream,
    2,
  ],
  'an event dropped': [(rows) => without(rows, 2), 'removed', stream, 2],
  'the first events of a stream dropped': [(rows) => without(without(rows, 0), 1), 'removed', stream, 0],
  'an event dropped, the others renumbered': [
    (rows) => renumber(without(rows, 2), stream, 3, -1),
    'unlinked',
    stream,
    2,
  ],
  'the first one dropped, the others renumbered': [
    (rows) => renumber(without(rows, 0), stream, 1, -1),
    'removed',
    stream,
    0,
  ],
  'two swapped in the log': [
    (rows) => {
      const [a, b] = [at(rows, stream, 2), at(rows, stream, 3)]
      return rows.with(a, rows[b] as Row).with(b, rows[a] as Row)
    },
    'reordered',
    stream,
    2,
  ],
  'two swapped in their stream': [
    (rows) => {
      const [a, b] = [at(rows, stream, 2), at(rows, stream, 3)]
      return rows.with(a, { ...(rows[b] as Row), revision: 2 }).with(b, { ...(rows[a] as Row), revision: 3 })
    },
    'unlinked',
    stream,
    2,
  ],
  'the contents of two swapped': [
    (rows) => {
      const [a, b] = [rows[at(rows, stream, 2)] as Row, rows[at(rows, stream, 3)] as Row]
      return change(
        change(rows, stream, 2, () => ({ data: b.data })),
        stream,
        3,
        () => ({ data: a.data }),
      )
    },
    'altered',
    stream,
    2,
  ],
  'two of different streams swapped': [
    (rows) => {
      const [a, b] = [at(rows, 'customer-1', 3), at(rows, stream, 3)]
      return rows.with(a, rows[b] as Row).with(b, rows[a] as Row)
    },
    'checkpoint',
    'logCheckpoints',
    0,
  ],
  'one inserted, without a hash': [
    (rows) => {
      const row = rows[at(rows, stream, 3)] as Row
      const added = { ...forged(row), metadata: Buffer.from('{"actor":"x"}') }
      return renumber(rows, stream, 3, 1).toSpliced(at(rows, stream, 3), 0, added)
    },
    'inserted',
    stream,
    3,
  ],
  'one inserted, with a hash of its own': [
    (rows) => {
      const row = rows[at(rows, stream, 3)] as Row
      return renumber(rows, stream, 3, 1).toSpliced(at(rows, stream, 3), 0, rehash(forged(row), { name: 'Eve' }))
    },
    'inserted',
    stream,
    3,
  ],
  'one inserted at the end of its stream, with a hash': [
    (rows) => {
      const row = rows[at(rows, stream, 5)] as Row
      const { $hash } = JSON.parse(row.metadata.toString())
      const metadata = Buffer.from(JSON.stringify({ $previous: $hash }))
      const added = rehash({ ...forged(row), revision: 6, metadata }, { name: 'Eve' })
      return rows.toSpliced(at(rows, stream, 5) + 1, 0, added)
    },
    'checkpoint',
    'logCheckpoints',
    0,
  ],
  'an event altered, its hash made anew': [
    (rows) => change(rows, stream, 3, (row) => rehash(row, { name: 'Eve' })),
    'unlinked',
    stream,
    4,
  ],
  'the last event of a stream altered, its hash made anew': [
    (rows) => change(rows, stream, 5, (row) => rehash(row, { name: 'Eve' })),
    'checkpoint',
    'logCheckpoints',
    0,
  ],
  'the end of a stream cut off': [(rows) => without(rows, 5), 'checkpoint', 'logCheckpoints', 0],
  'a whole stream taken out': [
    (rows) => rows.filter((row) => row.stream !== stream),
    'checkpoint',
    'logCheckpoints',
    0,
  ],
  'the end of the log cut off': [
    (rows) => rows.filter((row, index) => row.stream === 'logCheckpoints' || index < rows.length - 6),
    'checkpoint',
    'logCheckpoints',
    0,
  ],
  'a checkpoint forged': [
    (rows) => change(rows, 'logCheckpoints', 0, ({ data }) => ({ data: text(data, `"size":${IN_TREE}`, '"size":20') })),
    'altered',
    'logCheckpoints',
    0,
  ],
  'a checkpoint forged, its hash made anew': [
    (rows) =>
      change(rows, 'logCheckpoints', 0, (row) =>
        rehash(row, { ...JSON.parse(row.data.toString()), root: 'A'.repeat(43) }),
      ),
    'checkpoint',
    'logCheckpoints',
    0,
  ],
  'the hash of a checkpoint under another name': [
    (rows) => change(rows, 'logCheckpoints', 0, ({ metadata }) => ({ metadata: text(metadata, '$hash', '%hash') })),
    'altered',
    'logCheckpoints',
    0,
  ],
  'a checkpoint that is none': [
    (rows) => change(rows, 'logCheckpoints', 0, (row) => rehash(row, { size: 'all' })),
    'checkpoint',
    'logCheckpoints',
    0,
  ],
}

for (const kind of KINDS) {
  const does = kind === 'kurrentdb' ? FORGES : {}
  t.test(`${kind}: a log that is whole, and each forgery`, does, async (t) => {
    const { eventStore, rows, forge } = await aLog(t, kind)
    await fill(eventStore)
    t.ok(await writeCheckpoint(eventStore, key))
    const whole = await verify(eventStore)
    t.same(whole.faults, [])
    t.match(whole, {
      ok: true,
      withoutHash: 0,
      inTree: IN_TREE,
      covered: IN_TREE,
      checkpoints: { count: 1, good: 1, newest: { size: IN_TREE } },
    })
    const original = rows()
    for (const [name, [edit, fault, where, revision]] of Object.entries(FORGERIES)) {
      forge(edit(original))
      const result = await verify(eventStore)
      t.equal(result.ok, false, name)
      t.match(result.faults[0], { kind: fault, stream: where, revision }, `${name}: ${result.faults[0]?.message}`)
    }
    forge(original)
    t.equal((await verify(eventStore)).ok, true, 'as it was')
  })
}

t.test('any bit of an event that a checkpoint holds', FORGES, async (t) => {
  const { eventStore, rows, forge } = await aLog(t, 'kurrentdb')
  await fill(eventStore)
  await writeCheckpoint(eventStore, key)
  const original = rows()
  const held = original.filter(({ stream }) => stream !== 'customerCredentials-1')
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...held),
      fc.constantFrom('data' as const, 'metadata' as const, 'type' as const),
      fc.nat(),
      fc.integer({ min: 0, max: 7 }),
      async (row, field, offset, bit) => {
        const bytes = Buffer.from(row[field])
        const index = offset % bytes.length
        bytes[index] = (bytes[index] as number) ^ (1 << bit)
        const changed = { ...row, [field]: field === 'type' ? bytes.toString() : bytes }
        forge(original.map((each) => (each === row ? changed : each)))
        const { ok, faults } = await verify(eventStore)
        return !ok && faults.length > 0
      },
    ),
    { numRuns: 120 },
  )
})

t.test('any event dropped, doubled, or moved to another place', FORGES, async () => {
  const { eventStore, rows, forge } = await aLog(t, 'kurrentdb')
  await fill(eventStore)
  await writeCheckpoint(eventStore, key)
  const original = rows()
  const held = original.filter(({ stream }) => stream.startsWith('customer-')).map((row) => original.indexOf(row))
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...held),
      fc.constantFrom('drop', 'double', 'move'),
      fc.integer({ min: 1, max: 5 }),
      async (index, action, by) => {
        const row = original[index] as Row
        const rest = original.toSpliced(index, 1)
        const target = index + by < held.length ? index + by : index - by
        if (action === 'drop') forge(rest)
        else if (action === 'double') forge(original.toSpliced(index + by, 0, row))
        else forge(rest.toSpliced(target, 0, row))
        return !(await verify(eventStore)).ok
      },
    ),
    { numRuns: 100 },
  )
})

t.test('what can not be seen is said', async (t) => {
  const { eventStore, rows, forge } = await aLog(t, 'sqlite')
  await fill(eventStore)
  await writeCheckpoint(eventStore, key)
  await grow(chained(eventStore), 'customer-1', 3, 5)
  t.match(await verify(eventStore), { ok: true, inTree: IN_TREE + 3, covered: IN_TREE })
  forge(rows().slice(0, -3))
  t.match(await verify(eventStore), { ok: true, inTree: IN_TREE, covered: IN_TREE }, 'after the last checkpoint')
})

t.test('a log of several checkpoints: where it differs is told between two of them', async (t) => {
  const { eventStore, rows, forge } = await aLog(t, 'sqlite')
  await fill(eventStore)
  await writeCheckpoint(eventStore, key)
  const store = chained(eventStore)
  await grow(store, 'customer-7', 2)
  await writeCheckpoint(eventStore, key)
  await grow(store, 'customer-8', 2)
  await writeCheckpoint(eventStore, key)
  forge(change(rows(), 'customer-7', 1, (row) => rehash(row, { name: 'Eve' })))
  const { faults, faultCount, checkpoints } = await verify(eventStore)
  t.equal(faultCount, 1, 'the third differs for the same reason')
  t.match(checkpoints, { count: 3, good: 1 })
  const [fault] = faults
  t.match(fault, { kind: 'checkpoint', revision: 1, message: /after position 26 and up to position 29 / })
})

t.test('checkpoints of another key are not believed', async (t) => {
  const { eventStore } = await aLog(t, 'sqlite')
  await fill(eventStore)
  await writeCheckpoint(eventStore, key)
  const other = aKey()
  t.match(await verify(eventStore, [other]), {
    ok: false,
    faults: [{ kind: 'checkpoint', message: new RegExp(other.id) }],
  })
  t.equal((await verify(eventStore, [other, key])).ok, true)
})

t.test('events of before there were hashes are counted, and held by checkpoints', async (t) => {
  const { eventStore, rows, forge } = await aLog(t, 'sqlite')
  await grow(eventStore, 'customer-1', 3)
  await grow(eventStore, 'customer-2', 2)
  const store = chained(eventStore)
  await grow(store, 'customer-1', 2, 2)
  await writeCheckpoint(eventStore, key)
  t.match(await verify(eventStore), { ok: true, hashed: 3, withoutHash: 5, covered: 7 } satisfies Partial<
    Record<keyof Verification, unknown>
  >)
  const original = rows()
  forge(change(original, 'customer-2', 1, ({ data }) => ({ data: text(data, 'Ann', 'Bnn') })))
  t.match((await verify(eventStore)).faults, [{ kind: 'checkpoint' }])
  forge(change(original, 'customer-1', 2, ({ data }) => ({ data: text(data, 'Ann', 'Bnn') })))
  t.match((await verify(eventStore)).faults[0], { kind: 'unlinked', stream: 'customer-1', revision: 3 })
  forge(original)
  await grow(eventStore, 'customer-1', 1, 4)
  t.match((await verify(eventStore)).faults, [{ kind: 'inserted', stream: 'customer-1', revision: 5 }])
})

for (const kind of KINDS) {
  t.test(`${kind}: each whole verification is on record, a stopped one is not`, async (t) => {
    const { eventStore, url } = await aLog(t, kind)
    const stored = async () => collect(orNone(eventStore.readStream('logVerifications')))
    const run = async (keys = [key], signal = new AbortController().signal) => {
      const lines: string[] = []
      const print = (line: string) => void lines.push(line)
      const code = await verifyCommand(eventStore, {
        keys,
        json: false,
        signal,
        print,
        note: print,
        by: 'operator:olga',
      })
      return { code, lines }
    }
    await fill(eventStore)
    t.equal(await lastVerification(eventStore), undefined)
    await writeCheckpoint(eventStore, key)
    await grow(chained(eventStore), 'customer-1', 1, 5)
    t.equal((await run([key], AbortSignal.abort())).code, 130)
    t.equal(await lastVerification(eventStore), undefined, 'stopped')

    const before = (await collect(eventStore.readAll())).length
    t.equal((await run()).code, 0)
    const whole = await lastVerification(eventStore)
    t.match(whole, { by: 'operator:olga', events: before, faults: 0, uncovered: 1, checkpoints: 1 })
    t.ok(Math.abs(Date.now() - Date.parse(whole?.at ?? '')) < 60_000)

    const covered = { covered: IN_TREE, uncovered: 1, isMore: false, newest: { size: IN_TREE, isSigned: true } }
    t.match(await coverageOf(eventStore, [key]), covered)
    t.match(await coverageOf(eventStore, []), {
      covered: 0,
      uncovered: IN_TREE + 1,
      checkpoints: [{ isSigned: false }],
    })

    t.equal((await run([aKey()])).code, 1)
    t.match(await lastVerification(eventStore), {
      events: before + 1,
      faults: 1,
      uncovered: IN_TREE + 1,
      checkpoints: 0,
    })
    t.match(await verify(eventStore), { ok: true, withoutHash: 0 }, 'its own events are linked')
    t.equal((await stored()).length, 2)

    if (kind !== 'sqlite') return
    const database = new DatabaseSync(url.slice('sqlite:'.length), { timeout: 5_000 })
    t.teardown(() => database.close())
    database.exec("CREATE TRIGGER closed BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no more'); END")
    const { code, lines } = await run()
    t.equal(code, 0, 'the outcome is the same')
    t.match(lines.at(-1), /^The outcome holds, but could not be recorded in the log: /)
    t.equal((await stored()).length, 2)
    database.exec("DROP TRIGGER closed; DELETE FROM events WHERE type = 'LogVerified' AND revision = 0")
    t.match((await verify(eventStore)).faults, [{ kind: 'removed', stream: 'logVerifications', revision: 0 }])
  })
}
