/** The worker thread of bcrypt.ts. In JavaScript, bcrypt keeps a thread busy for a tenth of a second. */
import { parentPort } from 'node:worker_threads'
import { compareSync } from 'bcryptjs'
import type { Order } from './bcrypt.ts'

parentPort?.on('message', ({ number, password, hash }: Order) => {
  parentPort?.postMessage({ number, fits: compareSync(password, hash) })
})
