/**
 * Writes results to a client as server-sent events, in the "distinct connections" mode of GraphQL over SSE: an event
 * `next` for each result, then `complete`.
 */
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http'

/** The media type. */
export const EVENT_STREAM = 'text/event-stream'

/** How often a comment is sent, so that no proxy takes the connection for a dead one. Milliseconds. */
const HEARTBEAT_MS = 12_000
const HEARTBEAT = ':\n\n'

/** Whether the header `Accept` asks for an event stream before anything else. */
export const wantsEventStream = (accept: string | undefined): boolean => accept?.startsWith(EVENT_STREAM) === true

/**
 * Writes the results as they come, no faster than the client takes them. Resolves when all are written or the client
 * has gone away; then `results` has been ended. A client that takes nothing for two heartbeats is disconnected.
 * @param results each the JSON text of a GraphQL result
 * @param headers of the answer, beside those of an event stream
 */
export async function writeEvents(
  response: ServerResponse,
  results: AsyncGenerator<string, unknown, undefined>,
  headers: OutgoingHttpHeaders = {},
): Promise<void> {
  const leave = () => void results.return(undefined)
  if (response.destroyed) return leave()
  response.once('close', leave)
  response.writeHead(200, {
    ...headers,
    'content-type': `${EVENT_STREAM}; charset=utf-8`,
    'cache-control': 'no-store',
    // Nothing follows on the connection, so that a server that shuts down need not wait for its client.
    connection: 'close',
    // nginx would collect the events.
    'x-accel-buffering': 'no',
  })
  // Some browsers report the stream as open only after its first bytes.
  response.write(HEARTBEAT)
  let isStuck = false
  const heartbeat = setInterval(() => {
    if (!response.writableNeedDrain) response.write(HEARTBEAT)
    else if (isStuck) response.destroy()
    isStuck = response.writableNeedDrain
  }, HEARTBEAT_MS)
  try {
    for await (const text of results) {
      if (response.destroyed) return
      if (!response.write(`event: next\ndata: ${text}\n\n`)) await drained(response)
    }
    response.end('event: complete\ndata:\n\n')
  } finally {
    clearInterval(heartbeat)
    response.off('close', leave)
  }
}

/** Resolves when more can be written, or nothing any more. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      response.off('drain', settle).off('close', settle)
      resolve()
    }
    if (response.destroyed) resolve()
    else response.on('drain', settle).on('close', settle)
  })
}

/** A stream with one result. */
export async function* single(text: string): AsyncGenerator<string, undefined, undefined> {
  yield text
}
