/** The worker of decryption-thread.ts: decrypts each message in place, and returns it. */
import { createSecretKey } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { KEY_BYTES, unseal } from './aes-gcm.ts'
import { type Order, REFUSED } from './decryption-thread.ts'

parentPort?.on('message', ({ bytes, sizes, ...order }: Order) => {
  let offset = 0
  const take = (size: number) => {
    offset += size
    return bytes.subarray(offset - size, offset)
  }
  for (let index = 0; index < sizes.length; index += 2) {
    const key = createSecretKey(take(KEY_BYTES))
    const authenticated = take(sizes[index] as number)
    const sealed = take(sizes[index + 1] as number)
    try {
      const content = unseal(key, sealed, authenticated)
      sealed.set(content)
      sizes[index + 1] = content.length
    } catch {
      sizes[index + 1] = REFUSED
    }
  }
  parentPort?.postMessage({ ...order, bytes, sizes }, [bytes.buffer as ArrayBuffer, sizes.buffer as ArrayBuffer])
})
