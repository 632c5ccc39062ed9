/** What storefronts draw their forms from: the attributes of customers and addresses, as Magento's `attributesForm` has them. */
import type { CustomAttribute, Store } from '../schema/store.ts'
import { MAX_TEXT } from './domain/text.ts'

/** CustomerAttributeMetadata of the schema. */
interface AttributeMetadata {
  readonly code: string
  readonly label: string
  readonly entity_type: 'CUSTOMER' | 'CUSTOMER_ADDRESS'
  readonly frontend_input: string
  readonly frontend_class: null
  readonly default_value: null
  readonly is_required: boolean
  readonly is_unique: boolean
  readonly input_filter: 'NONE' | 'TRIM'
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

/** Magento's order goes on behind its own attributes. */
const FIRST_CUSTOM = 1000

/** @returns the form of a code, and an error for one that there is not */
export function createAttributeForms({ address, customAttributes }: Store) {
  const customer = [
    text('firstname', 'First Name', 40, { input_filter: 'TRIM' }),
    text('lastname', 'Last Name', 60, { input_filter: 'TRIM' }),
    text('email', 'Email', 80, { validate_rules: [{ name: 'INPUT_VALIDATION', value: 'EMAIL' }] }),
    ...customAttributes.customer.map(toMetadata),
  ].map((attribute) => ({ ...attribute, entity_type: 'CUSTOMER' }))

  const is = (use: 'required' | 'optional') => ({ is_required: use === 'required' })
  const addresses = [
    text('firstname', 'First Name', 20, { input_filter: 'TRIM' }),
    text('lastname', 'Last Name', 40, { input_filter: 'TRIM' }),
    text('company', 'Company', 60, is(address.company)),
    text('street', 'Street Address', 70, { frontend_input: 'MULTILINE', multiline_count: address.streetLines }),
    text('city', 'City', 80),
    // Whether a region and a postcode are required depends on the country: `storeConfig` tells.
    text('country_id', 'Country', 90, { frontend_input: 'SELECT', ...ANY_LENGTH }),
    text('region', 'State/Province', 100, { ...OPTIONAL, ...ANY_LENGTH }),
    text('region_id', 'State/Province', 100, { frontend_input: 'HIDDEN', ...OPTIONAL, ...ANY_LENGTH }),
    text('postcode', 'Zip/Postal Code', 110, { ...OPTIONAL, ...ANY_LENGTH }),
    text('telephone', 'Phone Number', 120, is(address.telephone)),
    text('fax', 'Fax', 130, is(address.fax)),
    text('vat_id', 'VAT Number', 140, { ...OPTIONAL, ...ANY_LENGTH }),
    ...customAttributes.address.map(toMetadata),
  ].map((attribute) => ({ ...attribute, entity_type: 'CUSTOMER_ADDRESS' }))

  const forms = new Map([
    ['customer_account_create', customer],
    ['customer_account_edit', customer],
    ['customer_register_address', addresses],
    ['customer_address_edit', addresses],
  ])

  return (formCode: string) => {
    const items = forms.get(formCode)
    if (items) return { items, errors: [] }
    return { items: [], errors: [{ type: 'ENTITY_NOT_FOUND', message: `Form "${formCode}" could not be found.` }] }
  }
}

const YES_OR_NO = [
  { label: 'Yes', value: '1' },
  { label: 'No', value: '0' },
]

function toMetadata({ code, label, type, required, options }: CustomAttribute, index: number) {
  return text(code, label, FIRST_CUSTOM + 10 * index, {
    frontend_input: type.toUpperCase(),
    is_required: required,
    ...ANY_LENGTH,
    options: (type === 'boolean' ? YES_OR_NO : options).map((option) => ({ ...option, is_default: false })),
  })
}
