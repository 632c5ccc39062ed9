/** Translates the paths of errors from the names used in subgraph calls to the client's. */
import { type GraphQLFormattedError, type GraphQLSchema, isAbstractType, isObjectType } from 'graphql'
import { type Data, isData, own } from './json-objects.ts'
import type { Field, Shape } from './selection-shape.ts'

type Path = readonly (string | number)[]

/**
 * Errors for the client, without duplicates, because two subgraphs may have been asked for one field. A path ends
 * before fields that the client did not select: keys, requirements, and whatever else the planner adds.
 * @param data what the subgraphs sent, merged
 */
export function withClientPaths(
  errors: readonly GraphQLFormattedError[],
  schema: GraphQLSchema,
  root: Shape,
  data: Data,
): GraphQLFormattedError[] {
  const known = new Set<string>()
  const placed = errors.flatMap(({ path: internal, ...rest }) => {
    const found = internal && clientPath(internal, schema, root, data)
    if (found === UNDECIDED) return []
    const { paths = [undefined], isLeaf = false } = found ?? {}
    return paths.map((path) => ({ rest, internal, path, isLeaf, missing: path && internal?.[path.length] }))
  })
  // A field selected by the client under an internal name, and by the planner under its own, fails twice.
  const asked = new Set<string>()
  for (const { rest, internal = [], path = [] } of placed) {
    for (const [at, part] of internal.slice(0, path.length).entries()) {
      const own = typeof part === 'string' && part !== path[at] ? part.replace(/__\d+$/, '') : undefined
      if (own !== undefined) asked.add(JSON.stringify([path.slice(0, at), own, rest.message]))
    }
  }
  return placed.flatMap(({ rest, path, isLeaf, missing }) => {
    // One error for a leaf. For an object, one error from each subgraph that should have returned a part of it.
    const key = JSON.stringify(isLeaf ? [path] : [path, rest.message])
    if (known.has(key) || asked.has(JSON.stringify([path, missing, rest.message]))) return []
    known.add(key)
    const { message, ...others } = rest
    return [path && path.length > 0 ? { message, path, ...others } : rest]
  })
}

/** The path leads into an object whose condition is null. That object has its own error, so errors inside it are dropped. */
const UNDECIDED = Symbol('undecided')

interface Placed {
  /** Several for a leaf with several names. */
  readonly paths: readonly Path[]
  /** Whether they are paths of a leaf. */
  readonly isLeaf: boolean
}

function clientPath(internal: Path, schema: GraphQLSchema, root: Shape, data: Data): Placed | typeof UNDECIDED {
  const path: (string | number)[] = []
  let shape: Shape | undefined = root
  let value: unknown = data
  let keys: readonly string[] = []
  for (const part of internal) {
    if (typeof part === 'number') {
      path.push(part)
      value = Array.isArray(value) ? value[part] : undefined
      continue
    }
    if (shape && isUndecided(shape, value)) return UNDECIDED
    const fields: readonly Field[] = shape ? fieldsAt(schema, shape, value, part) : []
    const [field] = fields
    if (!field) break
    path.push(field.key)
    keys = fields.map(({ key }) => key)
    shape = field.shape
    value = isData(value) ? own(value, part) : undefined
  }
  const isLeaf = path.length === internal.length && shape === undefined
  const hasNames = isLeaf && typeof internal.at(-1) === 'string'
  return { paths: hasNames ? keys.map((key) => [...path.slice(0, -1), key]) : [path], isLeaf }
}

function isUndecided(shape: Shape, value: unknown): boolean {
  if (!isData(value)) return false
  const sent = own(value, '__typename')
  return shape.fieldsOf(typeof sent === 'string' ? sent : shape.type.name)?.[0]?.kind === 'undecided'
}

/**
 * The fields behind a name in a subgraph call: several for a key's field with several names. If the object is missing,
 * or only its interface is known, they may be fields of any type.
 */
function fieldsAt(schema: GraphQLSchema, shape: Shape, value: unknown, name: string): readonly Field[] {
  const sent = isData(value) ? own(value, '__typename') : undefined
  const find = (typename: string) => shape.fieldsOf(typename)?.filter(({ source }) => source === name) ?? []
  const type = typeof sent === 'string' ? schema.getType(sent) : undefined
  if (isObjectType(type)) return find(type.name)
  if (!isAbstractType(shape.type)) return find(shape.type.name)
  for (const { name: typename } of [shape.type, ...schema.getPossibleTypes(shape.type)]) {
    const fields = find(typename)
    if (fields.length > 0) return fields
  }
  return []
}
