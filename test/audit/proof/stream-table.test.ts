/** The table of streams keeps what a Map would, cut to its width, however often it grows. */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { createStreamTable, type StreamState, shortHash } from '../../../audit/proof/stream-table.ts'

const hashOf = (text: string) => shortHash(createHash('sha256').update(text).digest('base64url'))

t.test('as a Map', async () => {
  const state = fc.record({
    revision: fc.integer({ min: 0, max: 2 ** 31 - 2 }),
    hashed: fc.boolean(),
    hash: fc.string().map(hashOf),
    previous: fc.oneof(fc.constant(''), fc.string().map(hashOf)),
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
        const none = '\0'.repeat(16)
        if (kept?.revision !== revision || kept.hashed !== hashed || kept.hash !== hash) return false
        if (kept.previous !== (previous === '' ? none : previous)) return false
      }
      return true
    }),
  )
})
