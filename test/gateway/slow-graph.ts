/** A graph whose answers come in parts: what is slow waits until the test lets it answer. */
import { GraphQLError } from 'graphql'
import type { GatewayOptions } from '../../gateway/server.ts'
import { ACCEPTS, type Format, type Payload } from './incremental.ts'
import { compose, startGateway, startSubgraph, type Test } from './support.ts'

const SDL = {
  catalog: `
    type Query { product(id: ID!): Product products: [Product!]! fast: String }
    type Mutation { change: Product }
    interface Item { id: ID! }
    type Product implements Item @key(fields: "id") { id: ID! name: String! price: Int inner: Inner }
    type Inner { a: Int b: Int }`,
  reviews: `
    type Query { slow: String fails: Int mustNot: Int! many: [String!]! }
    type Product @key(fields: "id") { id: ID! reviews: [Review!]! rating: Int! broken: Int }
    type Review { id: ID! body: String author: User }
    type User @key(fields: "id") { id: ID! }`,
  users: 'type User @key(fields: "id") { id: ID! name: String }',
}

function createGate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

/** A gateway over three real subgraphs. What the last two answer waits until the test lets them. */
export async function startSlowGraph(t: Test, options: Partial<GatewayOptions> = {}) {
  const gates = { reviews: createGate(), users: createGate() }
  const calls: string[] = []
  const product = (id: string) => ({
    __typename: 'Product',
    id,
    name: `Product ${id}`,
    price: Number(id) * 10,
    inner: { a: 1, b: 2 },
  })
  const fails = (message: string) => async () => {
    await gates.reviews.opened
    throw new GraphQLError(message)
  }
  const seen = (name: string) => () => void calls.push(name)
  const catalog = await startSubgraph(
    t,
    SDL.catalog,
    {
      Query: {
        product: (_: unknown, { id }: { id: string }) => product(id),
        products: () => [product('1'), product('2')],
        fast: () => 'fast',
      },
      Mutation: { change: () => product('1') },
      Product: { __resolveReference: ({ id }: { id: string }) => product(id) },
    },
    seen('catalog'),
  )
  const reviews = await startSubgraph(
    t,
    SDL.reviews,
    {
      Query: {
        slow: async () => {
          await gates.reviews.opened
          return 'slow'
        },
        fails: fails('no good'),
        mustNot: fails('must not fail'),
        many: async () => {
          await gates.reviews.opened
          return Array.from({ length: 500 }, () => 'x'.repeat(100))
        },
      },
      Product: {
        reviews: async ({ id }: { id: string }) => {
          await gates.reviews.opened
          return [{ id: `r${id}`, body: `of ${id}`, author: { id: 'u1' } }]
        },
        rating: async ({ id }: { id: string }) => {
          await gates.reviews.opened
          if (id === '2') throw new GraphQLError('no rating')
          return 5
        },
        broken: fails('broken'),
      },
    },
    seen('reviews'),
  )
  const users = await startSubgraph(
    t,
    SDL.users,
    {
      User: {
        name: async () => {
          await gates.users.opened
          return 'Ann'
        },
      },
    },
    seen('users'),
  )
  const subgraphs = { catalog, reviews, users }
  const services = Object.entries(SDL).map(([name, sdl]) => [name, { sdl, url: subgraphs[name as 'users'] }])
  const gateway = await startGateway(t, { supergraph: compose(t, Object.fromEntries(services)), ...options })
  const openAll = () => {
    gates.reviews.open()
    gates.users.open()
  }
  t.teardown(openAll)
  return {
    ...gateway,
    gates,
    calls,
    openAll,
    ask: (query: string, format: Format, more = {}) => ask(gateway.url, { query, ...more }, format),
  }
}

/** An answer in parts over real HTTP, read as they arrive. */
async function ask(url: string, body: object, format: Format, headers: Record<string, string> = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: ACCEPTS[format], ...headers },
    body: JSON.stringify(body),
  })
  return { response, ...parts(response) }
}

export function parts(response: Response) {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  const decoder = new TextDecoder()
  let text = ''
  let isFirst = true
  /** The next payload; undefined after the last. */
  async function next(): Promise<Payload | undefined> {
    for (;;) {
      if (!response.headers.get('content-type')?.startsWith('multipart/mixed')) {
        throw new Error(
          `The answer came in one piece: ${await reader.read().then(({ value }) => decoder.decode(value))}`,
        )
      }
      const end = text.indexOf('\r\n---', isFirst ? 1 : 0)
      if (end >= 0) {
        const [, json = ''] = text.slice(0, end).split('\r\n\r\n')
        text = text.slice(end + 5)
        isFirst = false
        return JSON.parse(json)
      }
      const { done, value } = await reader.read()
      if (done) return undefined
      text += decoder.decode(value, { stream: true })
    }
  }
  async function rest(): Promise<Payload[]> {
    const all: Payload[] = []
    for (let each = await next(); each; each = await next()) all.push(each)
    return all
  }
  return { next, rest, left: () => text, cancel: () => reader.cancel() }
}
