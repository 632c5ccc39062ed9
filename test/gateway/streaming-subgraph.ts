/** A subgraph with subscriptions, for tests: graphql-sse's own server, and graphql-ws's. */
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buildSubgraphSchema } from '@apollo/subgraph'
import { graphql, parse } from 'graphql'
import { createHandler } from 'graphql-sse/lib/use/http'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'
import type { Test } from './support.ts'

/** Events that are published by hand. */
export class Topic<Value> {
  readonly #subscribers = new Set<(value: Value | undefined) => void>()

  /** How many listen now. */
  get size(): number {
    return this.#subscribers.size
  }

  publish(value: Value): void {
    for (const send of this.#subscribers) send(value)
  }

  /** Ends all streams. */
  end(): void {
    for (const send of this.#subscribers) send(undefined)
  }

  subscribe(): AsyncGenerator<Value, undefined, undefined> {
    const values: (Value | undefined)[] = []
    let wake = () => {}
    let isOver = false
    const send = (value: Value | undefined) => {
      values.push(value)
      wake()
    }
    this.#subscribers.add(send)
    const leave = async () => {
      isOver = true
      this.#subscribers.delete(send)
      wake()
      return { done: true, value: undefined } as const
    }
    const generator: AsyncGenerator<Value, undefined, undefined> = {
      async next() {
        while (!isOver && values.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
        const value = values.shift()
        return isOver || value === undefined ? leave() : { done: false, value }
      },
      return: leave,
      throw: leave,
      [Symbol.asyncIterator]: () => generator,
      [Symbol.asyncDispose]: async () => void (await leave()),
    }
    return generator
  }
}

export interface StreamingSubgraph {
  /** Queries by POST, and subscriptions as server-sent events. */
  readonly url: string
  /** Subscriptions over WebSockets. */
  readonly websocketUrl: string
  /** The headers of each request for a stream or a WebSocket, in the order of arrival. */
  readonly opened: IncomingMessage['headers'][]
  /** The payloads of `connection_init`. */
  readonly payloads: unknown[]
  /** Breaks all connections. */
  readonly breakOff: () => void
  /** Reads nothing from its WebSockets any more. */
  readonly pause: () => void
}

type Resolvers = Record<string, Record<string, unknown>>

export async function startStreaming(t: Test, sdl: string, resolvers: Resolvers): Promise<StreamingSubgraph> {
  const link = 'extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key", "@shareable"])\n'
  const typeDefs = parse(sdl.includes('@link') ? sdl : link + sdl)
  const schema = buildSubgraphSchema({ typeDefs, resolvers: resolvers as never })
  const opened: IncomingMessage['headers'][] = []
  const payloads: unknown[] = []
  const stream = createHandler({ schema, context: (request) => ({ headers: request.raw.headers }) as never })
  const server = createServer((request, response) => {
    if (request.headers.accept === 'text/event-stream') {
      opened.push(request.headers)
      void stream(request, response).catch(() => response.destroy())
      return
    }
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk
    })
    request.on('end', async () => {
      const { query, variables } = JSON.parse(body)
      const result = await graphql({ schema, source: query, variableValues: variables })
      response.setHeader('content-type', 'application/json').end(JSON.stringify(result))
    })
  })
  const sockets = new WebSocketServer({ server })
  const served = useServer(
    {
      schema,
      context: ({ extra, connectionParams }) => {
        payloads.push(connectionParams)
        opened.push(extra.request.headers)
        return { headers: extra.request.headers }
      },
    },
    sockets,
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const breakOff = () => {
    server.closeAllConnections()
    for (const socket of sockets.clients) socket.terminate()
  }
  const pause = () => {
    for (const socket of sockets.clients) socket.pause()
  }
  t.teardown(async () => {
    breakOff()
    await served.dispose()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}/graphql`
  return { url, websocketUrl: url.replace('http', 'ws'), opened, payloads, breakOff, pause }
}
