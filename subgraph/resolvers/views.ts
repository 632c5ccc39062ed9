/** Documents and settings in the schema's shape. */
import type { CustomerAddress, CustomerDocument } from '../../projections/customer.ts'
import type { Country } from '../../schema/countries.ts'
import { type CustomAttributes, isErased } from '../../schema/events.ts'
import { regionsOf } from '../../schema/regions.ts'
import type { CustomAttribute, Store } from '../../schema/store.ts'
import { refusal } from '../errors.ts'

/** Magento's `uid`: the number in base64. */
export const toUid = (id: number) => Buffer.from(String(id)).toString('base64')

/** @throws CustomerError (graphql-input) for a uid that is no number in base64 */
export function addressIdOf(uid: string): number {
  if (uid === '') throw refusal('ADDRESS_UID_MISSING')
  const id = Number(Buffer.from(uid, 'base64').toString())
  if (!Number.isSafeInteger(id) || id < 1 || toUid(id) !== uid) throw refusal('ADDRESS_UID_INVALID', { uid })
  return id
}

/** A value as AttributeValue or AttributeSelectedOptions of the schema. */
export type AttributeView = { readonly code: string } & (
  | { readonly value: string }
  | { readonly selected_options: readonly { readonly label: string; readonly value: string }[] }
)

/** Of these codes, where some are named. */
export function chosen(attributes: readonly AttributeView[], codes: readonly string[] | null | undefined) {
  return codes?.length ? attributes.filter(({ code }) => codes.includes(code)) : attributes
}

/** Those that the store still declares, in the order of its configuration. */
function toAttributes(declared: readonly CustomAttribute[], attributes: CustomAttributes): AttributeView[] {
  return declared.flatMap(({ code, options }): AttributeView[] => {
    const value = attributes[code]
    if (value === undefined) return []
    if (typeof value === 'string') return [{ code, value }]
    // In the order of the options; one that the store no longer has is not shown, as in Magento.
    const selected = options.filter((option) => value.includes(option.value))
    return [{ code, selected_options: selected.map(({ label, value }) => ({ label, value })) }]
  })
}

export function toCountry({ id, alpha3, name }: Country) {
  const regions = regionsOf(id)
  return {
    id,
    two_letter_abbreviation: id,
    three_letter_abbreviation: alpha3,
    full_name_locale: name,
    full_name_english: name,
    available_regions: regions.length > 0 ? regions : null,
  }
}

export const toView = ({ id, code, locale }: Store['view']) => ({ id, store_code: code, locale })

/** The settings as Magento's StoreConfig has them: numbers of passwords are texts there. */
export function toStoreConfig({ account, password, newsletter, countries, token }: Store) {
  const { shoppingAssistance } = account
  return {
    autocomplete_on_storefront: false,
    create_account_confirmation: account.confirmationRequired,
    customer_access_token_lifetime: token.lifetimeMinutes / 60,
    graphql_share_all_customer_groups: account.shareAllGroups,
    graphql_share_customer_group: account.shareGroup,
    minimum_password_length: String(password.minimumLength),
    newsletter_enabled: newsletter.active,
    required_character_classes_number: String(password.requiredCharacterClasses),
    countries_with_required_region: countries.regionRequired.join(','),
    default_country: countries.default,
    display_state_if_optional: countries.showOptionalRegion,
    optional_zip_countries: countries.postcodeOptional.join(','),
    shopping_assistance_enabled: shoppingAssistance.enabled,
    shopping_assistance_checkbox_title: shoppingAssistance.title,
    shopping_assistance_checkbox_tooltip: shoppingAssistance.tooltip,
  }
}

export type Views = ReturnType<typeof createViews>

/** Documents in the schema's shape. */
export function createViews({ account, customAttributes }: Store) {
  const confirmationStatus = account.confirmationRequired ? 'ACCOUNT_CONFIRMED' : 'ACCOUNT_CONFIRMATION_NOT_REQUIRED'

  let last: { readonly document: CustomerDocument; readonly addresses: ReturnType<typeof toAddress>[] } | undefined

  function toCustomer(document: CustomerDocument) {
    return {
      id: document.id,
      created_at: document.createdAt.slice(0, 19).replace('T', ' '),
      group_id: document.groupId,
      group: account.shareGroup ? { uid: toUid(document.groupId) } : null,
      prefix: document.prefix,
      firstname: document.firstname,
      middlename: document.middlename,
      lastname: document.lastname,
      suffix: document.suffix,
      email: document.email,
      default_billing: document.defaultBilling?.toString() ?? null,
      default_shipping: document.defaultShipping?.toString() ?? null,
      dob: document.dob,
      date_of_birth: document.dob,
      taxvat: document.taxvat,
      gender: document.gender,
      is_subscribed: document.newsletter === 'subscribed',
      confirmation_status: confirmationStatus,
      allow_remote_shopping_assistance: document.allowRemoteShoppingAssistance,
      reward_update_notification: document.rewardUpdateNotification,
      reward_warning_notification: document.rewardWarningNotification,
      addresses: toAddresses(document),
      custom_attributes: toAttributes(customAttributes.customer, document.customAttributes),
    }
  }

  /** Made once for aliases and representations that ask for one customer again and again. */
  function toAddresses(document: CustomerDocument) {
    if (last?.document !== document) {
      last = { document, addresses: document.addresses.map((address) => toAddress(document, address)) }
    }
    return last.addresses
  }

  function toAddress(customer: CustomerDocument, address: CustomerAddress) {
    return {
      id: address.id,
      customer_id: customer.id,
      region: { region_code: address.regionCode, region: address.region, region_id: address.regionId },
      region_id: address.regionId,
      country_id: address.countryId,
      country_code: isErased(address.countryId) ? null : address.countryId,
      street: address.street,
      company: address.company,
      telephone: address.telephone,
      fax: address.fax,
      postcode: address.postcode,
      city: address.city,
      firstname: address.firstname,
      lastname: address.lastname,
      middlename: address.middlename,
      prefix: address.prefix,
      suffix: address.suffix,
      vat_id: address.vatId,
      default_shipping: customer.defaultShipping === address.id,
      default_billing: customer.defaultBilling === address.id,
      custom_attributesV2: toAttributes(customAttributes.address, address.customAttributes),
      extension_attributes: [],
    }
  }

  return { toCustomer, toAddress }
}
