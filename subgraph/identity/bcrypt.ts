/**
 * bcrypt in a worker thread. Node has no bcrypt, and in JavaScript one check would block the event loop for a tenth of
 * a second. Only passwords imported from Magento 1 need it, once each.
 */
import { Worker } from 'node:worker_threads'

export interface Order {
  readonly number: number
  readonly password: string
  readonly hash: string
}

interface Thread {
  readonly worker: Worker
  readonly waiting: Map<number, PromiseWithResolvers<boolean>>
}

let thread: Thread | undefined
let orders = 0

/**
 * Whether the password matches the bcrypt hash. The variant `$2x$` differs from the others only for letters beyond ASCII,
 * and bcryptjs does not know it: it would throw, and end the thread with all that wait for it.
 * @throws Error if the thread dies
 */
export function compareBcrypt(password: string, stored: string): Promise<boolean> {
  const hash = stored.replace(/^\$2x\$/, '$2y$$')
  thread ??= start()
  const number = ++orders
  const answer = Promise.withResolvers<boolean>()
  thread.waiting.set(number, answer)
  // The thread keeps the process alive only while an answer is awaited.
  thread.worker.ref()
  thread.worker.postMessage({ number, password, hash } satisfies Order)
  return answer.promise
}

function start(): Thread {
  const worker = new Worker(new URL('./bcrypt-worker.ts', import.meta.url))
  const waiting = new Map<number, PromiseWithResolvers<boolean>>()
  worker.unref()
  worker.on('message', ({ number, fits }: { number: number; fits: boolean }) => {
    waiting.get(number)?.resolve(fits)
    waiting.delete(number)
    if (waiting.size === 0) worker.unref()
  })
  const end = (error: Error) => {
    thread = undefined // the next check starts another one
    for (const { reject } of waiting.values()) reject(error)
    waiting.clear()
  }
  worker.on('error', end)
  worker.on('exit', () => end(new Error('The thread of bcrypt has ended.')))
  return { worker, waiting }
}
