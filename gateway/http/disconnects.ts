/** Detects clients that go away, with one listener for each connection, whatever the number of its requests. */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Cancellation } from '../cancellation.ts'

/** The requests under way on a connection: one, or more if the client pipelines. */
const underWay = new WeakMap<Socket, Set<Cancellation>>()

/** Cancels when the connection closes, until {@link settle} is called. */
export function cancelOnClose(socket: Socket, cancellation: Cancellation): void {
  // It closed while the request waited, for the reading of its body or to be counted.
  if (socket.destroyed) cancellation.cancel()
  let cancellations = underWay.get(socket)
  if (!cancellations) {
    const all = new Set<Cancellation>()
    underWay.set(socket, all)
    socket.once('close', () => {
      for (const each of all) each.cancel()
    })
    cancellations = all
  }
  cancellations.add(cancellation)
}

/**
 * Calls the listener once, when the response is done or its connection closes; at once if it has closed already. A
 * response does not always report it: one that waits behind another of its connection (pipelining) never does, nor one
 * whose connection closed before anybody listened.
 */
export function onceOver(response: ServerResponse, socket: Socket, listener: () => void): void {
  const closing = new Cancellation()
  closing.onCancel({ abort: listener })
  cancelOnClose(socket, closing)
  response.once('close', () => {
    settle(socket, closing)
    closing.cancel()
  })
}

/** The request has been answered. */
export function settle(socket: Socket, cancellation: Cancellation): void {
  underWay.get(socket)?.delete(cancellation)
}
