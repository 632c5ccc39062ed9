/** A graph with subscriptions for tests. Its subgraph is served by graphql-sse and graphql-ws, and so are its clients. */
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buildSubgraphSchema } from '@apollo/subgraph'
import { graphql, parse } from 'graphql'
import { createClient as createSseClient } from 'graphql-sse'
import { createHandler } from 'graphql-sse/lib/use/http'
import { createClient as createWebSocketClient } from 'graphql-ws'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocket, WebSocketServer } from 'ws'
import type { GatewayOptions } from '../../gateway/server.ts'
import { compose, startGateway, startSubgraph, type Test } from './support.ts'

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

export const ORDERS = `
  scalar Money
  type Query { orders: [Order] }
  type Mutation { pay(id: ID!): Order }
  type Order @key(fields: "id") { id: ID! total: Money product: Product! note: String! }
  type Product @key(fields: "upc", resolvable: false) { upc: ID! }
  type Subscription { orderChanged(id: ID): Order }
`
export const CATALOG = `
  type Query { products: [Product] }
  type Product @key(fields: "upc") { upc: ID! name: String price: Int! }
`

interface Order {
  readonly id: string
  readonly total?: unknown
  readonly product: { readonly upc: string }
  readonly note?: string
}

export const order = (id: string, more: object = {}): Order => ({ id, product: { upc: `p${id}` }, ...more })
export const ON_CHANGE = 'subscription Changes($id: ID) { orderChanged(id: $id) { id product { name } } }'

interface Graph {
  readonly topic: Topic<Order>
  readonly orders: StreamingSubgraph
  readonly url: string
  readonly supergraph: string
  readonly app: Awaited<ReturnType<typeof startGateway>>['app']
  /** The calls of the catalogue. */
  readonly asked: () => number
}

/** Two subgraphs behind a gateway. @param by how the gateway gets the events */
export async function start(
  t: Test,
  by: 'sse' | 'websocket' = 'sse',
  options: Partial<GatewayOptions> = {},
): Promise<Graph> {
  const topic = new Topic<Order>()
  const orders = await startStreaming(t, ORDERS, {
    Query: { orders: () => [order('1')] },
    Mutation: { pay: (_: unknown, { id }: { id: string }) => order(id) },
    Subscription: {
      orderChanged: {
        subscribe: (_: unknown, { id }: { id?: string }) => {
          if (id === 'none') throw new Error('There is no such order.')
          return topic.subscribe()
        },
        resolve: (changed: Order) => changed,
      },
    },
    // Digits that JavaScript would change, as other servers write them.
    Order: { total: () => (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON('19.90000000000000000001') },
  })
  let calls = 0
  const entity = ({ upc }: { upc: string }) => (upc === 'p0' ? null : { upc, name: `Product ${upc}`, price: 1 })
  const catalog = await startSubgraph(t, CATALOG, { Product: { __resolveReference: entity } }, () => {
    calls++
  })
  const supergraph = compose(t, { orders: { sdl: ORDERS, url: orders.url }, catalog: { sdl: CATALOG, url: catalog } })
  const { app, url } = await startGateway(t, {
    supergraph,
    watchIntervalMs: 20,
    ...options,
    subscriptions: { ...(by === 'websocket' && { urls: { orders: orders.websocketUrl } }), ...options.subscriptions },
  })
  return { topic, orders, url, supergraph, app, asked: () => calls }
}

// biome-ignore lint/suspicious/noExplicitAny: a result's shape is what the tests look into
type Result = Record<string, any>

export interface Listening {
  /** The next result. */
  next(): Promise<Result>
  /** Everything else until the end. */
  rest(): Promise<Result[]>
  stop(): void
}

/** Subscribes with a real client. */
export function listen(
  url: string,
  by: 'sse' | 'websocket',
  query: string,
  {
    variables = {},
    token,
    authorization,
    more = {},
  }: { variables?: object; token?: string; authorization?: string; more?: object } = {},
): Listening {
  const results: Result[] = []
  let isOver = false
  let wake = () => {}
  const sink = {
    next: (result: object) => {
      results.push(result)
      wake()
    },
    error: (error: unknown) => {
      results.push({ refused: error })
      isOver = true
      wake()
    },
    complete: () => {
      isOver = true
      wake()
    },
  }
  const headers = {
    ...(token && { Authorization: `Bearer ${token}` }),
    ...(authorization && { Authorization: authorization }),
  }
  const client =
    by === 'sse'
      ? createSseClient({ url, headers, retryAttempts: 0 })
      : createWebSocketClient({
          url: url.replace('http', 'ws'),
          webSocketImpl: WebSocket,
          connectionParams: headers,
          retryAttempts: 0,
        })
  const stop = client.subscribe({ query, variables, ...more } as never, sink as never)
  const next = async () => {
    while (results.length === 0 && !isOver) {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('No result comes.')), 60_000)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    return results.shift() ?? { ended: true }
  }
  return {
    next,
    async rest() {
      const all: Result[] = []
      for (let each = await next(); !each.ended; each = await next()) all.push(each)
      return all
    },
    stop() {
      stop()
      client.dispose()
    },
  }
}
