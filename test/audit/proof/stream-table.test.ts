/** The table of streams keeps what a Map would, cut to its width, however often it grows. */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { createStreamTable, PREVIOUS_BYTES, type StreamState, shortHash } from '../../../audit/proof/stream-table.ts'

const hashOf = (text: string) => shortHash(createHash('sha256').update(text).digest('base64url'))

t.test('as a Map', async () => {
  const state = fc.record({
    revision: fc.integer({ min: 0, max: 2 ** 31 - 2 }),
    hashed: fc.boolean(),
    hash: fc.string().map(hashOf),
    previous: fc.oneof(
      fc.constant(''),
      fc.string().map((text) => hashOf(text).slice(0, PREVIOUS_BYTES)),
    ),
  })
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 300 }), state), { maxLength: 400 }), (entries) => {
      const table = createStreamTable(4)
      const map = new Map<string, StreamState>()
      for (const [number, state] of entries) {
        table.set(`customer-${number}`, state)
        map.set(`customer-${number}`, state)
      }
      if (table.size !== map.size || table.get('customer-none') !== undefined) return false
      for (const [name, { revision, hashed, hash, previous }] of map) {
        const kept = table.get(name)
        if (kept?.revision !== revision || kept.hashed !== hashed || kept.hash !== hash) return false
        if (kept.previous !== previous) return false
      }
      return true
    }),
  )
})

t.test('at most 32 bytes for each stream, at any size', async (t) => {
  const table = createStreamTable()
  const state = { revision: 5, hashed: true, hash: hashOf('a'), previous: '' }
  let most = 0
  for (let number = 1; number <= 300_000; number++) {
    table.set(`customer-${number}`, state)
    // A small table is mostly its first page and its first index.
    if (number > 100_000) most = Math.max(most, table.bytes / number)
  }
  t.ok(most <= 32, `${most.toFixed(2)} bytes`)
  t.equal(table.size, 300_000)
  t.same(table.get('customer-1'), state)
  t.same(table.get('customer-300000'), state)
  t.equal(table.get('customer-300001'), undefined)
})
