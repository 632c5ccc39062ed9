/** Checkpoints as they are written, and proofs of inclusion, by command too. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { LogCheckpointError } from '../../../audit/errors.ts'
import { checkInclusion, type InclusionProof, parseProof, proveInclusion } from '../../../audit/proof/inclusion.ts'
import {
  CHECKPOINT_STREAM,
  startCheckpoints,
  startConfiguredCheckpoints,
  writeCheckpoint,
} from '../../../audit/proof/signed-checkpoints.ts'
import { publicPem, readAuditKey } from '../../../audit/proof/signing-key.ts'
import { verifyLog } from '../../../audit/proof/verify.ts'
import { chained } from '../../../eventstore/hash-chain.ts'
import type { EventStore, ReadAllOptions } from '../../../eventstore/port.ts'
import { orNone } from '../../../eventstore/read.ts'
import { SILENT } from '../../../runtime/log.ts'
import { generateSigningKey } from '../../../runtime/service-keys.ts'
import { runCommand } from '../../support/commands.ts'
import { KEYS } from '../../support/keys.ts'
import { until } from '../../support/until.ts'
import { aKey, aLog, fill, grow, IN_TREE, KINDS } from './support.ts'

const key = aKey()

async function count(eventStore: EventStore, stream: string): Promise<number> {
  const newest = orNone(eventStore.readStream(stream, { direction: 'backwards', maxCount: 1 }))
  for await (const { revision } of newest) return revision + 1
  return 0
}

for (const kind of KINDS) {
  t.test(
    `${kind}: a checkpoint goes on from the one before, and is written where there is something new`,
    async (t) => {
      const { eventStore } = await aLog(t, kind)
      t.equal(await writeCheckpoint(eventStore, key), undefined, 'an empty log')
      await fill(eventStore)
      const starts: unknown[] = []
      const watched: EventStore = {
        ...eventStore,
        readAll(options: ReadAllOptions = {}) {
          starts.push(options.from)
          return eventStore.readAll(options)
        },
      }
      const first = await writeCheckpoint(watched, key)
      t.match(first, { size: IN_TREE, keyId: key.id })
      t.equal(await writeCheckpoint(watched, key), undefined, 'nothing new')
      await grow(chained(eventStore), 'customerCredentials-9', 2)
      t.equal(await writeCheckpoint(watched, key), undefined, 'nothing new that is in the tree')
      for (let round = 1; round <= 9; round++) {
        await grow(chained(eventStore), 'customer-9', 1, 'any')
        t.equal((await writeCheckpoint(watched, key))?.size, IN_TREE + round)
      }
      t.equal(starts[0], 'start')
      t.notOk(starts.slice(1).includes('start'), 'the log is not read again from its start')
      const result = await verifyLog(eventStore, { keys: [key] })
      t.match(result, { ok: true, faults: [], checkpoints: { count: 10, good: 10 } })
    },
  )

  t.test(`${kind}: processes that write one at once write one`, async (t) => {
    const { eventStore } = await aLog(t, kind)
    await fill(eventStore)
    const written = await Promise.all([1, 2, 3].map(() => writeCheckpoint(eventStore, key)))
    t.equal(written.filter((each) => each !== undefined).length, 1)
    t.equal(await count(eventStore, CHECKPOINT_STREAM), 1)
    t.equal((await verifyLog(eventStore, { keys: [key] })).ok, true)
  })

  t.test(`${kind}: every event of a log can be proved`, async (t) => {
    const { eventStore } = await aLog(t, kind)
    await fill(eventStore)
    await t.rejects(proveInclusion(eventStore, key, { stream: 'customer-1', revision: 0 }), /no checkpoint of this key/)
    await writeCheckpoint(eventStore, key)
    for await (const { stream, revision, id } of eventStore.readAll()) {
      if (stream === CHECKPOINT_STREAM || stream.startsWith('customerCredentials')) continue
      const proof = await proveInclusion(eventStore, key, { id }, { content: true })
      t.same(proof, await proveInclusion(eventStore, key, { stream, revision }, { content: true }))
      t.equal(checkInclusion(parseProof(JSON.stringify(proof)), key), undefined, `${revision}@${stream}`)
      t.match(proof.event, { stream, revision, id })
    }
    await grow(chained(eventStore), 'customer-1', 1, 5)
    await t.rejects(proveInclusion(eventStore, key, { stream: 'customer-1', revision: 6 }), /newer than the newest/)
    await t.rejects(proveInclusion(eventStore, key, { stream: 'customer-1', revision: 9 }), /no such event/)
    await t.rejects(proveInclusion(eventStore, key, { stream: 'customerSignIns-1', revision: 0 }), /in no checkpoint/)
  })
}

t.test('a file with something else in the place of the event is no proof', async (t) => {
  const { eventStore } = await aLog(t, 'sqlite')
  await grow(chained(eventStore), 'customer-1', 3, 'no_stream')
  await writeCheckpoint(eventStore, key)
  const proof = await proveInclusion(eventStore, key, { stream: 'customer-1', revision: 1 }, { content: true })
  for (const event of [null, 0, '', false, [], {}, 'x', { ...proof.event, id: 7 }, { ...proof.event, stream: null }]) {
    t.throws(() => parseProof(JSON.stringify({ ...proof, event })), { code: 'AUD_ERR_NO_PROOF' }, JSON.stringify(event))
  }
})

/** With another bit. */
function flip(value: unknown, bit: number): unknown {
  if (typeof value === 'number') return value ^ (1 << (bit % 20))
  const characters = [...String(value)]
  const at = bit % characters.length
  characters[at] = String.fromCodePoint((characters[at]?.codePointAt(0) ?? 0) ^ (1 << (bit % 7)))
  return characters.join('')
}

