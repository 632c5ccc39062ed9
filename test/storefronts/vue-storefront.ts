/**
 * Operations of Vue Storefront's client for Magento: sign in and up, my profile, address book, newsletter, password
 * forgotten. In the order in which one customer could send them.
 */
import { freshEmail } from '../support/graph.ts'
import {
  addressAdded,
  credentials,
  NEW_PASSWORD,
  newcomer,
  type Operation,
  type Session,
  signedIn,
  TOKEN,
} from './session.ts'

const ADDRESS_FIELDS = `city country_code default_billing default_shipping extension_attributes { attribute_code value }
  firstname id lastname postcode prefix region { region_code region_id region } street suffix telephone`

const CUSTOMER_FIELDS = `allow_remote_shopping_assistance date_of_birth default_billing default_shipping email firstname
  is_subscribed lastname middlename prefix suffix taxvat addresses { ${ADDRESS_FIELDS} }`

const FRAGMENTS = `fragment CustomerData on Customer {
  allow_remote_shopping_assistance date_of_birth default_billing default_shipping email firstname is_subscribed lastname
  middlename prefix suffix taxvat addresses { ...CustomerAddressData }
}
fragment CustomerAddressData on CustomerAddress { ${ADDRESS_FIELDS} }`

const person = ({ email }: Session) => ({ email, firstname: 'Jan', lastname: 'Kowalski' })
const customer = (session: Session) => ({
  allow_remote_shopping_assistance: false,
  ...person(session),
  default_billing: null,
  default_shipping: null,
  addresses: { length: 0 },
})

const AUSTIN = {
  firstname: 'Jan',
  lastname: 'Kowalski',
  street: ['1 Main St', 'Apt 2'],
  city: 'Austin',
  region: { region_code: 'TX', region_id: 57 },
  country_code: 'US',
  postcode: '78701',
  telephone: '555-0100',
  default_shipping: false,
  default_billing: true,
}
const TEXAS = { region: 'Texas', region_code: 'TX', region_id: 57 }

const GENERATE_TOKEN: Operation = {
  document: `mutation generateCustomerToken($email: String!, $password: String!) {
    generateCustomerToken(email: $email, password: $password) { token }
  }`,
  guest: true,
  variables: credentials,
  answers: () => ({ generateCustomerToken: { token: TOKEN } }),
  keeps: signedIn,
}

