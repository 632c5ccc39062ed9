/** What a server that closes does with its connections. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { endingConnections } from '../../runtime/ending-connections.ts'
import { until } from '../support/until.ts'

/** More than an operating system takes for a client that reads nothing. */
const ANSWER = Buffer.alloc(32 * 1024 * 1024, 'x')

/** A server that has answered a client, of whose answer the client has read nothing yet. */
async function answered(t: Test): Promise<{ readonly client: Socket; readonly close: () => Promise<unknown> }> {
  let isAnswered = false
  const server = createServer((_, response) => {
    response.end(ANSWER)
    isAnswered = true
  })
  const endConnections = endingConnections(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1').pause()
  client.on('error', () => {})
  t.teardown(() => client.destroy())
  client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
  await until('it is answered', () => isAnswered)
  return {
    client,
    close: () => {
      endConnections()
      const closed = once(server, 'close')
      server.close()
      return closed
    },
  }
}

t.test('a client gets the whole of its answer from a server that closes', async (t) => {
  const { client, close } = await answered(t)
  const closed = close()
  let length = 0
  client.on('data', (data: Buffer) => {
    length += data.length
  })
  client.resume()
  await closed
  await until('the connection is closed', () => client.destroyed)
  t.ok(length > ANSWER.length, `${length} bytes`)
})

t.test('a client that does not take its answer does not keep a server open', async (t) => {
  const { client, close } = await answered(t)
  await close()
  client.resume()
  await once(client, 'close')
})
