/** Limits for documents, so that no document costs the gateway or the subgraphs much more than its sender. */
import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  GraphQLError,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLOutputType,
  type GraphQLSchema,
  getNamedType,
  getNullableType,
  isCompositeType,
  isInterfaceType,
  isListType,
  isObjectType,
  Kind,
  type OperationDefinitionNode,
  parse,
  type SelectionSetNode,
  type ValueNode,
  valueFromAST,
} from 'graphql'
import { getDirectiveValues } from 'graphql/execution/values.js'
import type { DocumentLimits } from '../accepted-values.ts'
import { codedError } from '../errors.ts'

/** The nesting of brackets: far more than any executable document needs, and safe for the parser's recursion. */
const BRACKETS = 200
/** Of an alias, an operation, a fragment or a variable, in characters. */
const MAX_NAME = 255
/** The assumed size of a list without `@listSize`. */
const ASSUMED_LIST_SIZE = 10

/**
 * Whether brackets are nested so deeply that parsing could overflow the stack; one pass over the text, which skips
 * strings.
 */
export function isTooDeep(source: string): boolean {
  let depth = 0
  for (let index = 0; index < source.length; index++) {
    switch (source.charCodeAt(index)) {
      case 0x7b: // {
      case 0x5b: // [
      case 0x28: // (
        if (++depth > BRACKETS) return true
        break
      case 0x7d:
      case 0x5d:
      case 0x29:
        depth--
        break
      case 0x23: // a comment, to the line's end
        while (index < source.length && source[index] !== '\n' && source[index] !== '\r') index++
        break
      case 0x22:
        index = endOfString(source, index)
    }
  }
  return false
}

function endOfString(source: string, from: number): number {
  if (source.startsWith('"""', from)) {
    let end = source.indexOf('"""', from + 3)
    while (end > 0 && source[end - 1] === '\\') end = source.indexOf('"""', end + 3)
    return end < 0 ? source.length : end + 2
  }
  let index = from + 1
  while (index < source.length && source[index] !== '"' && source[index] !== '\n')
    index += source[index] === '\\' ? 2 : 1
  return index
}

/** @throws GraphQLError GRAPHQL_PARSE_FAILED, or OPERATION_TOO_LARGE if it has too many tokens */
export function parseDocument(source: string, limits: DocumentLimits): DocumentNode {
  try {
    return parse(source, { maxTokens: limits.tokens })
  } catch (error) {
    if (!(error instanceof GraphQLError)) throw error
    if (/more that \d+ tokens/.test(error.message)) {
      const message = `The document has more than ${limits.tokens} tokens.`
      throw new GraphQLError(message, { extensions: { code: 'OPERATION_TOO_LARGE' } })
    }
    const { message, nodes, source: text, positions } = error
    throw new GraphQLError(message, {
      nodes: nodes ?? null,
      source: text ?? null,
      positions: positions ?? null,
      extensions: { code: 'GRAPHQL_PARSE_FAILED' },
    })
  }
}

interface Size {
  depth: number
  fields: number
  aliases: number
  rootFields: number
}

/**
 * Checks the limits and names of a document. Call it before validation, which takes long for some of these documents,
 * so the document need not be valid. Fragments are measured once and counted where they are used, so doubling ones cost
 * nothing.
 */
