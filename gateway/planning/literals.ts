/**
 * Extracts the literals of a document into variables: documents that differ only in literals share one plan, and
 * subgraphs receive the values exactly as written.
 */
import {
  type ConstValueNode,
  type DocumentNode,
  type FieldNode,
  type GraphQLInputType,
  type GraphQLNamedType,
  GraphQLNonNull,
  type GraphQLSchema,
  getNamedType,
  getNullableType,
  isEnumType,
  isInputObjectType,
  isListType,
  isSpecifiedScalarType,
  Kind,
  type OperationDefinitionNode,
  parseType,
  type SelectionSetNode,
  typeFromAST,
  type ValueNode,
  type VariableDefinitionNode,
} from 'graphql'
import { parseKeepingDigits } from '../exact-numbers.ts'
import { numberTooLarge } from './variables.ts'

type Values = Readonly<Record<string, unknown>>

export interface WithoutLiterals {
  /** One operation and its fragments. */
  readonly document: DocumentNode
  /** The values of the variables that replace literals. */
  readonly literals: Values | undefined
  /** The defaults of the client's own variables, for those that it does not send. */
  readonly defaults: Values | undefined
}

const SHORT = new Set<string>([Kind.VARIABLE, Kind.NULL, Kind.BOOLEAN, Kind.ENUM])

/**
 * Texts and numbers in the arguments of fields become variables, and in the defaults of variables ''  and 0, since the
 * real default is sent. Not extracted: enum values, true, false and null, which have few values; arguments of
 * directives, which the planner reads; lists and objects of custom scalars with variables or enums in them, which have
 * no types to declare.
 * @param document valid, with one operation; directives that only clients know have been removed
 * @throws RequestError (BAD_USER_INPUT) for a number of a custom scalar that JSON has no value for
 */
export function withoutLiterals(schema: GraphQLSchema, document: DocumentNode): WithoutLiterals {
  const operation = document.definitions.find((each) => each.kind === Kind.OPERATION_DEFINITION) as
    | OperationDefinitionNode
    | undefined
  const root = operation && schema.getRootType(operation.operation)
  if (!operation || !root) return { document, literals: undefined, defaults: undefined }
  const taken = takeLiterals(operation)
  const defaults: Record<string, unknown> = {}
  const declared = (operation.variableDefinitions ?? []).map((each) => withoutDefault(schema, each, defaults))
  const definitions = document.definitions.map((definition) => {
    if (definition.kind === Kind.OPERATION_DEFINITION) {
      return { ...definition, selectionSet: selections(definition.selectionSet, root) }
    }
    if (definition.kind !== Kind.FRAGMENT_DEFINITION) return definition
    const type = schema.getType(definition.typeCondition.name.value)
    return { ...definition, selectionSet: selections(definition.selectionSet, type) }
  })

  function selections(set: SelectionSetNode, parent: GraphQLNamedType | undefined): SelectionSetNode {
    return {
      ...set,
      selections: set.selections.map((selection) => {
        if (selection.kind === Kind.FIELD) return field(selection, parent)
        if (selection.kind === Kind.FRAGMENT_SPREAD) return selection
        const { typeCondition } = selection
        const type = typeCondition ? schema.getType(typeCondition.name.value) : parent
        return { ...selection, selectionSet: selections(selection.selectionSet, type) }
      }),
    }
  }

  function field(node: FieldNode, parent: GraphQLNamedType | undefined): FieldNode {
    const definition = parent && 'getFields' in parent ? parent.getFields()[node.name.value] : undefined
    // __typename, and introspection, which is answered here.
    if (!definition || !('args' in definition)) return node
    return {
      ...node,
      ...(node.arguments?.length && {
        arguments: byName(node.arguments).map((argument) => {
          const type = definition.args.find(({ name }) => name === argument.name.value)?.type
          return type ? { ...argument, value: taken.replace(argument.value, type) } : argument
        }),
      }),
      ...(node.selectionSet && { selectionSet: selections(node.selectionSet, getNamedType(definition.type)) }),
    }
  }

  const hasLiterals = taken.definitions.length > 0
  return {
    document: {
      ...document,
      definitions: definitions.map((each) =>
        each.kind === Kind.OPERATION_DEFINITION
          ? { ...each, variableDefinitions: [...declared, ...taken.definitions] }
          : each,
      ),
    },
    literals: hasLiterals ? taken.values : undefined,
    defaults: Object.keys(defaults).length > 0 ? defaults : undefined,
  }
}

