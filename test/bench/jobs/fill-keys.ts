/** Writes the keys of so many customers into the key store of an empty log. */
import { randomBytes } from 'node:crypto'
import { createBlocks } from '../../../eventstore/encryption/blocks.ts'
import { keysOf } from '../../../eventstore/encryption/customer-keys.ts'
import { KEY_BYTES } from '../../../eventstore/encryption/keys.ts'
import { localMasterKey } from '../../../eventstore/encryption/master-key.ts'
import { KEYS } from '../../support/keys.ts'
import { openStores, type StoreOptions } from '../stores.ts'
import { job } from './job.ts'

const BLOCK = 64
/** Written at a time. */
const AT_ONCE = 256

await job<StoreOptions & { readonly count: number }>(async (options) => {
  const { eventStore, readModel } = await openStores(options)
  await readModel.close()
  const blocks = createBlocks(keysOf(eventStore).keyStore, [localMasterKey(Buffer.from(KEYS.MASTER_KEY, 'hex'))])
  return async () => {
    const end = options.count / BLOCK
    for (let first = 0; first < end; first += AT_ONCE) {
      const numbers = Array.from({ length: Math.min(AT_ONCE, end - first) }, (_, index) => first + index)
      const write = (number: number) =>
        blocks.write(number, 'no_stream', randomBytes(BLOCK * KEY_BYTES), { generation: 0, destroyed: [] })
      await Promise.all(numbers.map(write))
    }
    await eventStore.close()
    return options.count
  }
})
