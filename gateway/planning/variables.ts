/** Variables whose numbers have more digits than JavaScript can represent. */
import {
  type GraphQLInputType,
  type GraphQLSchema,
  getNullableType,
  isInputObjectType,
  isListType,
  isScalarType,
  isSpecifiedScalarType,
  typeFromAST,
  type VariableDefinitionNode,
} from 'graphql'
import { requestError } from '../errors.ts'
import { isRawNumber, type RawNumber } from '../exact-numbers.ts'

type Values = Readonly<Record<string, unknown>>

/**
 * Converts RawNumbers in variables by type: an ID gets its digits as text, Int and Float a number; custom scalars keep
 * them, and so their digits.
 * @throws RequestError (BAD_USER_INPUT) for a number of a custom scalar that JSON has no value for
 */
export function settleVariables(
  schema: GraphQLSchema,
  definitions: readonly VariableDefinitionNode[],
  variables: Values,
): Values {
  const settled: Record<string, unknown> = { ...variables }
  for (const { variable, type } of definitions) {
    const name = variable.name.value
    const declared = typeFromAST(schema, type as never) as GraphQLInputType | undefined
    if (declared && Object.hasOwn(settled, name)) settled[name] = settle(settled[name], declared)
  }
  return settled
}

function settle(value: unknown, type: GraphQLInputType): unknown {
  const inner = getNullableType(type)
  if (isRawNumber(value)) return settleNumber(value, inner)
  if (typeof value !== 'object' || value === null) return value
  if (isListType(inner)) {
    return Array.isArray(value) ? value.map((each) => settle(each, inner.ofType)) : settle(value, inner.ofType)
  }
  if (isInputObjectType(inner) && !Array.isArray(value)) {
    const fields = inner.getFields()
    return Object.fromEntries(
      Object.entries(value).map(([name, each]) => {
        const type = Object.hasOwn(fields, name) ? fields[name]?.type : undefined
        return [name, type ? settle(each, type) : each]
      }),
    )
  }
  if (isScalarType(inner) && !isSpecifiedScalarType(inner)) checkFinite(value)
  return value
}

function settleNumber(value: RawNumber, type: GraphQLInputType): unknown {
  if (isListType(type)) return settleNumber(value, getNullableType(type.ofType))
  const text = value.rawJSON
  if (isScalarType(type) && !isSpecifiedScalarType(type)) {
    checkFinite(value)
    return value
  }
  return String(type) === 'ID' && /^-?\d+$/.test(text) ? text : Number(text)
}

/** JSON has no value for it. */
export const numberTooLarge = (text: string) =>
  requestError(`The number ${text.slice(0, 40)} is too large: its value would be lost.`, 'BAD_USER_INPUT')

/** Every number in a custom scalar's value. */
function checkFinite(value: unknown): void {
  if (isRawNumber(value)) {
    if (Number.isFinite(Number(value.rawJSON))) return
    throw numberTooLarge(value.rawJSON)
  }
  if (typeof value === 'object' && value !== null) for (const each of Object.values(value)) checkFinite(each)
}
