/** The attributes of customers and addresses, as Magento describes them; storefronts render their forms from them. */
import type { CustomAttribute, Store } from '../../schema/store.ts'
import { MAX_TEXT } from '../domain/text.ts'

/** CustomerAttributeMetadata of the schema. */
interface AttributeMetadata {
  readonly code: string
  readonly label: string
  readonly entity_type: 'CUSTOMER' | 'CUSTOMER_ADDRESS'
  readonly frontend_input: string
  readonly frontend_class: null
  readonly default_value: string | null
  readonly is_required: boolean
  readonly is_unique: boolean
  readonly input_filter: 'NONE' | 'TRIM' | 'DATE'
  readonly multiline_count: number
  readonly sort_order: number
  readonly validate_rules: readonly { readonly name: string; readonly value: string }[]
  readonly options: readonly { readonly label: string; readonly value: string; readonly is_default: boolean }[]
}

const LENGTH = [
  { name: 'MAX_TEXT_LENGTH', value: String(MAX_TEXT) },
  { name: 'MIN_TEXT_LENGTH', value: '1' },
]

const text = (code: string, label: string, sort_order: number, more: Partial<AttributeMetadata> = {}) => ({
  code,
  label,
  frontend_input: 'TEXT',
  frontend_class: null,
  default_value: null,
  is_required: true,
  is_unique: false,
  input_filter: 'NONE' as const,
  multiline_count: 1,
  sort_order,
  validate_rules: LENGTH,
  options: [],
  ...more,
})

const OPTIONAL = { is_required: false }
const ANY_LENGTH = { validate_rules: [] }

/** Continues after Magento's own attributes. */
const FIRST_CUSTOM = 1000

/** AttributeInput of the schema. */
export interface AttributeReference {
  readonly attribute_code?: string | null
  readonly entity_type?: string | null
}

interface MetadataError {
  readonly type: 'ENTITY_NOT_FOUND' | 'ATTRIBUTE_NOT_FOUND' | 'FILTER_NOT_FOUND' | 'UNDEFINED'
  readonly message: string
}

interface Answer<Item> {
  readonly items: readonly Item[]
  readonly errors: readonly MetadataError[]
}

const GENDERS = [
  { label: 'Male', value: '1' },
  { label: 'Female', value: '2' },
  { label: 'Not Specified', value: '3' },
].map((option) => ({ ...option, is_default: false }))

/**
 * Finds attributes by form, by entity, and by code. What does not exist is reported as an error beside the items found.
 */
