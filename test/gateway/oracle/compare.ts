/** Whether an answer is what the one server that holds everything answers. */
import { buildSchema, type DocumentNode, execute, type GraphQLSchema, parse, print, printSchema, visit } from 'graphql'
import type { Asked } from './operations.ts'
import { type Thing, trueResolver, type World } from './world.ts'

type Path = readonly (string | number)[]
export interface Answer {
  readonly data?: unknown
  readonly errors?: readonly { readonly message: string; readonly path?: Path | undefined }[]
}

export interface Oracle {
  readonly answer: (asked: Asked) => Promise<Answer>
  /** What differs; undefined: nothing that the specification does not allow. */
  readonly difference: (asked: Asked, answer: Answer) => Promise<string | undefined>
}

/** @param schema what clients see of the whole */
export function createOracle(world: World, schema: GraphQLSchema): Oracle {
  const lenient = withoutNonNull(schema)
  const run = async (on: GraphQLSchema, document: DocumentNode, variables: Asked['variables']): Promise<Answer> => {
    const answer = await execute({
      schema: on,
      document,
      variableValues: variables,
      fieldResolver: trueResolver(world) as never,
      typeResolver: (value) => (value as Thing).__typename,
    })
    return JSON.parse(JSON.stringify(answer))
  }
  const answer = ({ query, variables }: Asked) => run(schema, parse(query), variables)
  return {
    answer,
    async difference(asked, ours) {
      const theirs = await answer(asked)
      const [data, expected] = [ours.data, theirs.data].map((each) => JSON.stringify(each ?? null))
      if (data !== expected) return `data: ${data}\nexpected: ${expected}\nerrors: ${JSON.stringify(ours.errors)}`
      return differentErrors(ours, theirs, () => run(lenient, parse(asked.query), asked.variables))
    },
  }
}

/**
 * An error is where the data has a null for it. Of several errors that make one place null the specification lets a server
 * tell any: so the places are compared, and each path must be that of an error that would come if nothing were non-null.
 */
async function differentErrors(ours: Answer, theirs: Answer, all: () => Promise<Answer>): Promise<string | undefined> {
  const pathsOf = ({ errors = [] }: Answer) => errors.map(({ path }) => path)
  const placesOf = (all: readonly (Path | undefined)[]) => all.map((path) => placeOf(theirs.data, path))
  const [paths, expected] = [pathsOf(ours), pathsOf(theirs)]
  const [places, wanted] = [placesOf(paths), placesOf(expected)]
  if (textOf(paths) === textOf(expected)) return undefined
  const told = `errors: ${JSON.stringify(ours.errors)}\nexpected: ${JSON.stringify(theirs.errors)}`
  if (textOf(unique(places)) !== textOf(unique(wanted))) return told
  const possible = new Set((await all()).errors?.map(({ path }) => JSON.stringify(path)))
  const texts = paths.map((path) => JSON.stringify(path))
  if (texts.some((path) => !possible.has(path))) return told
  return new Set(texts).size < texts.length ? `told twice: ${told}` : undefined
}

const unique = (paths: readonly (Path | undefined)[]): Path[] =>
  [...new Set(paths.map((path) => JSON.stringify(path ?? null)))].map((text) => JSON.parse(text))

const textOf = (paths: readonly (Path | undefined)[]): string =>
  paths
    .map((path) => JSON.stringify(path ?? null))
    .sort()
    .join()

/** Where the null is that an error leads to. */
function placeOf(data: unknown, path: Path | undefined): Path | undefined {
  let value = data
  for (const [index, part] of (path ?? []).entries()) {
    if (value === null || typeof value !== 'object') return path?.slice(0, index)
    value = (value as Record<string | number, unknown>)[part]
  }
  return path
}

function withoutNonNull(schema: GraphQLSchema): GraphQLSchema {
  const document = visit(parse(printSchema(schema)), {
    InputValueDefinition: () => false,
    NonNullType: { leave: ({ type }) => type },
  })
  return buildSchema(print(document), { assumeValidSDL: true })
}
