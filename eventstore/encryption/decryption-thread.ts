/**
 * Decrypts in a worker thread, for readers of very many events: decryption costs more than everything else about an
 * event. A few thousand ciphertexts are packed into one buffer and sent to a thread, which returns their plaintexts.
 */
import { Worker } from 'node:worker_threads'
import { KEY_BYTES } from './aes-gcm.ts'

/** Replaces the size of a content that could not be decrypted. */
export const REFUSED = 0

export interface Sealed {
  readonly key: Uint8Array
  /** The authenticated text, ASCII. */
  readonly authenticated: string
  /** In the format of aes-gcm.ts. */
  readonly bytes: Uint8Array
}

/** The message to the thread. It is returned with the contents in place of the sealed parts. */
export interface Order {
  readonly number: number
  /** For each: key, authenticated text, what is sealed. */
  readonly bytes: Uint8Array
  /** For each: the sizes of the authenticated text and of what is sealed, or of its content. */
  readonly sizes: Uint32Array
}

interface Waiting {
  readonly resolve: (order: Order) => void
  readonly reject: (error: Error) => void
}

let worker: Worker | undefined
const waiting = new Map<number, Waiting>()
let orders = 0

/** One thread for the process; it does not keep the process alive. */
function thread(): Worker {
  if (worker) return worker
  const started = new Worker(new URL('./decryption-worker.ts', import.meta.url))
  started.unref()
  started.on('message', (order: Order) => {
    waiting.get(order.number)?.resolve(order)
    waiting.delete(order.number)
    if (waiting.size === 0) started.unref()
  })
  const over = () => {
    if (worker === started) worker = undefined
    for (const { reject } of waiting.values()) reject(new Error('The decryption thread has ended.'))
    waiting.clear()
  }
  started.on('error', over).on('exit', over)
  worker = started
  return started
}

/**
 * @returns the plaintext of each; undefined if it could not be decrypted
 * @throws Error if the thread ends first
 */
export async function decryptBeside(items: readonly Sealed[]): Promise<(string | undefined)[]> {
  const sizes = new Uint32Array(2 * items.length)
  let total = 0
  for (const [index, { authenticated, bytes }] of items.entries()) {
    sizes[2 * index] = authenticated.length
    sizes[2 * index + 1] = bytes.length
    total += KEY_BYTES + authenticated.length + bytes.length
  }
  const packed = Buffer.allocUnsafeSlow(total)
  const starts: number[] = []
  let offset = 0
  for (const { key, authenticated, bytes } of items) {
    packed.set(key, offset)
    packed.write(authenticated, offset + KEY_BYTES, 'latin1')
    offset += KEY_BYTES + authenticated.length
    packed.set(bytes, offset)
    starts.push(offset)
    offset += bytes.length
  }
  const number = ++orders
  const answer = new Promise<Order>((resolve, reject) => waiting.set(number, { resolve, reject }))
  const running = thread()
  running.ref() // until it has answered
  const order: Order = { number, bytes: packed, sizes }
  running.postMessage(order, [packed.buffer as ArrayBuffer, sizes.buffer as ArrayBuffer])
  const { bytes, sizes: found } = await answer
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return starts.map((start, index) => {
    const size = found[2 * index + 1] as number
    return size === REFUSED ? undefined : text.toString('utf8', start, start + size)
  })
}
