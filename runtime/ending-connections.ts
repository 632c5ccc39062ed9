/** Has a server close although clients are connected that send nothing, or only a part of a request. */
import type { Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** How long such a client still has once the server takes no more connections, in milliseconds. */
const SEND_MS = 1_000

/**
 * Node waits for a whole request of each connection. How long a client may take for it is not checked any more while a
 * server closes: one that says nothing, as browsers open them in advance, would keep it open for ever.
 * @returns call it when the server is about to close
 */
export function endingConnections(server: Server): () => void {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  return () => {
    const looking = setInterval(() => {
      for (const socket of sockets) if (!isAnswered(socket)) socket.destroy()
    }, SEND_MS).unref()
    server.once('close', () => clearInterval(looking))
  }
}

/** Whether a request has arrived and is being answered: only then Node has its response on the socket. */
const isAnswered = ({ _httpMessage: response }: Socket & { readonly _httpMessage?: ServerResponse | null }): boolean =>
  response?.req.complete === true
