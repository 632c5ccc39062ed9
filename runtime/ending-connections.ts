/** Has a server close although clients send nothing, or only a part of a request, or do not take their answers. */
import type { Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** How long a client that sends nothing still has once the server takes no more connections, in milliseconds. */
const SEND_MS = 1_000
/** How long one has for the rest of its answer, in milliseconds: a process that is to end has ten seconds for everything. */
const TAKE_MS = 5_000

/** While a request is being answered, Node has the response on its socket. */
type Client = Socket & { readonly _httpMessage?: ServerResponse | null }

/**
 * Node waits for a whole request of each connection. How long a client may take for it is not checked any more while a
 * server closes: one that says nothing, as browsers open them in advance, would keep it open for ever.
 * @returns call it when the server is about to close
 */
export function endingConnections(server: Server): () => void {
  const sockets = new Set<Client>()
  server.on('connection', (socket: Client) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  sparingAnswers(server, sockets)
  return () => {
    const begun = performance.now()
    const looking = setInterval(() => {
      const isLate = performance.now() - begun > TAKE_MS
      for (const socket of sockets) {
        if (!isAnswered(socket) || (isLate && socket.writableLength > 0)) socket.destroy()
      }
    }, SEND_MS).unref()
    server.once('close', () => clearInterval(looking))
  }
}

/** A server that closes also closes what Node calls idle: an answer that is made, though its client has only a part of it. */
function sparingAnswers(server: Server, sockets: ReadonlySet<Client>): void {
  const closeIdle = server.closeIdleConnections
  server.closeIdleConnections = () => {
    const unsent = [...sockets].flatMap(({ _httpMessage: answer }) => (answer?.finished ? answer : []))
    for (const answer of unsent) answer.finished = false
    closeIdle.call(server)
    for (const answer of unsent) answer.finished = true
  }
}

/** Whether a request has arrived whole and is being answered. */
const isAnswered = ({ _httpMessage: response }: Client): boolean => response?.req.complete === true
