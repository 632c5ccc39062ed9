/**
 * From what the subgraphs sent to what the client asked for, by the rules of the specification ("Value Completion"): the
 * whole of them, with the path of each error. The quick way for data without irregularities is serialise.ts.
 */
import {
  type GraphQLFormattedError,
  type GraphQLLeafType,
  type GraphQLOutputType,
  type GraphQLSchema,
  isEnumType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isSpecifiedScalarType,
} from 'graphql'
import { numberOf } from '../numbers.ts'
import { answerTooLarge } from './executor.ts'
import { type Data, isData, own } from './objects.ts'
import { type Field, isTypeMissing, type Shape } from './shape.ts'

type Path = (string | number)[]
/** A value that may not stand where it is: what is around it becomes null. `told`: an error says why. */
const INVALID = Symbol('invalid')

export type Completion = { readonly data: Data | null; readonly errors: readonly GraphQLFormattedError[] }

/**
 * @param fullSchema with what clients do not see: a value that only this one has is right, but null to them
 * @param data what the subgraphs sent, merged; it is not changed
 * @param introspect the value of `__schema` or `__type`
 * @param maxLength of the texts in the answer together, in characters
 * @param known errors that the client gets anyway: a null that one of them explains is not told again
 */
export function complete(
  schema: GraphQLSchema,
  fullSchema: GraphQLSchema,
  root: Shape,
  data: Data,
  introspect: (field: Field) => unknown,
  known: readonly GraphQLFormattedError[],
  maxLength = Number.POSITIVE_INFINITY,
): Completion {
  let length = 0
  const errors: GraphQLFormattedError[] = []
  const path: Path = []

  /** @param isMissing nothing came for the place, not even null */
  function fail(message: string, isMissing = false): void {
    const around = isMissing ? path.slice(0, -1) : path
    if (known.some((error) => explains(error, around))) return
    errors.push({ message, path: [...path], extensions: { code: 'INTERNAL_SERVER_ERROR' } })
  }

  function describe({ parent, key, type }: Field): string {
    const last = path.at(-1)
    return typeof last === 'string'
      ? `field ${parent}.${key}`
      : `array element of type ${String(elementOf(type))} at index ${last}`
  }

  function object(input: Data, shape: Shape, field: Field | undefined): Data | null {
    const sent = own(input, '__typename')
    const typename = typeof sent === 'string' ? sent : shape.type.name
    const fields = shape.fieldsOf(typename)
    if (!fields || (sent !== undefined && sent !== null && typeof sent !== 'string')) {
      const isHidden = typeof sent === 'string' && fullSchema.getType(sent) !== undefined && !schema.getType(sent)
      if (field && !isHidden) fail(`Invalid __typename found for object at ${describe(field)}.`)
      return null
    }
    if (isTypeMissing(schema, shape, typename)) {
      if (field) fail(`The type of the object is not known at ${describe(field)}.`)
      return null
    }
    const output: Data = Object.create(null)
    for (const each of fields) {
      path.push(each.key)
      const completed = fieldValue(each, input, typename)
      path.pop()
      if (completed === INVALID) return null
      output[each.key] = completed
    }
    return output
  }

  function fieldValue(field: Field, input: Data, typename: string): unknown {
    if (field.kind === 'introspection') return introspect(field)
    if (field.kind === 'denied') {
      const message = `You may not have the field ${field.parent}.${field.name}.`
      errors.push({ message, path: [...path], extensions: { code: 'FORBIDDEN' } })
      return isNonNullType(field.type) ? INVALID : null
    }
    if (field.kind === 'undecided') {
      const message = 'Argument "if" of non-null type "Boolean!" must not be null.'
      const place = path.length > 1 && { path: path.slice(0, -1) }
      errors.push({ message, ...place, extensions: { code: 'BAD_USER_INPUT' } })
      return INVALID
    }
    if (field.kind === 'field') return value(own(input, field.source), field.type, field)
    const type = schema.getType(typename)
    if (isObjectType(type)) return type.name
    fail(`Cannot return null for non-nullable field ${field.parent}.${field.key}.`)
    return INVALID
  }

  /** An enum's value that is `@inaccessible`. */
  function isHiddenValue(input: unknown, type: GraphQLOutputType): boolean {
    const full = isEnumType(type) ? fullSchema.getType(type.name) : undefined
    return typeof input === 'string' && isEnumType(full) && full.getValue(input) !== undefined
  }

  /** null, INVALID, or a value of the type. */
  function value(input: unknown, type: GraphQLOutputType, field: Field): unknown {
    if (isNonNullType(type)) {
      const before = errors.length
      const completed = value(input, type.ofType, field)
      if (completed !== null) return completed
      if (errors.length === before) fail(`Cannot return null for non-nullable ${describe(field)}.`, input === undefined)
      return INVALID
    }
    if (input === undefined || input === null) return null
    if (isListType(type)) {
      if (!Array.isArray(input)) {
        fail(`Invalid value found for ${describe(field)}.`)
        return null
      }
      let isInvalid = false
      const list = input.map((item, index) => {
        path.push(index)
        const completed = value(item, type.ofType, field)
        path.pop()
        isInvalid ||= completed === INVALID
        return completed
      })
      return isInvalid ? null : list
    }
    if (field.shape) {
      if (isData(input)) return object(input, field.shape, field)
      fail(`Invalid value found for ${describe(field)}.`)
      return null
    }
    const completed = isLeafType(type) ? leaf(input, type) : undefined
    if (completed === undefined) {
      if (!isHiddenValue(input, type)) fail(`Invalid value found for ${describe(field)}.`)
      return null
    }
    length += typeof completed === 'string' ? completed.length : 4
    if (length > maxLength) throw answerTooLarge(maxLength)
    return completed
  }

  return { data: object(data, root, undefined), errors }
}

/** A leaf as the answer has it; undefined for what is no value of the type. */
export function leaf(sent: unknown, type: GraphQLLeafType): unknown {
  if (!isEnumType(type) && !isSpecifiedScalarType(type)) return sent
  const input = numberOf(sent)
  if (isEnumType(type)) return typeof input === 'string' && type.getValue(input) ? input : undefined
  switch (type.name) {
    case 'Boolean':
      return typeof input === 'boolean' ? input : undefined
    case 'Int':
      return Number.isSafeInteger(input) ? input : undefined
    case 'Float':
      return Number.isFinite(input) ? input : undefined
    case 'ID':
      return typeof input === 'string' ? input : Number.isSafeInteger(input) ? String(input) : undefined
    default:
      return typeof input === 'string' ? input : undefined
  }
}

function elementOf(type: GraphQLOutputType): GraphQLOutputType {
  const bare = isNonNullType(type) ? type.ofType : type
  return isListType(bare) ? elementOf(bare.ofType) : bare
}

/**
 * Whether an error is about this place, something around it or something in it. Of a place for which nothing came, what is
 * around it counts: it was asked for together with what failed, and became null with it.
 */
function explains(error: GraphQLFormattedError, path: Path): boolean {
  const of = error.path ?? []
  const shared = Math.min(of.length, path.length)
  for (let index = 0; index < shared; index++) if (of[index] !== path[index]) return false
  return true
}
