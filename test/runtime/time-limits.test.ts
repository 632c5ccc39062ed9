import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { startLimit } from '../../runtime/time-limits.ts'

t.test('an answer that has arrived while this process stood still is in time', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [other] = (await once(server, 'connection')) as [Socket]
  t.teardown(() => {
    socket.destroy()
    server.close()
  })
  let isLate = false
  const end = startLimit(5, () => {
    isLate = true
  })
  const answered = once(socket, 'data').then(end)
  other.write('answer')
  for (const until = performance.now() + 30; performance.now() < until; );
  await answered
  await delay(10)
  t.notOk(isLate)
  startLimit(5, () => {
    isLate = true
  })
  await delay(30)
  t.ok(isLate, 'where there is none, it is late')
})