/** The prefix of the variables that replace literals; the client's own never have it. */
const PREFIX = 'literal_'

function takeLiterals({ variableDefinitions = [] }: OperationDefinitionNode) {
  const own = variableDefinitions.map(({ variable }) => variable.name.value)
  let prefix = PREFIX
  while (own.some((name) => name.startsWith(prefix))) prefix = `_${prefix}`
  const definitions: VariableDefinitionNode[] = []
  const values: Record<string, unknown> = {}
  /** By type, then by value. */
  const known = new Map<string, Map<string, ValueNode>>()

  /** Equal values of one type share a variable, so that fields which could be merged still can. */
  function variable(value: ConstValueNode, type: GraphQLInputType): ValueNode {
    const declared = String(new GraphQLNonNull(getNullableType(type)))
    // A text is not copied: it may be long.
    const isText = value.kind === Kind.STRING
    const json = isText ? value.value : jsonOf(value, type)
    // Compared like arguments in GraphQL: the order of an object's fields does not matter.
    const key = isText ? json : jsonOf(inOrder(value), type)
    const kind = isText ? `${declared} as a text` : declared
    const ofKind = known.get(kind) ?? new Map<string, ValueNode>()
    known.set(kind, ofKind)
    const before = ofKind.get(key)
    if (before) return before
    const name = `${prefix}${definitions.length}`
    const node = { kind: Kind.VARIABLE, name: { kind: Kind.NAME, value: name } } as const
    definitions.push({
      kind: Kind.VARIABLE_DEFINITION,
      variable: node,
      type: parseType(declared, { noLocation: true }),
    })
    values[name] = isText ? json : parseKeepingDigits(json)
    ofKind.set(key, node)
    return node
  }

  function replace(value: ValueNode, type: GraphQLInputType): ValueNode {
    if (SHORT.has(value.kind)) return value
    if (value.kind !== Kind.LIST && value.kind !== Kind.OBJECT) return variable(value as ConstValueNode, type)
    if (isConstant(value) && !hasUntypedEnum(value, type)) {
      return hasLeaves(value) ? variable(value as ConstValueNode, type) : value
    }
    const inner = getNullableType(type)
    if (value.kind === Kind.LIST) {
      if (!isListType(inner)) return value
      return { ...value, values: value.values.map((each) => replace(each, inner.ofType)) }
    }
    // An object that stands for a list of one.
    if (isListType(inner)) return replace(value, inner.ofType)
    if (!isInputObjectType(inner)) return value
    const fields = inner.getFields()
    return {
      ...value,
      fields: byName(value.fields).map((each) => {
        const type = fields[each.name.value]?.type
        return type ? { ...each, value: replace(each.value, type) } : each
      }),
    }
  }

  return { definitions, values, replace }
}

/** Fields of an object, or arguments, in the order of their names: so equal ones have one text. */
function byName<Named extends { readonly name: { readonly value: string } }>(
  nodes: readonly Named[],
): readonly Named[] {
  return nodes.length > 1 ? nodes.toSorted((a, b) => (a.name.value < b.name.value ? -1 : 1)) : nodes
}

/** The value with the fields of all its objects in the order of their names. */
function inOrder(value: ConstValueNode): ConstValueNode {
  if (value.kind === Kind.LIST) return { ...value, values: value.values.map(inOrder) }
  if (value.kind !== Kind.OBJECT) return value
  return { ...value, fields: byName(value.fields).map((each) => ({ ...each, value: inOrder(each.value) })) }
}

const partsOf = (value: ValueNode): readonly ValueNode[] =>
  value.kind === Kind.LIST ? value.values : value.kind === Kind.OBJECT ? value.fields.map((field) => field.value) : []

