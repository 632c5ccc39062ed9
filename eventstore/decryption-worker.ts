/** The other side of decryption-thread.ts: decrypts in place what it is sent, and sends it back. */
import { createDecipheriv, createSecretKey } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { ALGORITHM, IV_BYTES, KEY_BYTES, type Order, REFUSED, TAG_BYTES } from './decryption-thread.ts'

const OPTIONS = { authTagLength: TAG_BYTES }

parentPort?.on('message', ({ bytes, sizes, ...order }: Order) => {
  let offset = 0
  const take = (size: number) => {
    offset += size
    return bytes.subarray(offset - size, offset)
  }
  for (let index = 0; index < sizes.length; index += 2) {
    const key = createSecretKey(take(KEY_BYTES))
    const authenticated = take(sizes[index] as number)
    const decipher = createDecipheriv(ALGORITHM, key, take(IV_BYTES), OPTIONS).setAAD(authenticated)
    const content = take(sizes[index + 1] as number)
    try {
      content.set(decipher.setAuthTag(take(TAG_BYTES)).update(content))
      decipher.final()
    } catch {
      sizes[index + 1] = REFUSED
    }
  }
  parentPort?.postMessage({ ...order, bytes, sizes }, [bytes.buffer as ArrayBuffer, sizes.buffer as ArrayBuffer])
})
