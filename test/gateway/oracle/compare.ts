/** Whether an answer is what the one server that holds everything answers. */
import { buildSchema, type DocumentNode, execute, type GraphQLSchema, parse, print, printSchema, visit } from 'graphql'
import type { Asked } from './operations.ts'
import { WRONG } from './second/data.ts'
import type { Universe } from './universes.ts'

type Path = readonly (string | number)[]
export interface Answer {
  readonly data?: unknown
  readonly errors?: readonly { readonly message: string; readonly path?: Path | undefined }[]
}

export interface Oracle {
  readonly answer: (asked: Asked) => Promise<Answer>
  /** If nothing were non-null. */
  readonly lenientAnswer: (asked: Asked) => Promise<Answer>
  /** What differs; undefined: nothing that the specification does not allow. */
  readonly difference: (asked: Asked, answer: Answer) => Promise<string | undefined>
}

/** @param schema what clients see of the whole */
export function createOracle(universe: Universe, schema: GraphQLSchema): Oracle {
  const lenient = withoutNonNull(schema)
  const run = async (on: GraphQLSchema, document: DocumentNode, variables: Asked['variables']): Promise<Answer> => {
    const answer = await execute({
      schema: on,
      document,
      variableValues: variables,
      fieldResolver: universe.truth,
      typeResolver: universe.kindOf,
    })
    return JSON.parse(JSON.stringify(answer))
  }
  const answer = ({ query, variables }: Asked) => run(schema, parse(query), variables)
  return {
    answer,
    lenientAnswer: ({ query, variables }) => run(lenient, parse(query), variables),
    async difference(asked, ours) {
      const theirs = await answer(asked)
      const [data, expected] = [ours.data, theirs.data].map((each) => JSON.stringify(each ?? null))
      if (data !== expected) return `data: ${data}\nexpected: ${expected}\nerrors: ${JSON.stringify(ours.errors)}`
      // Refused as a whole: by its variables.
      if (theirs.data === undefined) return ours.errors?.length ? undefined : 'it was not refused'
      const wrong = ours.errors?.find(({ message }) => message.startsWith(WRONG))
      if (wrong) return wrong.message
      if (universe.losesEntities) return lostErrors(ours, theirs)
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
  const lenient = await all()
  const possible = new Set(lenient.errors?.map(({ path }) => JSON.stringify(path)))
  const isNull = (path: Path | undefined) => path !== undefined && valueAt(lenient.data, path) === null
  // The one server does not ask for the fields of an object whose conditions it can't decide. The gateway has asked by then.
  const undecided = (lenient.errors ?? []).filter(({ message }) => message.startsWith('Argument "if"'))
  const isUndecided = (path: Path | undefined) =>
    undecided.some(({ path: object = [] }) => object.every((part, index) => path?.[index] === part))
  const texts = paths.map((path) => JSON.stringify(path))
  const isPossible = (path: Path | undefined, index: number) =>
    possible.has(texts[index] as string) || isNull(path) || isUndecided(path)
  if (!paths.every(isPossible)) return told
  return new Set(texts).size < texts.length ? `told twice: ${told}` : undefined
}

/**
 * A subgraph that can't find an entity says so once, at the entity; the one server has an error for each of its fields. So
 * only the places count, and one stands for all that are in it.
 */
function lostErrors(ours: Answer, theirs: Answer): string | undefined {
  const placesOf = ({ errors = [] }: Answer) => unique(errors.map(({ path }) => placeOf(theirs.data, path ?? [])))
  const isNull = (path: Path) => valueAt(theirs.data, path) === null
  const within = (path: Path, place: Path) => place.every((part, index) => path[index] === part)
  const [told, wanted] = [placesOf(ours), placesOf(theirs)]
  const [objects, others] = [told.filter((path) => !isNull(path)), told.filter(isNull)]
  const missing = wanted.find(
    (path) => ![...others.filter((each) => within(each, path)), ...objects].some((each) => within(path, each)),
  )
  const additional = [
    ...others.filter((path) => !wanted.some((each) => within(each, path) && within(path, each))),
    ...objects.filter((path) => !wanted.some((each) => within(each, path))),
  ][0]
  if (!missing && !additional) return undefined
  return `missing ${JSON.stringify(missing)}, additional ${JSON.stringify(additional)}: ${JSON.stringify(ours.errors)}\nexpected: ${JSON.stringify(theirs.errors)}`
}

const valueAt = (data: unknown, path: Path): unknown =>
  path.reduce<unknown>((value, part) => (value as Path)?.[part as number], data)

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