const isConstant = (value: ValueNode): boolean => value.kind !== Kind.VARIABLE && partsOf(value).every(isConstant)

/** Whether there are texts or numbers in it. */
const hasLeaves = (value: ValueNode): boolean =>
  value.kind === Kind.LIST || value.kind === Kind.OBJECT ? partsOf(value).some(hasLeaves) : !SHORT.has(value.kind)

/** Whether a name without quotes is in the value of a custom scalar: as a variable's value it would be a text. */
function hasUntypedEnum(value: ValueNode, type: GraphQLInputType): boolean {
  const inner = getNullableType(type)
  if (isListType(inner)) {
    const items = value.kind === Kind.LIST ? value.values : [value]
    return items.some((each) => hasUntypedEnum(each, inner.ofType))
  }
  if (isInputObjectType(inner) && value.kind === Kind.OBJECT) {
    const fields = inner.getFields()
    return value.fields.some(({ name, value }) => {
      const type = fields[name.value]?.type
      return type !== undefined && hasUntypedEnum(value, type)
    })
  }
  if (isEnumType(inner)) return false
  return value.kind === Kind.ENUM || partsOf(value).some((each) => hasUntypedEnum(each, type))
}

/** A literal as the JSON of a variable. */
function jsonOf(value: ConstValueNode, type: GraphQLInputType): string {
  const inner = getNullableType(type)
  const named = getNamedType(type)
  switch (value.kind) {
    case Kind.LIST: {
      const item = isListType(inner) ? inner.ofType : type
      return `[${value.values.map((each) => jsonOf(each, item)).join(',')}]`
    }
    case Kind.OBJECT: {
      const fields = isInputObjectType(named) ? named.getFields() : {}
      const typeOf = (name: string) => (Object.hasOwn(fields, name) ? fields[name]?.type : undefined) ?? named
      const members = value.fields.map(
        (each) => `${JSON.stringify(each.name.value)}:${jsonOf(each.value, typeOf(each.name.value))}`,
      )
      return `{${members.join(',')}}`
    }
    case Kind.INT:
    case Kind.FLOAT:
      if (named.name === 'ID') return JSON.stringify(value.value)
      if (!Number.isFinite(Number(value.value))) throw numberTooLarge(value.value)
      return value.value
    case Kind.NULL:
      return 'null'
    case Kind.BOOLEAN:
      return String(value.value)
    default:
      return JSON.stringify(value.value)
  }
}

/**
 * A variable's definition with a default that is the same for all, if it can be; the real one goes to `defaults`.
 */
function withoutDefault(
  schema: GraphQLSchema,
  definition: VariableDefinitionNode,
  defaults: Record<string, unknown>,
): VariableDefinitionNode {
  const { defaultValue, variable } = definition
  const type = typeFromAST(schema, definition.type as never) as GraphQLInputType | undefined
  if (!defaultValue || !type || !hasLeaves(defaultValue) || hasUntypedEnum(defaultValue, type)) return definition
  const isText = defaultValue.kind === Kind.STRING
  defaults[variable.name.value] = isText ? defaultValue.value : parseKeepingDigits(jsonOf(defaultValue, type))
  return { ...definition, defaultValue: neutral(defaultValue, type) }
}

function neutral(value: ConstValueNode, type: GraphQLInputType): ConstValueNode {
  const inner = getNullableType(type)
  if (value.kind === Kind.LIST) {
    return isListType(inner) ? { ...value, values: value.values.map((each) => neutral(each, inner.ofType)) } : value
  }
  if (isListType(inner)) return neutral(value, inner.ofType)
  if (value.kind === Kind.OBJECT) {
    if (!isInputObjectType(inner)) return value
    const fields = inner.getFields()
    return {
      ...value,
      fields: value.fields.map((each) => {
        const type = fields[each.name.value]?.type
        return type ? { ...each, value: neutral(each.value, type) } : each
      }),
    }
  }
  if (!isSpecifiedScalarType(getNamedType(type))) return value
  if (value.kind === Kind.STRING) return { kind: Kind.STRING, value: '' }
  return value.kind === Kind.INT || value.kind === Kind.FLOAT ? { ...value, value: '0' } : value
}