export function checkDocument(document: DocumentNode, limits: DocumentLimits): readonly GraphQLError[] {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition)
  }
  const sizes = new Map<string, Size>()
  let directives = 0
  let reserved: string | undefined
  let nameLength = 0

  function sizeOf({ selections }: SelectionSetNode): Size {
    const size: Size = { depth: 0, fields: 0, aliases: 0, rootFields: 0 }
    for (const selection of selections) {
      directives = Math.max(directives, selection.directives?.length ?? 0)
      if (selection.kind === Kind.FIELD) {
        size.fields++
        size.rootFields++
        if (selection.alias) {
          size.aliases++
          nameLength = Math.max(nameLength, selection.alias.value.length)
          if (selection.alias.value.startsWith('__')) reserved ??= selection.alias.value
        }
        if (!selection.selectionSet) continue
        const inner = sizeOf(selection.selectionSet)
        size.depth = Math.max(size.depth, inner.depth + 1)
        size.fields += inner.fields
        size.aliases += inner.aliases
      } else {
        const inner =
          selection.kind === Kind.INLINE_FRAGMENT
            ? sizeOf(selection.selectionSet)
            : sizeOfFragment(selection.name.value)
        size.depth = Math.max(size.depth, inner.depth)
        size.fields += inner.fields
        size.aliases += inner.aliases
        size.rootFields += inner.rootFields
      }
    }
    return size
  }

  function sizeOfFragment(name: string): Size {
    const known = sizes.get(name)
    if (known) return known
    const none = { depth: 0, fields: 0, aliases: 0, rootFields: 0 }
    sizes.set(name, none) // a cycle ends here: validation refuses it
    const fragment = fragments.get(name)
    if (!fragment) return none
    const size = sizeOf(fragment.selectionSet)
    sizes.set(name, size)
    return size
  }

  const errors: GraphQLError[] = []
  const check = (actual: number, maximum: number, what: string, whose = 'The operation') => {
    if (actual > maximum) errors.push(excess(`${whose} has ${actual} ${what}; at most ${maximum} are allowed.`))
  }
  for (const name of fragments.keys()) {
    sizeOfFragment(name)
    nameLength = Math.max(nameLength, name.length)
  }
  for (const definition of document.definitions) {
    if (definition.kind !== Kind.OPERATION_DEFINITION) continue
    directives = Math.max(directives, definition.directives?.length ?? 0)
    nameLength = Math.max(nameLength, definition.name?.value.length ?? 0)
    for (const { variable } of definition.variableDefinitions ?? []) {
      nameLength = Math.max(nameLength, variable.name.value.length)
    }
    const size = sizeOf(definition.selectionSet)
    check(size.depth, limits.depth, 'levels')
    check(size.fields, limits.fields, 'fields')
    check(size.aliases, limits.aliases, 'aliases')
    check(size.rootFields, limits.rootFields, 'root fields')
  }
  if (errors.length === 0) {
    // Validation compares the fields of a fragment with each other, also where no operation uses it.
    const most = [...sizes.values()].reduce((most, { fields }) => Math.max(most, fields), 0)
    check(most, limits.fields, 'fields', 'A fragment')
  }
  check(directives, limits.directives, 'directives in one place')
  if (nameLength > MAX_NAME) {
    errors.push(codedError(`A name in the document has more than ${MAX_NAME} characters.`, 'OPERATION_TOO_LARGE'))
  }
  if (reserved !== undefined) {
    const message = `The alias "${reserved.slice(0, 100)}" begins with "__", which is reserved for introspection.`
    errors.push(codedError(message, 'GRAPHQL_VALIDATION_FAILED'))
  }
  return errors
}

