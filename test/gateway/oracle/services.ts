/** Subgraphs in this process. */
import { buildSubgraphSchema } from '@apollo/subgraph'
import { type DocumentNode, execute, type GraphQLFieldResolver, parse, validate } from 'graphql'
import type { Transport } from '../../../gateway/subgraphs/client.ts'

const LINK = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key", "@requires", "@provides",
  "@external", "@shareable", "@override", "@interfaceObject"])\n`

export interface Service {
  readonly name: string
  /** Without its link to federation. */
  readonly sdl: string
  readonly resolvers: Readonly<Record<string, object>>
  readonly fieldResolver: GraphQLFieldResolver<unknown, unknown>
}

/** What is composed of a subgraph. */
export const definitionOf = ({ name, sdl }: Service) => ({
  name,
  url: `http://${name}.example/graphql`,
  typeDefs: parse(LINK + sdl),
})

export interface Call {
  readonly service: string
  readonly query: string
  readonly variables: unknown
  readonly answer: unknown
}

/** @param calls where each call is noted; undefined: nowhere */
export function transportOf(service: Service, calls: () => Call[] | undefined): Transport {
  const { name, resolvers, fieldResolver } = service
  const schema = buildSubgraphSchema([{ typeDefs: definitionOf(service).typeDefs, resolvers: resolvers as never }])
  const documents = new Map<string, DocumentNode>()
  return async (body) => {
    const { query, variables = {} } = JSON.parse(body) as { query: string; variables?: Record<string, unknown> }
    let document = documents.get(query)
    if (!document) {
      document = parse(query)
      const [error] = validate(schema, document)
      if (error) throw new Error(`The plan has an operation that is not valid: ${error.message} ${query}`)
      documents.set(query, document)
    }
    const answer = await execute({ schema, document, variableValues: variables, fieldResolver })
    calls()?.push({ service: name, query, variables, answer })
    return { status: 200, text: JSON.stringify(answer), headers: {} }
  }
}
