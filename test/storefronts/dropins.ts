/**
 * What Adobe's storefront packages of 2026 (auth 4.x, account 4.x) ask for: fields, arguments and variables are theirs, the
 * documents are written anew. In the order in which one customer could send them. Of the store's configuration, what belongs
 * to a store's subgraph (base_media_url, store_name, store_group_code, website_name) is left out.
 */
import { freshEmail } from '../support/graph.ts'
import { credentials, NEW_PASSWORD, newcomer, type Operation, type Session, signedIn, TOKEN } from './session.ts'

const ABOUT = '__typename firstname lastname email allow_remote_shopping_assistance group { uid }'

const ACTIONS = `total_count items { action date details } page_info { current_page page_size total_pages }`

const FORM = `query ($formCode: String!) { attributesForm(formCode: $formCode) {
  items {
    code default_value entity_type frontend_class frontend_input is_required is_unique label
    options { is_default label value }
    ... on CustomerAttributeMetadata { multiline_count sort_order validate_rules { name value } }
  }
  errors { type message }
} }`

const ADDRESSES = `query { customer { addresses {
  id uid firstname lastname middlename prefix suffix company fax telephone vat_id street city postcode country_code
  region { region region_code region_id } default_shipping default_billing
  custom_attributesV2 { ... on AttributeValue { code value } }
} } }`

const person = ({ email }: Session) => ({ email, firstname: 'Nora', lastname: 'Berg' })

const ADDRESS = {
  firstname: 'Nora',
  lastname: 'Berg',
  street: ['1 Main St', 'Suite 2'],
  city: 'Austin',
  postcode: '78701',
  country_code: 'US',
  region: { region: 'Texas', region_code: 'TX', region_id: 57 },
  telephone: '512-555-0100',
  default_shipping: true,
  default_billing: false,
  custom_attributesV2: [],
}

const form = (formCode: string, codes: readonly string[]): Operation => ({
  document: FORM,
  guest: true,
  variables: () => ({ formCode }),
  answers: () => ({ attributesForm: { items: codes.map((code) => ({ code, label: String })), errors: [] } }),
})

