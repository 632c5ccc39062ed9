/** The other side of bcrypt.ts: a thread that hashes with bcrypt, which in JavaScript keeps a thread busy for a tenth of a second. */
import { parentPort } from 'node:worker_threads'
import { compareSync } from 'bcryptjs'
import type { Order } from './bcrypt.ts'

parentPort?.on('message', ({ number, password, hash }: Order) => {
  parentPort?.postMessage({ number, fits: compareSync(password, hash) })
})