/** An error about a document, or its variables, that exceed a limit. */
function excess(message: string): GraphQLError {
  return codedError(message, 'OPERATION_TOO_COMPLEX')
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

function hasVariable(value: ValueNode): boolean {
  if (value.kind === Kind.VARIABLE) return true
  if (value.kind === Kind.LIST) return value.values.some(hasVariable)
  return value.kind === Kind.OBJECT && value.fields.some((field) => hasVariable(field.value))
}

/** How deep lists are nested. */
function levelsOf(type: GraphQLOutputType): number {
  const inner = getNullableType(type)
  return isListType(inner) ? 1 + levelsOf(inner.ofType) : 0
}

interface ListSize {
  readonly assumedSize?: number
  readonly slicingArguments?: readonly string[]
  readonly sizedFields?: readonly string[]
}

/** The `@cost` and `@listSize` of a supergraph, by type or `Type.field`. */
export interface Costs {
  readonly weights: ReadonlyMap<string, number>
  readonly sizes: ReadonlyMap<string, ListSize>
}

/**
 * @param supergraph the whole of it: its directives are those of the subgraphs, under their own or federation's names
 */
export function readCosts(supergraph: GraphQLSchema): Costs {
  const weights = new Map<string, number>()
  const sizes = new Map<string, ListSize>()
  const [cost, listSize] = ['cost', 'listSize'].map((name) =>
    supergraph.getDirectives().find((each) => each.name === name || each.name === `federation__${name}`),
  )
  const read = (key: string, node: GraphQLNamedType['astNode'] | GraphQLField<unknown, unknown>['astNode']) => {
    if (!node) return
    const weight = cost && getDirectiveValues(cost, node)?.weight
    // A negative cost would offset the costs inside or beside it.
    if (typeof weight === 'number') weights.set(key, Math.max(0, weight))
    const size = listSize && getDirectiveValues(listSize, node)
    if (size) sizes.set(key, size as ListSize)
  }
  for (const type of Object.values(supergraph.getTypeMap())) {
    read(type.name, type.astNode)
    if (!isObjectType(type) && !isInterfaceType(type)) continue
    for (const field of Object.values(type.getFields())) read(`${type.name}.${field.name}`, field.astNode)
  }
  return { weights, sizes }
}

/**
 * The estimated cost of an operation, before it is executed (IBM's GraphQL cost directives, as Apollo's Router reads
 * them): an object counts 1 and a leaf 0, or what `@cost` says; a list counts as often as it is long, by `@listSize`.
 * @param document within the other limits: each fragment is walked where it is used
 * @returns the cost for the variables' values: 0 or more
 */
export function costOf(
  { weights, sizes }: Costs,
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
): (values: Readonly<Record<string, unknown>>) => number {
  const fragments = new Map(
    document.definitions.flatMap((each) => (each.kind === Kind.FRAGMENT_DEFINITION ? [[each.name.value, each]] : [])),
  )
  let dependsOnValues = false

  /**
   * What a field's argument is, by the schema's defaults and the variables' values; `path` leads into an input object.
   */
  function argumentOf(
    definition: GraphQLField<unknown, unknown>,
    node: FieldNode,
    [name, ...path]: readonly string[],
    values: Readonly<Record<string, unknown>>,
  ): unknown {
    const argument = definition.args.find((each) => each.name === name)
    if (!argument) return undefined
    const sent = node.arguments?.find((each) => each.name.value === name)?.value
    if (sent && hasVariable(sent)) dependsOnValues = true
    // undefined if a variable was not sent: then the default applies.
    const given = sent && valueFromAST(sent, argument.type, values)
    let value: unknown = given === undefined ? argument.defaultValue : given
    for (const key of path) value = isRecord(value) && Object.hasOwn(value, key) ? value[key] : undefined
    return value
  }

  /** The largest requested size; if there is no valid one, the assumed size. */
  function lengthOf(
    size: ListSize | undefined,
    definition: GraphQLField<unknown, unknown>,
    node: FieldNode,
    values: Readonly<Record<string, unknown>>,
  ): number {
    const asked = (size?.slicingArguments ?? []).flatMap((path) => {
      const number = argumentOf(definition, node, path.split('.'), values)
      return typeof number === 'number' && number >= 0 ? [number] : []
    })
    if (asked.length > 0) return Math.max(...asked)
    const { assumedSize } = size ?? {}
    return typeof assumedSize === 'number' && assumedSize >= 0 ? assumedSize : ASSUMED_LIST_SIZE
  }

  function walk(
    set: SelectionSetNode,
    parent: GraphQLNamedType,
    values: Readonly<Record<string, unknown>>,
    sized: ReadonlyMap<string, number>,
  ): number {
    let total = 0
    for (const selection of set.selections) {
      if (selection.kind === Kind.FIELD) total += field(selection, parent, values, sized)
      else {
        const fragment = selection.kind === Kind.INLINE_FRAGMENT ? selection : fragments.get(selection.name.value)
        if (!fragment) continue
        const condition = fragment.typeCondition && schema.getType(fragment.typeCondition.name.value)
        total += walk(fragment.selectionSet, condition ?? parent, values, sized)
      }
    }
    return total
  }

  function field(
    node: FieldNode,
    parent: GraphQLNamedType,
    values: Readonly<Record<string, unknown>>,
    sized: ReadonlyMap<string, number>,
  ): number {
    const definition = isObjectType(parent) || isInterfaceType(parent) ? parent.getFields()[node.name.value] : undefined
    if (!definition) return 0
    const key = `${parent.name}.${node.name.value}`
    const size = sizes.get(key)
    const type = getNamedType(definition.type)
    const levels = levelsOf(definition.type)
    const own = () => lengthOf(size, definition, node, values)
    const sizesOthers = size?.sizedFields !== undefined
    const length = levels > 0 ? (sized.get(node.name.value) ?? own()) * ASSUMED_LIST_SIZE ** (levels - 1) : 1
    const inner =
      node.selectionSet && isCompositeType(type)
        ? walk(
            node.selectionSet,
            type,
            values,
            sizesOthers ? new Map(size.sizedFields.map((name) => [name, own()])) : new Map(),
          )
        : 0
    const each = weights.get(type.name) ?? (isCompositeType(type) ? 1 : 0)
    return (weights.get(key) ?? 0) + length * (each + inner)
  }

  const root = schema.getRootType(operation.operation)
  const base = operation.operation === 'mutation' ? 10 : 0
  const compute = (values: Readonly<Record<string, unknown>>) =>
    root ? base + walk(operation.selectionSet, root, values, new Map()) : 0
  const first = compute({})
  return dependsOnValues ? compute : () => first
}
