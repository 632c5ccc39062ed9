/** Values of the store's own attributes: which are accepted, and what is stored of them. */
import type { CustomAttributes } from '../../schema/events.ts'
import type { CustomAttribute } from '../../schema/store.ts'
import { invalidInput } from '../errors.ts'
import { parseDate } from './date.ts'
import { MAX_TEXT, tooLong } from './text.ts'

/** AttributeValueInput of the schema. */
export interface AttributeInput {
  readonly attribute_code: string
  readonly value?: string | null
  readonly selected_options?: readonly ({ readonly value: string } | null)[] | null
}

/** Of each attribute named: its value to store, or null where it is to be unset. */
export type AttributeChanges = Record<string, string | string[] | null>

/**
 * What the input makes of the attributes. A code that the store does not have is passed over, as Magento does.
 * @throws CustomerError (graphql-input) for an option that there is not, a bad date, a required attribute that would be unset
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

/** @throws CustomerError (graphql-input) where a new customer or address lacks a required attribute */
export function requireAttributes(declared: readonly CustomAttribute[], attributes: CustomAttributes): void {
  for (const attribute of declared) {
    if (attribute.required && attributes[attribute.code] === undefined) throw missing(attribute)
  }
}

/** The attributes with the changes laid over them. */
export function applyAttributes(attributes: CustomAttributes, changes: AttributeChanges): CustomAttributes {
  const merged = Object.entries({ ...attributes, ...changes })
  return Object.fromEntries(merged.filter((entry): entry is [string, string | string[]] => entry[1] !== null))
}

const missing = ({ label }: CustomAttribute) => invalidInput(`"${label}" is a required value.`)

function resolveValue(attribute: CustomAttribute, given: AttributeInput): string | string[] | null {
  const text = given.value?.trim() ?? ''
  const noOption = (value: string) =>
    invalidInput(`Attribute ${attribute.code} does not contain option with Id ${value}`)
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
      if (date === undefined) throw invalidInput('Invalid date')
      return date
    }
    default:
      if (text.length > MAX_TEXT * 10) throw invalidInput(tooLong(attribute.label, MAX_TEXT * 10))
      return text === '' ? null : (given.value ?? null)
  }
}
