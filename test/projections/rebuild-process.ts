/** A rebuild that gets a signal in the middle: once it has written a checkpoint to Redis. Argument: the signal. */
import { Socket } from 'node:net'
import { main } from '../../bin/customers.ts'

/** A first attempt may only tell that Redis does not know the script yet. */
const WRITES = 2

const { write } = Socket.prototype
let written = 0
Socket.prototype.write = function (this: Socket, ...args: Parameters<typeof write>) {
  if (written === WRITES) {
    Socket.prototype.write = write
    process.kill(process.pid, process.argv[2])
  }
  const text = String(args[0])
  if (text.includes('{checkpoint}') && text.includes('"commit"')) written++
  return write.apply(this, args)
} as typeof write

await main(['rebuild'])