t.test('a proof of any log with anything changed in it does not hold', async (t) => {
  const { eventStore } = await aLog(t, 'sqlite')
  const store = chained(eventStore)
  let size = 0
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 9 }), fc.nat(), fc.nat(), fc.nat(), async (more, which, place, bit) => {
      await grow(store, 'customer-1', more, size === 0 ? 'no_stream' : size - 1)
      size += more
      await writeCheckpoint(eventStore, key)
      const wanted = { stream: 'customer-1', revision: which % size }
      const proof = await proveInclusion(eventStore, key, wanted, { content: which % 2 === 0 })
      if (checkInclusion(proof, key) !== undefined) return false
      // Any bit of any text or number in it.
      const places: ((change: (value: unknown) => unknown) => InclusionProof)[] = []
      JSON.stringify(proof, function (this: unknown, name, value) {
        if (typeof value === 'object') return value
        const holder = this
        places.push(
          (change) =>
            JSON.parse(
              JSON.stringify(proof, function (this: unknown, key, each) {
                return this === holder && key === name ? change(each) : each
              }),
            ) as InclusionProof,
        )
        return value
      })
      for (let turn = 0; turn < 20; turn++) {
        const changed = places[(place + turn) % places.length]?.((value) => flip(value, bit + turn)) as InclusionProof
        if (checkInclusion(changed, key) === undefined) throw new Error(JSON.stringify(changed))
      }
      return checkInclusion(proof, aKey()) !== undefined
    }),
    { numRuns: 30 },
  )
})

t.test('an id in other letters than the log has is not the proof of it', async (t) => {
  const { eventStore } = await aLog(t, 'sqlite')
  const id = `a${crypto.randomUUID().slice(1)}`
  const event = { id, type: 'Named', data: { name: 'Ann' }, metadata: {} }
  await chained(eventStore).append('customer-1', [event], { expected: 'no_stream' })
  await writeCheckpoint(eventStore, key)
  const proof = await proveInclusion(eventStore, key, { id: id.toUpperCase() }, { content: true })
  t.equal(proof.event?.id, id)
  t.equal(checkInclusion(proof, key), undefined)
  const changed = { ...proof, event: { ...proof.event, id: id.toUpperCase() } } as InclusionProof
  t.equal(checkInclusion(changed, key), 'the event is not what its hash was made of')
})