export const VUE_STOREFRONT: Record<string, Operation> = {
  storeConfig: {
    document: 'query storeConfig { storeConfig { minimum_password_length required_character_classes_number } }',
    guest: true,
    answers: () => ({ storeConfig: { minimum_password_length: '8', required_character_classes_number: '3' } }),
  },
  createCustomer: {
    document: `mutation createCustomer($input: CustomerCreateInput!) {
      createCustomerV2(input: $input) { customer { ${CUSTOMER_FIELDS} } }
    }`,
    guest: true,
    variables: (session) => ({ input: { ...person(session), password: session.password, is_subscribed: true } }),
    answers: (session) => ({ createCustomerV2: { customer: { ...customer(session), is_subscribed: true } } }),
  },
  generateCustomerToken: GENERATE_TOKEN,
  customer: {
    document: `query customer {
      customer {
        date_of_birth default_billing default_shipping email firstname is_subscribed lastname middlename prefix suffix taxvat
        addresses { ${ADDRESS_FIELDS} vat_id } is_subscribed
      }
    }`,
    answers: (session) => ({ customer: { ...person(session), is_subscribed: true, addresses: { length: 0 } } }),
  },
  updateCustomer: {
    document: `mutation updateCustomer($input: CustomerUpdateInput!) {
      updateCustomerV2(input: $input) { customer { ${CUSTOMER_FIELDS} } }
    }`,
    variables: () => ({
      input: {
        firstname: 'Jan',
        lastname: 'Kowalski',
        is_subscribed: false,
        date_of_birth: '1980-01-31',
        gender: 1,
        taxvat: 'PL5260001246',
        prefix: 'Mr',
        suffix: 'Jr',
        allow_remote_shopping_assistance: true,
      },
    }),
    answers: (session) => ({
      updateCustomerV2: {
        customer: {
          ...customer(session),
          allow_remote_shopping_assistance: true,
          date_of_birth: '1980-01-31',
          is_subscribed: false,
          prefix: 'Mr',
          suffix: 'Jr',
          taxvat: 'PL5260001246',
        },
      },
    }),
  },
  updateCustomerEmail: {
    document: `mutation updateCustomerEmail($email: String!, $password: String!) {
      updateCustomerEmail(email: $email, password: $password) { customer { ${CUSTOMER_FIELDS} } }
    }`,
    variables: (session) => {
      session.email = freshEmail()
      return credentials(session)
    },
    answers: (session) => ({
      updateCustomerEmail: { customer: { ...customer(session), allow_remote_shopping_assistance: true } },
    }),
  },
  changeCustomerPassword: {
    document: `mutation changeCustomerPassword($currentPassword: String!, $newPassword: String!) {
      changeCustomerPassword(currentPassword: $currentPassword, newPassword: $newPassword) { ${CUSTOMER_FIELDS} }
    }`,
    variables: ({ password }) => ({ currentPassword: password, newPassword: NEW_PASSWORD }),
    answers: (session) => ({
      changeCustomerPassword: { ...customer(session), allow_remote_shopping_assistance: true },
    }),
    keeps: (session) => {
      session.password = NEW_PASSWORD
    },
  },
  countriesList: {
    document: 'query countriesList { countries { id two_letter_abbreviation full_name_locale full_name_english } }',
    guest: true,
    answers: () => ({ countries: [{ id: String, full_name_locale: String, full_name_english: String }] }),
  },
  countryInformation: {
    document: `query countryInformation($id: String) {
      country(id: $id) {
        id two_letter_abbreviation full_name_locale full_name_english available_regions { id code name }
      }
    }`,
    guest: true,
    variables: () => ({ id: 'DE' }),
    answers: () => ({
      country: {
        id: 'DE',
        two_letter_abbreviation: 'DE',
        full_name_english: 'Germany',
        available_regions: [{ id: Number, code: String, name: String }],
      },
    }),
  },
  createCustomerAddress: {
    document: `mutation createCustomerAddress($input: CustomerAddressInput!) {
      createCustomerAddress(input: $input) {
        id region { region region_id region_code } country_code street telephone postcode city default_shipping
        default_billing vat_id
      }
    }`,
    variables: () => ({ input: AUSTIN }),
    answers: () => ({
      createCustomerAddress: { ...without(AUSTIN, 'firstname', 'lastname'), id: Number, region: TEXAS },
    }),
    keeps: addressAdded,
  },
  'createCustomerAddress, one line and no region': {
    document: `mutation createCustomerAddress($input: CustomerAddressInput!) {
      createCustomerAddress(input: $input) {
        id region { region region_code } country_code street telephone postcode city default_shipping default_billing
      }
    }`,
    variables: () => ({
      input: {
        ...AUSTIN,
        street: ['Marszałkowska 1', null],
        city: 'Paris',
        country_code: 'FR',
        postcode: '75001',
        region: { region: '', region_code: '', region_id: null },
        default_billing: false,
      },
    }),
    answers: () => ({
      createCustomerAddress: {
        id: Number,
        city: 'Paris',
        country_code: 'FR',
        postcode: '75001',
        street: ['Marszałkowska 1'],
      },
    }),
    keeps: addressAdded,
  },
  getCustomerAddresses: {
    document: `query getCustomerAddresses { customer { addresses { ${ADDRESS_FIELDS} } } }`,
    answers: ({ addresses }) => ({
      customer: {
        addresses: [
          { ...AUSTIN, id: addresses[0], region: TEXAS },
          { id: addresses[1], city: 'Paris' },
        ],
      },
    }),
  },
  'getCustomerAddresses, by fragments': {
    document: `query getCustomerAddresses { customer { addresses { ...CustomerAddressData } } }
      fragment CustomerAddressData on CustomerAddress { ${ADDRESS_FIELDS} }`,
    answers: ({ addresses }) => ({ customer: { addresses: [{ id: addresses[0] }, { id: addresses[1] }] } }),
  },
  updateCustomerAddress: {
    document: `mutation updateCustomerAddress($id: Int!, $input: CustomerAddressInput) {
      updateCustomerAddress(id: $id, input: $input) {
        id city company country_code default_billing default_shipping extension_attributes { attribute_code value } fax
        firstname id lastname middlename postcode prefix region { region region_code region_id } street suffix telephone vat_id
      }
    }`,
    variables: ({ addresses }) => ({
      id: addresses[0],
      input: { ...AUSTIN, city: 'Dallas', company: 'Acme', vat_id: 'US123', default_shipping: true },
    }),
    answers: ({ addresses }) => ({
      updateCustomerAddress: {
        ...AUSTIN,
        id: addresses[0],
        city: 'Dallas',
        company: 'Acme',
        vat_id: 'US123',
        default_shipping: true,
        region: TEXAS,
      },
    }),
  },
  deleteCustomerAddress: {
    document: 'mutation deleteCustomerAddress($id: Int!) { deleteCustomerAddress(id: $id) }',
    variables: ({ addresses }) => ({ id: addresses[1] }),
    answers: () => ({ deleteCustomerAddress: true }),
  },
  subscribeEmailToNewsletter: {
    document: `mutation subscribeEmailToNewsletter($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }`,
    variables: ({ email }) => ({ email }),
    answers: () => ({ subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } }),
  },
  'customer, by fragments': {
    document: `query customer { customer { ...CustomerData } } ${FRAGMENTS}`,
    answers: (session) => ({
      customer: {
        ...person(session),
        allow_remote_shopping_assistance: true,
        is_subscribed: true,
        default_billing: String(session.addresses[0]),
        default_shipping: String(session.addresses[0]),
        addresses: { 0: { id: session.addresses[0], city: 'Dallas', region: TEXAS }, length: 1 },
      },
    }),
  },
  revokeCustomerToken: {
    document: 'mutation revokeCustomerToken { revokeCustomerToken { result } }',
    answers: () => ({ revokeCustomerToken: { result: true } }),
    keeps: (session) => {
      session.token = undefined
    },
  },
  requestPasswordResetEmail: {
    document: 'mutation requestPasswordResetEmail($email: String!) { requestPasswordResetEmail(email: $email) }',
    guest: true,
    variables: ({ email }) => ({ email }),
    answers: () => ({ requestPasswordResetEmail: true }),
  },
  resetPassword: {
    document: `mutation resetPassword($email: String!, $newPassword: String!, $resetPasswordToken: String!) {
      resetPassword(email: $email, newPassword: $newPassword, resetPasswordToken: $resetPasswordToken)
    }`,
    guest: true,
    variables: async (session) => {
      session.password = 'Th1rd-pass'
      return {
        email: session.email,
        newPassword: session.password,
        resetPasswordToken: await session.linkToken(),
      }
    },
    answers: () => ({ resetPassword: true }),
  },
  'createCustomer, before V2': {
    document: `mutation createCustomer($input: CustomerInput!) {
      createCustomer(input: $input) { customer { ...CustomerData } }
    } ${FRAGMENTS}`,
    guest: true,
    variables: (session) => ({ input: { ...person(newcomer(session)), password: session.password } }),
    answers: (session) => ({ createCustomer: { customer: { ...customer(session), is_subscribed: false } } }),
  },
  'generateCustomerToken, again': GENERATE_TOKEN,
  'updateCustomer, before V2': {
    document: `mutation updateCustomer($input: CustomerInput!) {
      updateCustomer(input: $input) { customer { ...CustomerData } }
    } ${FRAGMENTS}`,
    variables: () => ({ input: { firstname: 'Janina', lastname: 'Nowak', is_subscribed: true } }),
    answers: (session) => ({
      updateCustomer: {
        customer: { ...customer(session), firstname: 'Janina', lastname: 'Nowak', is_subscribed: true },
      },
    }),
  },
}

function without<T extends object>(object: T, ...keys: (keyof T)[]) {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key as keyof T)))
}
