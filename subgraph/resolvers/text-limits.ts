/**
 * Limits the length of texts. Every argument of the schema is checked before its resolver runs, so later work whose
 * time grows with the text is bounded. The limits are derived from the schema, so a new field has one from the start.
 */
import {
  defaultFieldResolver,
  type GraphQLArgument,
  type GraphQLInputField,
  type GraphQLInputType,
  type GraphQLNonNull,
  type GraphQLSchema,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
  isScalarType,
} from 'graphql'
import { MAX_TEXT } from '../domain/text.ts'
import { type CustomerError, refusal } from '../errors.ts'

/** Throws for a value with a text that is too long, or not Unicode. */
type Check = (value: unknown) => void

/** Magento's column `value` of text attributes, in characters. */
const MAX_ATTRIBUTE_VALUE = 65_535
/** Magento's limit; its message is the same wherever a password is given. */
const MAX_PASSWORD = 256
const MAX_REASON = 1_000
/** The longest list in an input. Lists of entities may be longer. */
const MAX_ITEMS = 1_000
/** Levels of a custom scalar's value. */
const MAX_LEVELS = 20

/** Texts with another limit than Magento's columns of 255 characters, by the name of the argument or input field. */
const LIMITS: Readonly<Record<string, number>> = {
  password: MAX_PASSWORD,
  currentPassword: MAX_PASSWORD,
  newPassword: MAX_PASSWORD,
  value: MAX_ATTRIBUTE_VALUE,
  reason: MAX_REASON,
}

const DATES: ReadonlySet<string> = new Set(['dob', 'date_of_birth'])
const PASSWORDS: ReadonlySet<string> = new Set(['password', 'currentPassword', 'newPassword'])

/** Magento's labels; other fields are called by their names. */
const LABELS: Readonly<Record<string, string>> = {
  city: 'City',
  company: 'Company',
  email: 'Email',
  fax: 'Fax',
  firstname: 'First Name',
  lastname: 'Last Name',
  middlename: 'Middle Name/Initial',
  postcode: 'Zip/Postal Code',
  prefix: 'Name Prefix',
  region: 'State/Province',
  street: 'Street Address',
  suffix: 'Name Suffix',
  taxvat: 'Tax/VAT Number',
  telephone: 'Phone Number',
  vat_id: 'VAT Number',
}

/**
 * Limits the texts in the arguments of a schema's fields.
 * @param schema its resolvers are changed; they throw CustomerError (graphql-input) for a text that is too long or not
 * Unicode, a list of more than 1,000 items and a custom scalar of more than 20 levels
 * @returns the same schema
 */
export function limitTexts(schema: GraphQLSchema): GraphQLSchema {
  const checks = new Map<GraphQLInputType, Map<string, Check | undefined>>()

  /** undefined if a value of the type has no text. */
  function checkOf(name: string, type: GraphQLInputType): Check | undefined {
    if (isNonNullType(type)) return checkOf(name, (type as GraphQLNonNull<GraphQLInputType>).ofType)
    const known = checks.get(type) ?? new Map<string, Check | undefined>()
    if (known.has(name)) return known.get(name)
    checks.set(type, known)
    // An input object may hold one of its own type: until its check is made, this one stands for it.
    known.set(name, (value) => known.get(name)?.(value))
    const check = makeCheck(name, type)
    known.set(name, check)
    return check
  }

  function makeCheck(name: string, type: GraphQLInputType): Check | undefined {
    if (isListType(type)) return listCheck(name, checkOf(name, type.ofType))
    if (isInputObjectType(type)) return objectCheck(membersOf(Object.values(type.getFields())))
    if (isEnumType(type) || !isScalarType(type)) return undefined
    if (type.name === 'String' || type.name === 'ID') return textCheck(name)
    const hasNoText = type.name === 'Int' || type.name === 'Float' || type.name === 'Boolean'
    return hasNoText ? undefined : (value) => checkDeep(name, value, 0)
  }

  function membersOf(members: readonly (GraphQLArgument | GraphQLInputField)[]): [string, Check][] {
    return members.flatMap(({ name, type }): [string, Check][] => {
      const check = checkOf(name, type)
      return check ? [[name, check]] : []
    })
  }

  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || type.name.startsWith('__')) continue
    for (const field of Object.values(type.getFields())) {
      const members = membersOf(field.args)
      if (members.length === 0) continue
      const check = objectCheck(members)
      const resolve = field.resolve ?? defaultFieldResolver
      field.resolve = (source, args, context, info) => {
        check(args)
        return resolve(source, args, context, info)
      }
    }
  }
  return schema
}

function textCheck(name: string): Check {
  const most = LIMITS[name] ?? MAX_TEXT
  return (value) => {
    if (typeof value === 'string') checkText(name, value, most)
  }
}

/**
 * A lone surrogate has no UTF-8: it would be stored, hashed and sent as the replacement character, so that texts which
 * differ would be the same.
 */
function checkText(name: string, text: string, most: number): void {
  if (text.length > most) throw tooLong(name, most)
  if (!text.isWellFormed()) throw refusal('TEXT_NOT_UNICODE', { label: LABELS[name] ?? name })
}

/** With Magento's own message, where it has one for the field. */
function tooLong(name: string, most: number): CustomerError {
  if (DATES.has(name)) return refusal('DATE_INVALID')
  if (PASSWORDS.has(name)) return refusal('PASSWORD_TOO_LONG', { most: MAX_PASSWORD })
  return refusal('TEXT_TOO_LONG', { label: LABELS[name] ?? name, most })
}

function listCheck(name: string, check: Check | undefined): Check {
  // Custom scalars are those of federation: a service may ask for many entities at once.
  const most = name === 'representations' ? Number.POSITIVE_INFINITY : MAX_ITEMS
  return (value) => {
    if (!Array.isArray(value)) return
    if (value.length > most) throw refusal('LIST_TOO_LONG', { name, most })
    if (check) for (const item of value) check(item)
  }
}

function objectCheck(members: readonly [string, Check][]): Check {
  return (value) => {
    if (typeof value !== 'object' || value === null) return
    for (const [name, check] of members) check((value as Record<string, unknown>)[name])
  }
}

/** Every text in a value of a custom scalar, names of its members included. */
function checkDeep(name: string, value: unknown, level: number): void {
  if (typeof value === 'string') checkText(name, value, MAX_TEXT)
  if (typeof value !== 'object' || value === null) return
  if (level === MAX_LEVELS) throw refusal('VALUE_NESTED_TOO_DEEPLY', { name })
  for (const [key, inner] of Object.entries(value)) {
    checkDeep(name, key, level + 1)
    checkDeep(name, inner, level + 1)
  }
}
