/** Values of the store's own attributes: which are accepted, and what is stored. */
import type { CustomAttributes } from '../../schema/events.ts'
import type { CustomAttribute } from '../../schema/store.ts'
import { parseDate, parseDateTime } from './date.ts'
import { isValidEmail } from './email.ts'
import { fault, type InputValidation } from './faults.ts'
import { MAX_TEXT } from './text.ts'

/** AttributeValueInput of the schema. */
export interface AttributeInput {
  readonly attribute_code: string
  readonly value?: string | null
  readonly selected_options?: readonly ({ readonly value: string } | null)[] | null
}

/** The value to store for each named attribute, or null to unset it. */
export type AttributeChanges = Record<string, string | string[] | null>

/**
 * The changes that the input makes to the attributes. An unknown code is ignored, as in Magento.
 * @throws Fault for an unknown option, an invalid date, or a required attribute that would be unset
 */
export function resolveAttributes(
  declared: readonly CustomAttribute[],
  input: readonly (AttributeInput | null)[] | null | undefined,
): AttributeChanges {
  const changes: AttributeChanges = {}
  for (const given of input ?? []) {
    const attribute = declared.find(({ code }) => code === given?.attribute_code)
    if (!attribute || !given) continue
    const value = resolveValue(attribute, given)
    if (value === null && attribute.required) throw missing(attribute)
    changes[attribute.code] = value
  }
  return changes
}

/** @throws Fault if a new customer or address lacks a required attribute */
export function requireAttributes(declared: readonly CustomAttribute[], attributes: CustomAttributes): void {
  for (const attribute of declared) {
    if (attribute.required && attributes[attribute.code] === undefined) throw missing(attribute)
  }
}

/** The attributes with the changes applied. */
export function applyAttributes(attributes: CustomAttributes, changes: AttributeChanges): CustomAttributes {
  const merged = Object.entries({ ...attributes, ...changes })
  return Object.fromEntries(merged.filter((entry): entry is [string, string | string[]] => entry[1] !== null))
}

const missing = ({ label }: CustomAttribute) => fault('ATTRIBUTE_REQUIRED', { label })

function resolveValue(attribute: CustomAttribute, given: AttributeInput): string | string[] | null {
  const text = given.value?.trim() ?? ''
  const noOption = (value: string) => fault('ATTRIBUTE_OPTION_UNKNOWN', { attribute: attribute.code, value })
  switch (attribute.type) {
    case 'select':
    case 'multiselect': {
      const selected = given.selected_options?.flatMap((option) => (option ? [option.value] : [])) ?? []
      const values = selected.length > 0 ? selected : text.split(',').map((value) => value.trim())
      const chosen = new Set(values.filter((value) => value !== ''))
      for (const value of chosen) if (!attribute.options.some((option) => option.value === value)) throw noOption(value)
      if (attribute.type === 'select' && chosen.size > 1) throw noOption([...chosen].join(','))
      const inOrder = attribute.options.map(({ value }) => value).filter((value) => chosen.has(value))
      return inOrder.length > 0 ? inOrder : null
    }
    case 'boolean':
      if (text === '') return null
      if (text !== '0' && text !== '1') throw noOption(text)
      return text
    case 'date': {
      if (text === '') return null
      const date = parseDate(text)
      if (date === undefined) throw fault('DATE_INVALID')
      checkRange(attribute, date)
      return date
    }
    case 'datetime': {
      if (text === '') return null
      const moment = parseDateTime(text)
      if (moment === undefined) throw fault('DATE_INVALID')
      checkRange(attribute, moment.slice(0, 10))
      return moment
    }
    default:
      if (text === '') return null
      checkText(attribute, text)
      return given.value ?? null
  }
}

/** @throws Fault */
function checkText(
  { type, label, lines, validate: { minLength = 0, maxLength = MAX_TEXT * 10, input } }: CustomAttribute,
  text: string,
): void {
  if (text.length > maxLength) throw fault('ATTRIBUTE_TOO_LONG', { label, most: maxLength })
  if (text.length < minLength) throw fault('ATTRIBUTE_TOO_SHORT', { label, least: minLength })
  if (type === 'multiline' && text.split('\n').length > lines) {
    throw fault('ATTRIBUTE_TOO_MANY_LINES', { label, most: lines })
  }
  if (input && !INPUT_VALIDATIONS[input](text)) throw fault('ATTRIBUTE_INVALID', { label, input })
}

/** Whether a text passes the validation that the store's settings demand. */
const INPUT_VALIDATIONS: Record<InputValidation, (text: string) => boolean> = {
  alphanumeric: (text) => /^[\p{L}\p{N}]*$/u.test(text),
  'alphanum-with-spaces': (text) => /^[\p{L}\p{N}\s]*$/u.test(text),
  numeric: (text) => /^\d*$/.test(text),
  alpha: (text) => /^\p{L}*$/u.test(text),
  email: isValidEmail,
  url: (text) => /^https?:\/\//i.test(text) && URL.canParse(text),
}

/** @param date YYYY-MM-DD @throws Fault */
function checkRange({ validate: { minDate, maxDate } }: CustomAttribute, date: string): void {
  if ((minDate === undefined || date >= minDate) && (maxDate === undefined || date <= maxDate)) return
  throw fault('ATTRIBUTE_DATE_OUT_OF_RANGE', { minDate, maxDate })
}
