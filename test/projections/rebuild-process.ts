/** A rebuild that gets a signal in the middle, when it is about to store its second checkpoint or its third. Argument: the signal. */
import { Socket } from 'node:net'
import { main } from '../../bin/customers.ts'

/**
 * The first may only tell that Redis does not know the script yet. One that was sent is stored for certain once the next
 * is to be sent: what a killed process has sent may be lost.
 */
const LAST = 3

const { write } = Socket.prototype
let written = 0
Socket.prototype.write = function (this: Socket, ...args: Parameters<typeof write>) {
  const text = String(args[0])
  if (text.includes('{checkpoint}') && text.includes('"commit"') && ++written === LAST) {
    process.kill(process.pid, process.argv[2])
  }
  return write.apply(this, args)
} as typeof write

await main(['rebuild'])
