/** Subgraphs that have Magento's own types compose with this one, and are asked together. */
import { readFileSync } from 'node:fs'
import { composeServices } from '@apollo/composition'
import { parse } from 'graphql'
import t from 'tap'
import { signUp, startSubgraph } from '../support/graph.ts'

const customers = readFileSync(new URL('../../schema/customer.graphql', import.meta.url), 'utf8')
const LINK = 'extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key", "@shareable"])\n'

/** The types of attributes' values, as a subgraph made from Magento's schema has them. */
const ATTRIBUTES = `
  interface AttributeValueInterface { code: ID! }
  type AttributeValue implements AttributeValueInterface @shareable { code: ID! value: String! }
  type AttributeSelectedOptions implements AttributeValueInterface @shareable {
    code: ID! selected_options: [AttributeSelectedOptionInterface]! }
  interface AttributeSelectedOptionInterface { label: String! value: String! }
  type AttributeSelectedOption implements AttributeSelectedOptionInterface @shareable { label: String! value: String! }
  type AttributeMetadataError @shareable { message: String! type: AttributeMetadataErrorType! }
  enum AttributeMetadataErrorType { ENTITY_NOT_FOUND ATTRIBUTE_NOT_FOUND FILTER_NOT_FOUND UNDEFINED }`
const PAGES = 'type SearchResultPageInfo @shareable { current_page: Int page_size: Int total_pages: Int }'
const COUNTRIES = /enum CountryCodeEnum \{[^}]*\}/.exec(customers)?.[0] ?? ''

const SUBGRAPHS: Readonly<Record<string, string>> = {
  'a catalogue: attributes of products, and their metadata': `${ATTRIBUTES} ${PAGES}
    type Query { products(search: String, pageSize: Int = 20, currentPage: Int = 1): Products }
    type Products { items: [ProductInterface] page_info: SearchResultPageInfo total_count: Int }
    interface ProductInterface { sku: String custom_attributesV2: ProductCustomAttributes }
    type SimpleProduct implements ProductInterface @key(fields: "sku") {
      sku: String custom_attributesV2: ProductCustomAttributes group: CustomerGroupStorefront attributes: [CatalogAttributeMetadata] }
    type ProductCustomAttributes { items: [AttributeValueInterface]! errors: [AttributeMetadataError]! }
    type CustomerGroupStorefront @shareable { uid: ID! }
    interface CustomAttributeMetadataInterface { code: ID! default_value: String entity_type: AttributeEntityTypeEnum!
      frontend_class: String frontend_input: AttributeFrontendInputEnum is_required: Boolean! is_unique: Boolean!
      label: String options: [CustomAttributeOptionInterface]! }
    type CatalogAttributeMetadata implements CustomAttributeMetadataInterface { code: ID! default_value: String
      entity_type: AttributeEntityTypeEnum! frontend_class: String frontend_input: AttributeFrontendInputEnum
      is_required: Boolean! is_unique: Boolean! label: String options: [CustomAttributeOptionInterface]! is_comparable: Boolean }
    interface CustomAttributeOptionInterface { is_default: Boolean! label: String! value: String! }
    type AttributeOptionMetadata implements CustomAttributeOptionInterface @shareable {
      is_default: Boolean! label: String! value: String! }
    enum AttributeEntityTypeEnum { CATALOG_PRODUCT CATALOG_CATEGORY CUSTOMER CUSTOMER_ADDRESS }
    enum AttributeFrontendInputEnum { BOOLEAN DATE DATETIME FILE GALLERY HIDDEN IMAGE MEDIA_IMAGE MULTILINE MULTISELECT
      PRICE SELECT TEXT TEXTAREA WEIGHT UNDEFINED }`,
  'orders: attributes of their addresses, and the customer’s group': `${ATTRIBUTES} ${PAGES} ${COUNTRIES}
    type Customer @key(fields: "id") { id: Int orders(currentPage: Int = 1, pageSize: Int = 20): CustomerOrders }
    type CustomerOrders { items: [CustomerOrder]! page_info: SearchResultPageInfo total_count: Int }
    type CustomerOrder { number: String! shipping_address: OrderAddress customer_group: CustomerGroupStorefront }
    type OrderAddress { city: String! country_code: CountryCodeEnum
      custom_attributesV2(attributeCodes: [ID!]): [AttributeValueInterface]! }
    type CustomerGroupStorefront @shareable { uid: ID! }`,
  'a store: its own part of the configuration, also of other store views': `
    type Query { storeConfig: StoreConfig @shareable availableStores(useCurrentGroup: Boolean): [StoreConfig] }
    type StoreConfig @shareable { store_code: ID store_name: String store_group_code: ID website_name: String
      base_media_url: String }`,
  'shipping: countries and regions': `
    type Query { shipsTo: [Country] }
    type Country @shareable { id: String two_letter_abbreviation: String three_letter_abbreviation: String
      full_name_locale: String full_name_english: String available_regions: [Region] }
    type Region @shareable { id: Int code: String name: String }`,
}

for (const [name, sdl] of Object.entries(SUBGRAPHS)) {
  t.test(name, async (t) => {
    const { errors } = composeServices([
      { name: 'customers', url: 'http://customers', typeDefs: parse(customers) },
      { name: 'other', url: 'http://other', typeDefs: parse(LINK + sdl) },
    ])
    t.same(
      errors?.map(({ message }) => message),
      undefined,
    )
  })
}

t.test('all of them together', async (t) => {
  const others = Object.values(SUBGRAPHS).map((sdl, index) => ({
    name: `other${index}`,
    url: `http://other${index}`,
    typeDefs: parse(LINK + sdl),
  }))
  const { errors } = composeServices([
    { name: 'customers', url: 'http://customers', typeDefs: parse(customers) },
    ...others,
  ])
  t.same(
    errors?.map(({ message }) => message),
    undefined,
  )
})

t.test('what other subgraphs name is filled in', async (t) => {
  const entities = `query($of: [_Any!]!) { _entities(representations: $of) {
    ... on CustomerGroupStorefront { uid name } ... on StoreConfig { store_code locale newsletter_enabled } } }`
  const uid = Buffer.from('1').toString('base64')
  const of = [
    { __typename: 'CustomerGroupStorefront', uid },
    { __typename: 'CustomerGroupStorefront', uid: 'nobody' },
    { __typename: 'StoreConfig', store_code: 'default' },
    { __typename: 'StoreConfig', store_code: 'german' },
  ]
  const open = await startSubgraph(t, { store: { account: { shareGroup: true, shareAllGroups: true } } })
  const { data } = await open.send(entities, { variables: { of } })
  t.strictSame(data._entities, [
    { uid, name: 'General' },
    { uid: 'nobody', name: null },
    { store_code: 'default', locale: 'en_US', newsletter_enabled: true },
    { store_code: 'german', locale: null, newsletter_enabled: true },
  ])
  const { token } = await signUp(open.send)
  const own = await open.send('{ customer { group { uid name } } customerGroup { uid name } }', { token })
  t.strictSame(own.data, { customer: { group: { uid, name: 'General' } }, customerGroup: { uid, name: 'General' } })

  const closed = await startSubgraph(t)
  const hidden = await closed.send(entities, { variables: { of } })
  t.strictSame(hidden.data._entities[0], { uid, name: null }, 'a name only where the store tells its groups')
})
