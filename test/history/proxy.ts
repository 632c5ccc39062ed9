/** A TCP proxy between a client and a server that can be exchanged, cut off or made silent. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

export interface TcpProxy {
  readonly port: number
  /** From now on to another server; connections are cut. */
  point(port: number): void
  /** Nobody is connected any more. */
  cut(): void
  mend(): void
  /** While it hangs, connections stay and nothing gets through. */
  hang(on: boolean): void
  /** What the server sends arrives so much later. */
  lag(milliseconds: number): void
}

export async function startProxy(t: Test, target: number): Promise<TcpProxy> {
  let port = target
  let isCut = false
  let isHanging = false
  let lagMs = 0
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    if (isCut) return void client.destroy()
    const upstream = connect(port, '127.0.0.1')
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from)
      from.on('data', (chunk) => {
        if (from === upstream && lagMs > 0) return void setTimeout(() => to.write(chunk), lagMs)
        to.write(chunk)
      })
      from.on('error', () => {})
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
      if (isHanging) from.pause()
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const cutAll = () => {
    for (const socket of sockets) socket.destroy()
  }
  t.teardown(() => {
    server.close()
    cutAll()
  })
  return {
    port: (server.address() as AddressInfo).port,
    point(to) {
      port = to
      cutAll()
    },
    cut() {
      isCut = true
      cutAll()
    },
    mend() {
      isCut = false
    },
    hang(on) {
      isHanging = on
      for (const socket of sockets) on ? socket.pause() : socket.resume()
    },
    lag(milliseconds) {
      lagMs = milliseconds
    },
  }
}