export function createAttributeForms({ address, customAttributes }: Store) {
  const byOrder = (a: { sort_order: number }, b: { sort_order: number }) => a.sort_order - b.sort_order
  const customer = [
    text('prefix', 'Name Prefix', 30, OPTIONAL),
    text('firstname', 'First Name', 40, { input_filter: 'TRIM' }),
    text('middlename', 'Middle Name/Initial', 50, { input_filter: 'TRIM', ...OPTIONAL }),
    text('lastname', 'Last Name', 60, { input_filter: 'TRIM' }),
    text('suffix', 'Name Suffix', 70, OPTIONAL),
    text('email', 'Email', 80, { validate_rules: [{ name: 'INPUT_VALIDATION', value: 'EMAIL' }] }),
    text('dob', 'Date of Birth', 90, { frontend_input: 'DATE', input_filter: 'DATE', ...OPTIONAL, ...ANY_LENGTH }),
    text('taxvat', 'Tax/VAT Number', 100, OPTIONAL),
    text('gender', 'Gender', 110, { frontend_input: 'SELECT', options: GENDERS, ...OPTIONAL, ...ANY_LENGTH }),
    ...customAttributes.customer.map(toMetadata),
  ].map((attribute) => ({ ...attribute, entity_type: 'CUSTOMER' }))

  const is = (use: 'required' | 'optional') => ({ is_required: use === 'required' })
  const addresses = [
    text('firstname', 'First Name', 20, { input_filter: 'TRIM' }),
    text('lastname', 'Last Name', 40, { input_filter: 'TRIM' }),
    text('company', 'Company', 60, is(address.company)),
    text('street', 'Street Address', 70, { frontend_input: 'MULTILINE', multiline_count: address.streetLines }),
    text('city', 'City', 80),
    // Whether a region and a postcode are required depends on the country: see `storeConfig`.
    text('country_id', 'Country', 90, { frontend_input: 'SELECT', ...ANY_LENGTH }),
    text('region', 'State/Province', 100, { ...OPTIONAL, ...ANY_LENGTH }),
    text('region_id', 'State/Province', 100, { frontend_input: 'HIDDEN', ...OPTIONAL, ...ANY_LENGTH }),
    text('postcode', 'Zip/Postal Code', 110, { ...OPTIONAL, ...ANY_LENGTH }),
    text('telephone', 'Phone Number', 120, is(address.telephone)),
    text('fax', 'Fax', 130, is(address.fax)),
    text('vat_id', 'VAT Number', 140, { ...OPTIONAL, ...ANY_LENGTH }),
    ...customAttributes.address.map(toMetadata),
  ].map((attribute) => ({ ...attribute, entity_type: 'CUSTOMER_ADDRESS' }))
  customer.sort(byOrder)
  addresses.sort(byOrder)

  // Magento's account forms have the fields that are enabled by default, and the store's own.
  const shown = new Set(['firstname', 'lastname', 'email', ...customAttributes.customer.map(({ code }) => code)])
  const account = customer.filter(({ code }) => shown.has(code))
  const forms = new Map([
    ['customer_account_create', account],
    ['customer_account_edit', account],
    ['customer_register_address', addresses],
    ['customer_address_edit', addresses],
  ])

  const entities = new Map([
    ['CUSTOMER', customer],
    ['CUSTOMER_ADDRESS', addresses],
  ])
  type Item = (typeof customer)[number]

  return {
    /** The attributes of a form. */
    form(formCode: string): Answer<Item> {
      const items = forms.get(formCode)
      if (items) return { items, errors: [] }
      return { items: [], errors: [{ type: 'ENTITY_NOT_FOUND', message: `Form "${formCode}" could not be found.` }] }
    },

    /**
     * All attributes of an entity. Filters apply to product attributes alone: here a filter is an error and does not
     * narrow the list.
     */
    list(entityType: string, filters?: object | null): Answer<Item> {
      const entity = entityType.toLowerCase()
      const items = entities.get(entityType)
      if (items === undefined) {
        return { items: [], errors: [{ type: 'ENTITY_NOT_FOUND', message: `Entity "${entity}" could not be found.` }] }
      }
      const errors = Object.keys(filters ?? {}).map((filter) => ({
        type: 'FILTER_NOT_FOUND' as const,
        message: `Cannot filter by "${filter}" as that field does not belong to "${entity}".`,
      }))
      return { items: errors.length > 0 ? [] : items, errors }
    },

    /** The attributes that are named, in the order of their names. */
    named(references: readonly AttributeReference[] | null | undefined): Answer<Item> {
      const items: Item[] = []
      const errors: MetadataError[] = []
      for (const { attribute_code: code, entity_type: entity } of references ?? []) {
        const attributes = entities.get(entity?.toUpperCase() ?? '')
        const found = attributes?.find((attribute) => attribute.code === code)
        if (found) items.push(found)
        else if (!code || !entity) errors.push({ type: 'UNDEFINED', message: 'Missing attribute_code or entity_type.' })
        else if (!attributes)
          errors.push({ type: 'ENTITY_NOT_FOUND', message: `Entity "${entity}" could not be found.` })
        else errors.push({ type: 'ATTRIBUTE_NOT_FOUND', message: `Attribute code "${code}" could not be found.` })
      }
      return { items, errors }
    },
  }
}

const YES_OR_NO = [
  { label: 'Yes', value: '1' },
  { label: 'No', value: '0' },
]

const RULES = {
  minLength: 'MIN_TEXT_LENGTH',
  maxLength: 'MAX_TEXT_LENGTH',
  input: 'INPUT_VALIDATION',
  minDate: 'DATE_RANGE_MIN',
  maxDate: 'DATE_RANGE_MAX',
} as const

function toMetadata(attribute: CustomAttribute, index: number) {
  const { code, label, type, required, options, sortOrder, lines, validate } = attribute
  const rules = Object.entries(RULES).flatMap(([rule, name]) => {
    const value = validate[rule as keyof typeof RULES]
    return value === undefined ? [] : [{ name, value: String(value).toUpperCase() }]
  })
  return text(code, label, sortOrder ?? FIRST_CUSTOM + 10 * index, {
    frontend_input: type.toUpperCase(),
    is_required: required,
    default_value:
      attribute.default ?? (options.flatMap((option) => (option.default ? [option.value] : [])).join(',') || null),
    input_filter: type === 'date' || type === 'datetime' ? 'DATE' : 'NONE',
    multiline_count: type === 'multiline' ? lines : 1,
    validate_rules: rules,
    options:
      type === 'boolean'
        ? YES_OR_NO.map((option) => ({ ...option, is_default: option.value === attribute.default }))
        : options.map(({ label, value, default: is_default }) => ({ label, value, is_default })),
  })
}
