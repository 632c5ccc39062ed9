/** The planner's rewrites of representations and answers, for names that differ between subgraphs and the graph. */
import type { FetchDataRewrite } from '@apollo/query-planner'
import { type GraphQLSchema, isAbstractType, isInterfaceType, isObjectType } from 'graphql'
import { type Data, isData, own, setOwn } from './json-objects.ts'

const ON = '... on '

/** Changes a value, or each element of a list, in place. */
export type Rewrite = (value: unknown) => void

/** @param schema the whole supergraph, including elements hidden from clients */
export function compileRewrites(
  schema: GraphQLSchema,
  rewrites: readonly FetchDataRewrite[] | undefined,
): Rewrite | undefined {
  if (!rewrites?.length) return undefined
  const all = rewrites.map((rewrite) => compile(schema, rewrite.path.slice(0, -1), change(rewrite)))
  return (value) => {
    for (const rewrite of all) rewrite(value)
  }
}

/**
 * The keys that the planner renames in a subgraph's answer: it adds aliases such as `name__alias_0` where fields of one
 * name have different types. They also occur in the paths of errors.
 */
export function renamedKeys(rewrites: readonly FetchDataRewrite[] = []): ReadonlyMap<string, string> {
  const names = new Map<string, string>()
  for (const rewrite of rewrites) {
    if (rewrite.kind === 'KeyRenamer') names.set(rewrite.path.at(-1) as string, rewrite.renameKeyTo)
  }
  return names
}

function change(rewrite: FetchDataRewrite): (object: Data) => void {
  const key = rewrite.path.at(-1) as string
  if (rewrite.kind === 'ValueSetter') return (object) => setOwn(object, key, rewrite.setValueTo)
  return (object) => {
    const value = own(object, key)
    if (value === undefined) return
    setOwn(object, rewrite.renameKeyTo, value)
    delete object[key]
  }
}

function compile(schema: GraphQLSchema, path: readonly string[], last: (object: Data) => void): Rewrite {
  const [first, ...rest] = path
  const next = first === undefined ? undefined : compile(schema, rest, last)
  const step = (object: Data): void => {
    if (first === undefined || next === undefined) last(object)
    else if (!first.startsWith(ON)) next(own(object, first))
    else if (isOfType(schema, object, first.slice(ON.length), true)) next(object)
  }
  return function walk(value) {
    if (Array.isArray(value)) for (const item of value) walk(item)
    else if (isData(value)) step(value)
  }
}

/** Whether an object is of a type by its `__typename`; `unless` if it has none. */
export function isOfType(schema: GraphQLSchema, object: Data, condition: string, unless: boolean): boolean {
  const typename = own(object, '__typename')
  return typeof typename === 'string' && typename !== '' ? fits(schema, typename, condition) : unless
}

/** Whether a type is another one, or one of its kinds. */
export function fits(schema: GraphQLSchema, typename: string, condition: string): boolean {
  if (typename === condition) return true
  const [type, abstract] = [schema.getType(typename), schema.getType(condition)]
  return isAbstractType(abstract) && (isObjectType(type) || isInterfaceType(type)) && schema.isSubType(abstract, type)
}

/** A type's name, and those of its kinds. */
export function kindsOf(schema: GraphQLSchema, name: string): string[] {
  const type = schema.getType(name)
  return isAbstractType(type) ? [name, ...schema.getPossibleTypes(type).map((each) => each.name)] : [name]
}
