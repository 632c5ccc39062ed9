/**
 * The representation of an entity in a call to another subgraph: the fields of its key, and those that `@requires`
 * needs.
 */
import type { FetchNode, QueryPlanSelectionNode } from '@apollo/query-planner'
import { GraphQLID, type GraphQLSchema, getNamedType, isInterfaceType, isObjectType } from 'graphql'
import { copy, type Data, isData, isInherited, merge, own, setOwn } from './json-objects.ts'
import { compileRewrites, fits, isOfType } from './rewrites.ts'
import { quote } from './serialise.ts'

/**
 * An entity's representation as JSON; undefined if the entity lacks a field of it; then the entity is not requested.
 */
export type Represent = (entity: Data) => string | undefined

/**
 * Compiles a fetch's `requires`. In the usual case of fields in one fragment, a generated function prints them;
 * otherwise an object is built by the planner's rules, rewritten and printed.
 * @param schema the whole supergraph
 */
export function compileRepresentations(schema: GraphQLSchema, fetch: FetchNode): Represent {
  const { requires = [], inputRewrites } = fetch
  const rewrite = compileRewrites(schema, inputRewrites)
  const byRules: Represent = (entity) => {
    const representation = select(schema, entity, requires)
    if (!isData(representation) || !own(representation, '__typename')) return undefined
    rewrite?.(representation)
    return JSON.stringify(representation)
  }
  if (rewrite) return byRules
  const printers = new Map<string, Represent>()
  const printerOf = (typename: string): Represent => {
    const matching = requires.filter(
      (each) => each.kind === 'Field' || fits(schema, typename, each.typeCondition ?? ''),
    )
    const [only] = matching
    const isSimple =
      matching.length === 1 &&
      only?.kind === 'InlineFragment' &&
      only.selections.every(isPlain) &&
      only.selections.some((each) => each.kind === 'Field' && responseName(each) === '__typename')
    const print = isSimple ? generate(only.selections, idNames(schema)) : byRules
    printers.set(typename, print)
    return print
  }
  return (entity) => {
    const typename = own(entity, '__typename')
    if (typeof typename !== 'string') return byRules(entity)
    return (printers.get(typename) ?? printerOf(typename))(entity)
  }
}

/**
 * Identifies a representation without printing it: the single field of its key, if only one type is requested.
 * Otherwise undefined.
 */
export type Identify = (entity: Data) => string | number | undefined

export function compileIdentity({ requires = [], inputRewrites }: FetchNode): Identify | undefined {
  const [only] = requires
  if (inputRewrites?.length || requires.length !== 1 || only?.kind !== 'InlineFragment') return undefined
  const { typeCondition, selections } = only
  const names = selections.map((each) => (each.kind === 'Field' && !each.selections ? responseName(each) : undefined))
  const [key, ...others] = names.filter((name) => name !== '__typename')
  if (key === undefined || others.length > 0 || names.length !== 2 || isInherited(key)) return undefined
  return (entity) => {
    if (entity.__typename !== typeCondition) return undefined
    const value = entity[key]
    return typeof value === 'string' || typeof value === 'number' ? value : undefined
  }
}

const NONE: ReadonlySet<string> = new Set()

const isPlain = (selection: QueryPlanSelectionNode): boolean =>
  selection.kind === 'Field' && (selection.selections?.every(isPlain) ?? true)

const responseName = ({ alias, name }: { readonly alias?: string; readonly name: string }) => alias ?? name

/** The planner's rule: an object that lacks a field is null as a whole; a fragment of another type adds nothing. */
function select(schema: GraphQLSchema, source: unknown, selections: readonly QueryPlanSelectionNode[]): unknown {
  if (!isData(source)) return null
  const result: Data = {}
  for (const selection of selections) {
    if (selection.kind === 'Field') {
      const key = responseName(selection)
      const value = own(source, key)
      if (value === undefined) return null
      setOwn(
        result,
        key,
        selection.selections
          ? each(schema, value, selection.selections)
          : idNames(schema).has(selection.name)
            ? known(value)
            : value,
      )
    } else if (selection.typeCondition !== undefined && isOfType(schema, source, selection.typeCondition, false)) {
      const part = select(schema, source, selection.selections)
      if (isData(part)) merge(result, copy(part), NONE)
    }
  }
  return result
}

function each(schema: GraphQLSchema, value: unknown, selections: readonly QueryPlanSelectionNode[]): unknown {
  return Array.isArray(value) ? value.map((item) => each(schema, item, selections)) : select(schema, value, selections)
}

/** Prints plain fields. Returns undefined if one is missing; a nested object that lacks one is null. */
function generate(selections: readonly QueryPlanSelectionNode[], ids: ReadonlySet<string>): Represent {
  const nested: Represent[] = []
  const reads: string[] = []
  const parts: string[] = []
  for (const [index, selection] of selections.entries()) {
    if (selection.kind !== 'Field') continue
    const key = JSON.stringify(responseName(selection))
    const read = isInherited(responseName(selection))
      ? `(Object.hasOwn(o, ${key}) ? o[${key}] : undefined)`
      : `o[${key}]`
    reads.push(`const v${index} = ${read}; if (v${index} === undefined) return undefined;`)
    const start = JSON.stringify(`${index === 0 ? '' : ','}${key}:`)
    if (selection.selections) {
      nested.push(generate(selection.selections, ids))
      parts.push(`${start} + list(v${index}, n[${nested.length - 1}])`)
    } else parts.push(`${start} + ${ids.has(selection.name) ? 'id' : 'leaf'}(v${index})`)
  }
  const source = `return (o) => { ${reads.join('\n')}\nreturn '{' + ${parts.join(' + ') || "''"} + '}'; }`
  return new Function('n', 'leaf', 'id', 'list', source)(nested, leaf, id, list) as Represent
}

function leaf(value: unknown): string {
  if (typeof value === 'string') return quote(value)
  return typeof value === 'number' ? `${value}` : JSON.stringify(value)
}

/** An id that is a number with more digits than JavaScript can represent would identify another entity. */
const known = (value: unknown): unknown =>
  typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value) ? null : value

const id = (value: unknown): string => leaf(known(value))

const idFields = new WeakMap<GraphQLSchema, ReadonlySet<string>>()

/** The names of the schema's fields that are ids. */
function idNames(schema: GraphQLSchema): ReadonlySet<string> {
  let names = idFields.get(schema)
  if (!names) {
    const types = Object.values(schema.getTypeMap()).filter((type) => isObjectType(type) || isInterfaceType(type))
    const fields = types.flatMap((type) => Object.values(type.getFields()))
    names = new Set(fields.filter(({ type }) => getNamedType(type) === GraphQLID).map(({ name }) => name))
    idFields.set(schema, names)
  }
  return names
}

function list(value: unknown, print: Represent): string {
  if (Array.isArray(value)) return `[${value.map((item) => list(item, print)).join(',')}]`
  return (isData(value) && print(value)) || 'null'
}