export const DROPINS: Record<string, Operation> = {
  'store configuration of the sign-in form': {
    document: `query { storeConfig {
      autocomplete_on_storefront minimum_password_length required_character_classes_number store_code locale
      create_account_confirmation customer_access_token_lifetime
      shopping_assistance_enabled shopping_assistance_checkbox_title shopping_assistance_checkbox_tooltip
    } }`,
    guest: true,
    answers: () => ({ storeConfig: { minimum_password_length: '8', store_code: 'default', locale: 'en_US' } }),
  },
  'form: new account': form('customer_account_create', ['firstname', 'lastname', 'email']),
  'a new account, the older way': {
    document: `mutation ($input: CustomerInput!) { createCustomer(input: $input) { customer { ${ABOUT} } } }`,
    guest: true,
    variables: (session) => ({ input: { ...person(session), password: session.password } }),
    answers: (session) => ({
      createCustomer: { customer: { ...person(session), __typename: 'Customer', group: null } },
    }),
  },
  'a new account': {
    document: `mutation ($input: CustomerCreateInput!) { createCustomerV2(input: $input) { customer { ${ABOUT} } } }`,
    guest: true,
    variables: (session) => {
      newcomer(session)
      return {
        input: {
          ...person(session),
          password: session.password,
          is_subscribed: true,
          allow_remote_shopping_assistance: true,
          custom_attributes: [],
        },
      }
    },
    answers: (session) => ({
      createCustomerV2: { customer: { ...person(session), allow_remote_shopping_assistance: true } },
    }),
  },
  'sign in': {
    document: `mutation ($email: String!, $password: String!) {
      generateCustomerToken(email: $email, password: $password) { token } }`,
    guest: true,
    variables: credentials,
    answers: () => ({ generateCustomerToken: { token: TOKEN } }),
    keeps: signedIn,
  },
  'each page: is the token good': {
    document: 'query { customer { firstname } }',
    answers: () => ({ customer: { firstname: 'Nora' } }),
  },
  'each page, with groups': {
    document: 'query { customer { firstname group { uid } } }',
    answers: () => ({ customer: { firstname: 'Nora', group: null } }),
  },
  'who is signed in': {
    document: `query { customer { ${ABOUT} } }`,
    answers: (session) => ({ customer: person(session) }),
  },
  'account page': {
    document: `query { customer {
      date_of_birth email firstname gender lastname middlename prefix suffix created_at allow_remote_shopping_assistance
      admin_assistance_actions(pageSize: 10, currentPage: 1) { ${ACTIONS} }
      custom_attributes {
        code ... on AttributeValue { code value } ... on AttributeSelectedOptions { code selected_options { value } }
      }
    } }`,
    answers: (session) => ({
      customer: { ...person(session), admin_assistance_actions: { total_count: 0, page_info: { page_size: 10 } } },
    }),
  },
  'what staff did': {
    document: `query ($currentPage: Int, $pageSize: Int) { customer {
      admin_assistance_actions(pageSize: $pageSize, currentPage: $currentPage) { ${ACTIONS} } } }`,
    variables: () => ({ pageSize: 5, currentPage: 1 }),
    answers: () => ({
      customer: { admin_assistance_actions: { items: { length: 0 }, page_info: { current_page: 1, page_size: 5 } } },
    }),
  },
  'form: address': form('customer_register_address', ['firstname', 'lastname']),
  'form: address, in short': {
    document: `query { attributesForm(formCode: "customer_register_address") {
      items { frontend_input label code ... on CustomerAttributeMetadata { multiline_count sort_order } } } }`,
    guest: true,
    answers: () => ({ attributesForm: { items: [{ code: 'firstname', sort_order: Number }] } }),
  },
  countries: {
    document: `query {
      countries { two_letter_abbreviation full_name_locale available_regions { id code name } }
      storeConfig { countries_with_required_region optional_zip_countries }
    }`,
    guest: true,
    answers: () => ({
      countries: [{ two_letter_abbreviation: String }],
      storeConfig: { optional_zip_countries: /HK/ },
    }),
  },
  regions: {
    document: 'query ($countryCode: String!) { country(id: $countryCode) { id available_regions { id code name } } }',
    guest: true,
    variables: () => ({ countryCode: 'US' }),
    answers: () => ({ country: { id: 'US', available_regions: { length: 65 } } }),
  },
  'a new address': {
    document: 'mutation ($input: CustomerAddressInput!) { createCustomerAddress(input: $input) { firstname uid } }',
    variables: () => ({ input: ADDRESS }),
    answers: () => ({ createCustomerAddress: { firstname: 'Nora', uid: /^[\w=]+$/ } }),
    keeps: (session, data) => {
      session.addresses.push(Number(Buffer.from(data.createCustomerAddress.uid, 'base64').toString()))
    },
  },
  'address book': {
    document: ADDRESSES,
    answers: ({ addresses: [id] }) => ({
      customer: { addresses: [{ id, city: 'Austin', region: ADDRESS.region, default_shipping: true }] },
    }),
  },
  'an address changes': {
    document: `mutation ($id: Int!, $input: CustomerAddressInput) {
      updateCustomerAddress(id: $id, input: $input) { firstname } }`,
    variables: ({ addresses: [id] }) => ({
      id,
      input: { ...ADDRESS, firstname: 'Eleonora', default_shipping: false, region: { region_code: 'NY' } },
    }),
    answers: () => ({ updateCustomerAddress: { firstname: 'Eleonora' } }),
  },
  'an address goes': {
    document: 'mutation ($id: Int!) { deleteCustomerAddress(id: $id) }',
    variables: ({ addresses: [id] }) => ({ id }),
    answers: () => ({ deleteCustomerAddress: true }),
  },
  'the account changes': {
    document: `mutation ($input: CustomerUpdateInput!) {
      updateCustomerV2(input: $input) { customer { email allow_remote_shopping_assistance } } }`,
    variables: () => ({
      input: {
        firstname: 'Eleonora',
        gender: 2,
        date_of_birth: '1990-05-17',
        allow_remote_shopping_assistance: false,
        custom_attributes: [],
      },
    }),
    answers: ({ email }) => ({ updateCustomerV2: { customer: { email, allow_remote_shopping_assistance: false } } }),
  },
  'another e-mail address': {
    document: `mutation ($email: String!, $password: String!) {
      updateCustomerEmail(email: $email, password: $password) { customer { email } } }`,
    variables: (session) => {
      session.email = freshEmail()
      return credentials(session)
    },
    answers: ({ email }) => ({ updateCustomerEmail: { customer: { email } } }),
  },
  'another password': {
    document: `mutation ($currentPassword: String!, $newPassword: String!) {
      changeCustomerPassword(currentPassword: $currentPassword, newPassword: $newPassword) { email } }`,
    variables: ({ password }) => ({ currentPassword: password, newPassword: NEW_PASSWORD }),
    answers: ({ email }) => ({ changeCustomerPassword: { email } }),
    keeps: (session) => {
      session.password = NEW_PASSWORD
    },
  },
  'sign out': {
    document: 'mutation { revokeCustomerToken { result } }',
    answers: () => ({ revokeCustomerToken: { result: true } }),
  },
  'password forgotten': {
    document: 'mutation ($email: String!) { requestPasswordResetEmail(email: $email) }',
    guest: true,
    variables: ({ email }) => ({ email }),
    answers: () => ({ requestPasswordResetEmail: true }),
  },
  'password reset': {
    document: `mutation ($email: String!, $resetPasswordToken: String!, $newPassword: String!) {
      resetPassword(email: $email, resetPasswordToken: $resetPasswordToken, newPassword: $newPassword) }`,
    guest: true,
    variables: async ({ email, linkToken, password }) => ({
      email,
      resetPasswordToken: await linkToken(),
      newPassword: `${password}2`,
    }),
    answers: () => ({ resetPassword: true }),
  },
}

/** Where accounts have to be confirmed. */
export const DROPINS_CONFIRMATION: Record<string, Operation> = {
  'a new account': DROPINS['a new account'] as Operation,
  'the link once more': {
    document: 'mutation ($email: String!) { resendConfirmationEmail(email: $email) }',
    guest: true,
    variables: ({ email }) => ({ email }),
    answers: () => ({ resendConfirmationEmail: true }),
  },
  confirmation: {
    document: `mutation ($email: String!, $confirmation_key: String!) {
      confirmEmail(input: { email: $email, confirmation_key: $confirmation_key }) { customer { email } } }`,
    guest: true,
    variables: async ({ email, linkToken }) => ({ email, confirmation_key: await linkToken() }),
    answers: ({ email }) => ({ confirmEmail: { customer: { email } } }),
  },
}
