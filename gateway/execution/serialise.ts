/**
 * The fast path from the subgraphs' data to the text of the answer: for each type, a generated function reads only the
 * selected fields and writes them. It does not handle errors: at the first value that violates the schema it bails out,
 * and value-completion.ts does all the work, with paths and messages.
 */
import {
  type GraphQLLeafType,
  type GraphQLOutputType,
  type GraphQLSchema,
  isAbstractType,
  isEnumType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isSpecifiedScalarType,
} from 'graphql'
import { numberOf } from '../exact-numbers.ts'
import { answerTooLarge } from './executor.ts'
import { type Data, isInherited } from './json-objects.ts'
import { type Field, isTypeMissing, type Shape } from './selection-shape.ts'

/** A value as JSON; undefined for one that violates the schema. Never called with null or undefined. */
type Write = (value: unknown) => string | undefined

// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON has them escaped
const NEEDS_ESCAPE = /["\\\u0000-\u001f\ud800-\udfff]/

/** A string as JSON. */
export function quote(text: string): string {
  return NEEDS_ESCAPE.test(text) ? JSON.stringify(text) : `"${text}"`
}

/**
 * @param introspect `__schema` or `__type` as JSON
 * @param maxLength characters of an answer. a longer one throws RequestError ANSWER_TOO_LARGE
 * @returns a function that writes the data of an answer, or returns undefined if value-completion.ts has to
 */
export function compileSerialiser(
  schema: GraphQLSchema,
  root: Shape,
  introspect: (field: Field) => string,
  maxLength = Number.POSITIVE_INFINITY,
): Write {
  const leaves = new Map<GraphQLLeafType, Write>()

  function leafWriter(type: GraphQLLeafType): Write {
    let write = leaves.get(type)
    if (!write) {
      write = makeLeafWriter(type)
      leaves.set(type, write)
    }
    return write
  }

  /** Of a type that is not wrapped in NonNull. */
  function writerOf(type: GraphQLOutputType, shape: Shape | undefined): Write {
    if (isNonNullType(type)) return writerOf(type.ofType, shape)
    if (isListType(type)) return listWriter(writerOf(type.ofType, shape), isNonNullType(type.ofType), maxLength)
    if (isLeafType(type)) return leafWriter(type)
    return objectWriter(shape as Shape)
  }

  function objectWriter(shape: Shape): Write {
    const writers = new Map<string, Write | undefined>()
    const writerFor = (typename: string): Write | undefined => {
      const fields = isTypeMissing(schema, shape, typename) ? undefined : shape.fieldsOf(typename)
      const write = fields && generate(fields, typename)
      writers.set(typename, write)
      return write
    }
    const { type } = shape
    const declared = isAbstractType(type) ? undefined : type.name
    let lastName = declared
    let last: Write | undefined
    return (value) => {
      if (typeof value !== 'object' || Array.isArray(value)) return undefined
      const sent = (value as Data).__typename
      const typename = sent === undefined || sent === null ? declared : sent
      if (typename !== lastName || last === undefined) {
        if (typeof typename !== 'string') return undefined
        last = writers.has(typename) ? writers.get(typename) : writerFor(typename)
        lastName = typename
      }
      return last?.(value)
    }
  }

  /** The source text of a function for the fields of one type; names are only embedded as JSON strings. */
  function generate(fields: readonly Field[], typename: string): Write | undefined {
    const writers: unknown[] = []
    const lines: string[] = []
    for (const [index, field] of fields.entries()) {
      const start = JSON.stringify(`${index === 0 ? '{' : ','}${JSON.stringify(field.key)}:`)
      const source = JSON.stringify(field.source)
      const read = isInherited(field.source)
        ? `(Object.hasOwn(o, ${source}) ? o[${source}] : undefined)`
        : `o[${source}]`
      if (field.kind === 'denied' || field.kind === 'undecided') return undefined
      if (field.kind === 'introspection') {
        writers.push(() => introspect(field))
        lines.push(`r += ${start} + w[${writers.length - 1}]();`)
      } else if (field.kind === 'typename') {
        if (!isObjectType(schema.getType(typename))) return undefined
        lines.push(`r += ${JSON.stringify(`${JSON.parse(start)}${JSON.stringify(typename)}`)};`)
      } else {
        writers.push(writerOf(field.type, field.shape))
        const missing = isNonNullType(field.type)
          ? 'return undefined'
          : `r += ${JSON.stringify(`${JSON.parse(start)}null`)}`
        lines.push(
          `v = ${read}; if (v === null || v === undefined) ${missing}; ` +
            `else { s = w${writers.length - 1}(v); if (s === undefined) return undefined; r += ${start} + s; }`,
        )
      }
    }
    if (lines.length === 0) return () => '{}'
    const names = writers.map((_, index) => `const w${index} = w[${index}];`).join(' ')
    const source = `${names} return (o) => { let r = '', v, s;\n${lines.join('\n')}\nreturn r + '}'; }`
    return new Function('w', source)(writers) as Write
  }

  return objectWriter(root)
}

function listWriter(write: Write, isNonNull: boolean, maxLength: number): Write {
  return (value) => {
    if (!Array.isArray(value)) return undefined
    let text = '['
    for (let index = 0; index < value.length; index++) {
      const item: unknown = value[index]
      let written: string | undefined
      if (item !== null && item !== undefined) written = write(item)
      else if (!isNonNull) written = 'null'
      if (written === undefined) return undefined
      text += index === 0 ? written : `,${written}`
      if (text.length > maxLength) throw answerTooLarge(maxLength)
    }
    return `${text}]`
  }
}

function makeLeafWriter(type: GraphQLLeafType): Write {
  if (isEnumType(type)) {
    const texts = new Map(type.getValues().map(({ name }) => [name, JSON.stringify(name)]))
    return (value) => texts.get(value as string)
  }
  if (!isSpecifiedScalarType(type)) return (value) => JSON.stringify(value)
  /** A RawNumber, from an answer that also has a custom scalar. */
  const again = (value: unknown): string | undefined => {
    const number = numberOf(value)
    return number === value ? undefined : write(number)
  }
  const write = specifiedWriter(type, again)
  return write
}

function specifiedWriter(type: GraphQLLeafType, again: Write): Write {
  switch (type.name) {
    case 'Boolean':
      return (value) => (value === true ? 'true' : value === false ? 'false' : undefined)
    case 'Int':
      return (value) => (Number.isSafeInteger(value) ? `${value}` : again(value))
    case 'Float':
      return (value) => (Number.isFinite(value) ? `${value}` : again(value))
    case 'ID':
      return (value) =>
        typeof value === 'string' ? quote(value) : Number.isSafeInteger(value) ? `"${value}"` : again(value)
    default:
      return (value) => (typeof value === 'string' ? quote(value) : undefined)
  }
}
