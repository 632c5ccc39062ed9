/** Blocks of keys in memory: bytes of their own, and nothing else of what they were made from. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import t from 'tap'
import { createBlocks, knownKey } from '../../../eventstore/encryption/blocks.ts'
import type { MasterKey } from '../../../eventstore/encryption/master-key.ts'
import { openEventStore } from '../../../eventstore/open-event-store.ts'
import { temporaryFolder } from '../../support/graph.ts'

/** Gives its answers as parts of a large buffer, as a client of a key management system may. */
function sharing(): MasterKey {
  const slab = Buffer.alloc(65_536)
  const key = Buffer.alloc(32, 7)
  const shared = (bytes: Uint8Array) => {
    slab.set(bytes, 1_000)
    return slab.subarray(1_000, 1_000 + bytes.length)
  }
  return {
    id: 'sharing',
    wrap: (bytes, context) => shared(createCipheriv('aes-256-ctr', key, iv(context)).update(bytes)),
    unwrap: (wrapped, context) => shared(createDecipheriv('aes-256-ctr', key, iv(context)).update(wrapped)),
  }
}
const iv = (context: string) => Buffer.from(context.padEnd(16, ' ').slice(0, 16))

t.test(
  'an unwrapped block holds its keys, and neither what they were wrapped in nor a slab they were part of',
  async (t) => {
    const url = `sqlite:${await temporaryFolder(t)}/keys.db`
    const keyStore = await openEventStore(url)
    t.teardown(() => keyStore.close())
    const keys = new Map<number | string, Buffer>()
    const writing = createBlocks(keyStore, [sharing()])
    for (const id of [0, 1, 2, 'abc']) {
      keys.set(id, randomBytes(typeof id === 'number' ? 2_048 : 32))
      const written = await writing.write(id, 'no_stream', keys.get(id) as Buffer, { generation: 0, destroyed: [] })
      t.not(written.bytes, keys.get(id), 'a copy')
      t.equal(written.wrapped, undefined)
    }

    const reading = createBlocks(keyStore, [sharing()])
    for (const [id, expected] of keys) {
      const block = await reading.read(id)
      if (block === undefined) throw new Error('missing')
      t.equal(knownKey(block, 0), undefined, 'not yet unwrapped')
      const [bytes, same] = await Promise.all([reading.unwrap(block), reading.unwrap(block)])
      t.equal(same, bytes, 'once, though asked for twice')
      t.same(bytes, expected)
      t.ok(bytes.buffer.byteLength <= bytes.length + 28, 'in memory of its own')
      t.equal(block.wrapped, undefined)
    }
    for (const [id, expected] of keys) {
      const known = reading.known(id)
      t.same(known?.bytes, expected, 'still, after others were unwrapped in the same place')
      const again = await reading.read(id)
      t.equal(again?.bytes, known?.bytes, 'read again it is not unwrapped again')
      t.equal(again?.wrapped, undefined)
    }
  },
)
