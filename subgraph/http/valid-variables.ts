/**
 * A quick check of variables. graphql's own is thorough: it goes through every field of an input type for each request,
 * and makes a copy and a path of what it finds. That is a twentieth of a mutation, and as a rule nothing is wrong.
 */
import {
  GraphQLBoolean,
  GraphQLFloat,
  GraphQLID,
  type GraphQLInputType,
  GraphQLInt,
  GraphQLNonNull,
  type GraphQLScalarType,
  type GraphQLSchema,
  GraphQLString,
  isEnumType,
  isInputObjectType,
  isInputType,
  isListType,
  isNonNullType,
  isRequiredInputField,
  typeFromAST,
  type VariableDefinitionNode,
} from 'graphql'

/** Whether a value is certainly valid. If not, graphql has to decide. */
type Check = (value: unknown) => boolean

type Values = Readonly<Record<string, unknown>>

const LEAST_INT = -(2 ** 31)
const MOST_INT = 2 ** 31 - 1

/** What is valid for graphql's own scalars as it is. What else they accept, such as a number for an ID, is left to graphql. */
const OF_SCALAR: ReadonlyMap<GraphQLScalarType, Check> = new Map<GraphQLScalarType, Check>([
  [GraphQLString, (value) => typeof value === 'string'],
  [GraphQLID, (value) => typeof value === 'string'],
  [GraphQLBoolean, (value) => typeof value === 'boolean'],
  [GraphQLFloat, (value) => Number.isFinite(value)],
  [GraphQLInt, (value) => Number.isInteger(value) && (value as number) >= LEAST_INT && (value as number) <= MOST_INT],
])

/**
 * Prepares the check of an operation's variables.
 * @param declared the operation's variables
 * @returns whether the values are certainly valid; if not, graphql has to check them
 */
export function quickCheck(
  schema: GraphQLSchema,
  declared: readonly VariableDefinitionNode[],
): (values: Values) => boolean {
  const known = new Map<GraphQLInputType, Check>()
  const variables = declared.map(({ variable, type: node, defaultValue }) => {
    const type = typeFromAST(schema, node as never) as unknown
    const check: Check = isInputType(type) ? checkOf(type, known) : () => false
    return { name: variable.name.value, check, isRequired: isNonNullType(type) && defaultValue === undefined }
  })
  return (values) => {
    for (const { name, check, isRequired } of variables) {
      if (Object.hasOwn(values, name) ? !check(values[name]) : isRequired) return false
    }
    return true
  }
}

function checkOf(type: GraphQLInputType, known: Map<GraphQLInputType, Check>): Check {
  const before = known.get(type)
  if (before) return before
  // An input type may contain itself.
  let check: Check = () => false
  known.set(type, (value) => check(value))
  check = type instanceof GraphQLNonNull ? isNotNull(checkOf(type.ofType, known)) : orNull(checkOfNullable(type, known))
  known.set(type, check)
  return check
}

const isNotNull =
  (check: Check): Check =>
  (value) =>
    value != null && check(value)

const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value)

function checkOfNullable(type: GraphQLInputType, known: Map<GraphQLInputType, Check>): Check {
  if (isListType(type)) {
    const check = checkOf(type.ofType, known)
    return (value) => Array.isArray(value) && value.every(check)
  }
  if (isEnumType(type)) return (value) => typeof value === 'string' && type.getValue(value) != null
  if (!isInputObjectType(type)) return OF_SCALAR.get(type as GraphQLScalarType) ?? (() => false)
  if (type.isOneOf) return () => false
  const fields = Object.values(type.getFields())
  const checks = new Map(fields.map((field) => [field.name, checkOf(field.type, known)]))
  const required = fields.filter(isRequiredInputField).map(({ name }) => name)
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
    for (const name in value) if (!checks.get(name)?.((value as Values)[name])) return false
    return required.every((name) => Object.hasOwn(value, name))
  }
}
