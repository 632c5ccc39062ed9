/** What the gateway's tests share: small subgraphs, supergraphs composed on the spot, requests over HTTP. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildSubgraphSchema } from '@apollo/subgraph'
import { createSigner } from 'fast-jwt'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { GraphQLError, parse, Source } from 'graphql'
import { serveSubgraph } from '../../examples/commerce/mercurius.ts'
import { composeSchemas } from '../../gateway/planning/compose.ts'
import { buildGateway, type GatewayOptions } from '../../gateway/server.ts'

export const sampleSupergraph = 'examples/commerce/supergraph.graphql'

/** The part of tap's test object that is needed here. */
export interface Test {
  teardown: (end: () => unknown) => void
}

export interface Answer {
  status: number
  headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: an answer's shape is what the tests look into
  body: any
}

/** Listens on a free port until the test ends; resolves to the URL. */
export async function listen(t: Test, app: FastifyInstance): Promise<string> {
  t.teardown(() => app.close())
  return await app.listen({ port: 0, host: '127.0.0.1' })
}

/** A gateway for the test; `url` ends in /graphql. */
export async function startGateway(t: Test, options: GatewayOptions) {
  const app = await buildGateway(options)
  const base = await listen(t, app)
  return { app, base, url: `${base}/graphql` }
}

/** Posts a GraphQL request as JSON. */
export async function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
  return { status: response.status, headers: response.headers, body: await response.json() }
}

/**
 * Composes subgraphs into a supergraph file. It has a folder of its own: test files that share a process share their
 * fixtures' folder.
 */
export function compose(t: Test, subgraphs: Record<string, { sdl: string; url: string }>): string {
  const services = Object.entries(subgraphs)
  const sdls = services.map(([name, { sdl }]) => [name, sdl] as const)
  const key = JSON.stringify(sdls)
  let composed = supergraphs.get(key)
  if (composed === undefined) {
    composed = composeAt(sdls)
    supergraphs.set(key, composed)
  }
  const text = services.reduce(
    (text, [name, { url }]) => text.replaceAll(JSON.stringify(placeOf(name)), () => JSON.stringify(url)),
    composed,
  )
  const folder = mkdtempSync(join(tmpdir(), 'supergraph-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'supergraph.graphql')
  writeFileSync(path, text)
  return path
}

/** By their subgraphs: many tests start the same ones, on other ports. To compose them costs more than to serve them. */
const supergraphs = new Map<string, string>()

/** Stands for the URL of a subgraph. */
const placeOf = (name: string) => `http://${name}.example/to-be-replaced`

function composeAt(sdls: readonly (readonly [name: string, sdl: string])[]): string {
  const link =
    'extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key", "@shareable", "@cost", "@listSize"])\n'
  const result = composeSchemas(
    sdls.map(([name, sdl]) => ({
      name,
      url: placeOf(name),
      schema: new Source(sdl.includes('@link') ? sdl : link + sdl, name),
    })),
  )
  if (result.supergraph === undefined) throw new Error(result.errors.join('\n'))
  return result.supergraph
}

type Resolvers =
  NonNullable<Exclude<Parameters<typeof buildSubgraphSchema>[0], unknown[]>> extends infer Modules
    ? Modules extends { resolvers?: infer R }
      ? R
      : never
    : never

/** Ajv does not check the schemas of Mercurius's routes: that would take 25 ms for each subgraph. */
const TRUSTED_SCHEMAS = { ajv: { customOptions: { validateSchema: false } } } as const

/** A real Mercurius subgraph; each request is handed to `seen`. Resolves to its URL. */
export async function startSubgraph(
  t: Test,
  sdl: string,
  resolvers: Resolvers,
  seen: (request: FastifyRequest) => void = () => {},
): Promise<string> {
  const link = 'extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key", "@shareable"])\n'
  const typeDefs = parse(sdl.includes('@link') ? sdl : link + sdl)
  const schema = buildSubgraphSchema({ typeDefs, ...(resolvers && { resolvers }) })
  const app = Fastify(TRUSTED_SCHEMAS)
  app.addHook('preHandler', async (request) => seen(request))
  await serveSubgraph(app, schema, ({ headers }) => ({ headers }))
  return `${await listen(t, app)}/graphql`
}

export interface Tokens {
  readonly sign: (subject: string, expiresInMs?: number) => string
  readonly jwk: object
}

/** A key pair as the customer subgraph has one. @param kid the key's id */
export function createTokens(kid = 'test'): Tokens {
  const { publicKey, privateKey }: { publicKey: KeyObject; privateKey: KeyObject } = generateKeyPairSync('ed25519')
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  return {
    sign: (sub, expiresInMs = 60_000) => {
      const exp = Math.floor((Date.now() + expiresInMs) / 1000)
      return createSigner({ key, algorithm: 'EdDSA', kid })({ sub, exp })
    },
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg: 'EdDSA', use: 'sig' },
  }
}

/** A stand-in for the customer subgraph with its whole schema: two customers, known by the tokens `one` and `two` or by JWTs. */
export async function startCustomers(t: Test, jwks: () => readonly object[] = () => []): Promise<string> {
  const subject = (token: string) => {
    if (token === 'one' || token === 'two') return token === 'one' ? 1 : 2
    const claims = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString() || '{}'
    return Number((JSON.parse(claims) as { sub?: string }).sub)
  }
  const app = Fastify(TRUSTED_SCHEMAS)
  const schema = buildSubgraphSchema({
    typeDefs: parse(readFileSync('schema/customer.graphql', 'utf8')),
    resolvers: {
      Query: {
        customer: (_root: unknown, _arguments: unknown, context: unknown) => {
          const { authorization = '' } = (context as FastifyRequest).headers
          const id = subject(authorization.replace('Bearer ', ''))
          if (id) return { id, email: `customer${id}@example.com` }
          throw new GraphQLError("The current customer isn't authorized.", {
            extensions: { category: 'graphql-authorization', code: 'UNAUTHENTICATED' },
          })
        },
      },
    },
  })
  await serveSubgraph(app, schema, ({ headers }) => ({ headers }))
  app.get('/.well-known/jwks.json', () => ({ keys: jwks() }))
  return await listen(t, app)
}

/** A request that a subgraph has got, to be answered by hand. */
export interface Asked {
  readonly query: string
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

/** A subgraph that is answered by hand. @returns its URL */
export async function serve(t: Test, listener: (asked: Asked) => void): Promise<string> {
  const handle: RequestListener = (request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk
    })
    request.on('end', () => listener({ query: JSON.parse(body).query, request, response }))
  }
  const server = createServer(handle)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`
}

export function answer(response: ServerResponse, data: object): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ data }))
}