t.test('nothing is signed on top of what is forged', async (t) => {
  const { eventStore, rows, forge } = await aLog(t, 'sqlite')
  await fill(eventStore)
  await writeCheckpoint(eventStore, key)
  await grow(chained(eventStore), 'customer-9', 3)
  const original = rows()
  const edit = (from: RegExp, to: string) =>
    original.map((row) =>
      row.stream === CHECKPOINT_STREAM ? { ...row, data: Buffer.from(row.data.toString().replace(from, to)) } : row,
    )
  forge(edit(/"size":\d+/, '"size":21'))
  await t.rejects(writeCheckpoint(eventStore, key), /forged signature/)
  forge(edit(/"edge":\["..../, '"edge":["AAAA'))
  await t.rejects(writeCheckpoint(eventStore, key), LogCheckpointError)
  forge(edit(/"edge":\[.*\]/, '"edge":[]'))
  await t.rejects(writeCheckpoint(eventStore, key), LogCheckpointError)
  forge(edit(/.*/, '{}'))
  await t.rejects(writeCheckpoint(eventStore, key), /is no checkpoint/)
  forge(original)
  t.ok(await writeCheckpoint(eventStore, key))
  // Another key goes on only where the whole log leads to what the other one signed.
  await grow(chained(eventStore), 'customer-9', 1, 2)
  const other = aKey()
  const kept = rows()
  forge(kept.filter(({ stream, revision }) => stream !== 'customer-2' || revision !== 5))
  await t.rejects(writeCheckpoint(eventStore, other), /not what the checkpoint/)
  forge(kept)
  t.ok(await writeCheckpoint(eventStore, other))
  t.match(await verifyLog(eventStore, { keys: [key, other] }), { ok: true, checkpoints: { count: 3, good: 3 } })
})

t.test('on a schedule: when the last one is old enough, over restarts, and a failure does not end it', async (t) => {
  const { eventStore } = await aLog(t, 'sqlite')
  await fill(eventStore)
  const start = (minutes: number, log = SILENT) => {
    const checkpoints = startCheckpoints({ eventStore, key, minutes, log })
    t.teardown(() => checkpoints.stop())
    return checkpoints
  }
  const first = start(60)
  await until('checkpoint 1', async () => (await count(eventStore, CHECKPOINT_STREAM)) === 1)
  await first.stop()
  await grow(chained(eventStore), 'customer-9', 1)
  await start(60).stop()
  t.equal(await count(eventStore, CHECKPOINT_STREAM), 1, 'one of this hour is there')
  await start(0.0001).stop()
  start(0.0001)
  await until('checkpoint 2', async () => (await count(eventStore, CHECKPOINT_STREAM)) === 2)
  await grow(chained(eventStore), 'customer-9', 1, 0)
  await until('checkpoint 3', async () => (await count(eventStore, CHECKPOINT_STREAM)) === 3)
  const lines: string[] = []
  const log = { ...SILENT, warn: (_: object, message: string) => lines.push(message) }
  await startConfiguredCheckpoints(eventStore, undefined, 60, log).stop()
  await startConfiguredCheckpoints(eventStore, key, 0, log).stop()
  t.match(lines, [/AUDIT_SIGNING_KEY is not set/])
  t.equal(lines.length, 1)
})

t.test(
  'on a schedule: a checkpoint that was signed while the clock was ahead does not hold up the next ones',
  async (t) => {
    const { eventStore } = await aLog(t, 'sqlite')
    await fill(eventStore)
    t.ok(await writeCheckpoint(eventStore, key, { now: new Date(Date.now() + 30 * 86_400_000) }))
    await grow(chained(eventStore), 'customer-9', 1)
    const checkpoints = startCheckpoints({ eventStore, key, minutes: 60, log: SILENT })
    t.teardown(() => checkpoints.stop())
    await until('the next one is signed', async () => (await count(eventStore, CHECKPOINT_STREAM)) === 2)
  },
)

t.test('npm run audit', async (t) => {
  const { eventStore, url, folder, rows, forge } = await aLog(t, 'sqlite')
  await fill(eventStore)
  const run = (...args: string[]) => runCommand(folder, ['audit', ...args], { EVENTSTORE_URL: url })
  const pem = (await run('key')).output
  const own = readAuditKey(KEYS.AUDIT_SIGNING_KEY)
  writeFileSync(join(folder, 'private.pem'), generateSigningKey())
  t.equal(pem, publicPem(own))
  const publicFile = join(folder, 'public.pem')
  writeFileSync(publicFile, pem)
  t.match(await run('checkpoint'), { code: 0, output: new RegExp(`Checkpoint of ${IN_TREE} events`) })
  t.match(await run('checkpoint'), { code: 0, output: /nothing new/ })
  t.match(await run('verify'), { code: 0, output: /1 of 1 checkpoints are valid[\s\S]*The log is whole/ })

  const proved = await run('prove', '2:3', '--content')
  t.equal(proved.code, 0)
  const json = proved.output.slice(proved.output.indexOf('{\n'), proved.output.lastIndexOf('}\n') + 2)
  const file = join(folder, 'proof.json')
  writeFileSync(file, json)
  // Not /Ann/ alone: hashes are letters too, and have these three in a row now and then.
  t.match(json, /"Ann\b/)
  t.notMatch((await run('prove', 'customer-2 revision 3')).output, /"event"|"data"|"Ann\b/, 'without its content')
  t.match(await run('check', file, '--key', publicFile), {
    code: 0,
    output:
      /The proof holds\. The event in the file was customer-2 revision 3, one of the 22 events that were signed at /,
  })
  // As docs/audit.md tells a stranger.
  const page = await readFile(join(import.meta.dirname, '../../../docs/audit.md'), 'utf8')
  const script = join(folder, 'check.mjs')
  writeFileSync(script, /```js check\n([\s\S]*?)```/.exec(page)?.[1] ?? '')
  const stranger = (changed: unknown) => {
    writeFileSync(file, JSON.stringify(changed))
    return spawnSync(process.execPath, [script, file, publicFile], { encoding: 'utf8' }).stdout
  }
  t.match(stranger(JSON.parse(json)), /^holds: \["customer-2",3,/)
  t.match(stranger({ ...JSON.parse(json), index: 1 }), /^does not hold/)
  t.match(stranger(JSON.parse(json.replace('"Ann', '"Bnn'))), /^does not hold/)
  t.match(stranger(JSON.parse(json.replace('"size": ', '"size": 1'))), /^does not hold/)
  writeFileSync(file, json.replace('"Ann', '"Bnn'))
  t.match(await run('check', file, '--key', publicFile), { code: 1, output: /does not hold: the event is not what/ })

  const index = rows().findIndex(({ stream, revision }) => stream === 'customer-2' && revision === 3)
  forge(rows().map((row, at) => (at === index ? { ...row, data: Buffer.from('{"name":"Eve"}') } : row)))
  const failed = await run('verify')
  t.equal(failed.code, 1)
  t.match(
    failed.output,
    /^Changed: customer-2 revision 3 \(position \d+ of the log\)\. It was changed after it was written: /m,
  )
  t.notMatch(failed.output, /Eve/)
  const line = (await run('verify', '--json', '--key', publicFile)).output
    .split('\n')
    .find((each) => each.startsWith('{'))
  t.match(JSON.parse(line ?? ''), { ok: false, faults: [{ kind: 'altered', stream: 'customer-2', revision: 3 }] })

  for (const [args, expected, message] of [
    [['verify', 'more'], 2, /too many arguments for 'verify'/],
    [['prove', 'nonsense'], 2, /"nonsense" can't be used/],
    [['check', file], 2, /required option '--key <file>'/],
    [['verify', '--key', file], 1, /accepted: an Ed25519 public key/],
    [['verify', '--key', join(folder, 'private.pem')], 1, /accepted: an Ed25519 public key/],
  ] as const) {
    const { code, output } = await run(...args)
    t.equal(code, expected)
    t.match(output, message)
    t.equal(output.trim().split('\n').length, 1, output)
  }
})
