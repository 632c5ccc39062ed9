/**
 * Operations of Venia (PWA Studio): sign in, create account, account information, communications, address book, password
 * forgotten, and the address form and account form of its checkout. In the order in which one customer could send them.
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

const person = ({ email }: Session) => ({ email, firstname: 'Veronica', lastname: 'Costello' })

const INFORMATION = `fragment AccountInformationPageFragment on Customer { id firstname lastname email }`

const BOOK_ENTRY = `fragment CustomerAddressBookAddressFragment on CustomerAddress {
  __typename id city country_code default_billing default_shipping firstname lastname middlename postcode
  region { region region_code region_id } street telephone
}`

const CHECKOUT_ENTRY = `fragment CustomerAddressFragment on CustomerAddress {
  id city country_code default_shipping firstname lastname postcode
  region { region region_code region_id } street telephone
}`

/** The form's values: of the region only the id, from the list. */
const home = {
  firstname: 'Veronica',
  middlename: '',
  lastname: 'Costello',
  country_code: 'US',
  street: ['6146 Honey Bluff Parkway', ''],
  city: 'Calder',
  region: { region_id: 33 },
  postcode: '49628-7978',
  telephone: '(555) 229-3326',
  default_shipping: true,
}
const MICHIGAN = { region: 'Michigan', region_code: 'MI', region_id: 33 }

/** A country without a list of regions: the region is what was typed. */
const abroad = {
  firstname: 'Veronica',
  middlename: 'Ann',
  lastname: 'Costello',
  country_code: 'GB',
  street: ['2 High Street'],
  city: 'Oxford',
  region: { region: 'Oxfordshire' },
  postcode: 'OX1 1AA',
  telephone: '01865 000000',
  default_shipping: false,
}

const createAccount = (name: string) => `mutation ${name}(
  $email: String!, $firstname: String!, $lastname: String!, $password: String!, $is_subscribed: Boolean!
) {
  createCustomer(input: {
    email: $email, firstname: $firstname, lastname: $lastname, password: $password, is_subscribed: $is_subscribed
  }) { customer { id } }
}`
const afterwards = (name: string) => `query ${name} { customer { id email firstname lastname is_subscribed } }`
const signIn = (name: string) => `mutation ${name}($email: String!, $password: String!) {
  generateCustomerToken(email: $email, password: $password) { token }
}`
const signOut = (name: string): Operation => ({
  document: `mutation ${name} { revokeCustomerToken { result } }`,
  answers: () => ({ revokeCustomerToken: { result: true } }),
  keeps: (session) => {
    session.token = undefined
  },
})

const signsIn = (name: string): Operation => ({
  document: signIn(name),
  guest: true,
  variables: credentials,
  answers: () => ({ generateCustomerToken: { token: TOKEN } }),
  keeps: signedIn,
})

const created = { createCustomer: { customer: { id: Number } } }

export const VENIA: Record<string, Operation> = {
  CreateAccount: {
    document: createAccount('CreateAccount'),
    guest: true,
    variables: (session) => ({ ...person(session), password: session.password, is_subscribed: true }),
    answers: () => created,
  },
  SignInAfterCreate: signsIn('SignInAfterCreate'),
  GetCustomerAfterCreate: {
    document: afterwards('GetCustomerAfterCreate'),
    answers: (session) => ({ customer: { id: Number, ...person(session), is_subscribed: true } }),
  },
  SignIn: signsIn('SignIn'),
  GetCustomerAfterSignIn: {
    document: afterwards('GetCustomerAfterSignIn'),
    answers: (session) => ({ customer: { id: Number, ...person(session), is_subscribed: true } }),
  },
  accountChipQuery: {
    document: 'query accountChipQuery { customer { id firstname } }',
    answers: () => ({ customer: { id: Number, firstname: 'Veronica' } }),
  },
  GetCustomerInformation: {
    document: `query GetCustomerInformation { customer { id ...AccountInformationPageFragment } } ${INFORMATION}`,
    answers: (session) => ({ customer: { id: Number, ...person(session) } }),
  },
  SetCustomerInformation: {
    document: `mutation SetCustomerInformation($customerInput: CustomerInput!) {
      updateCustomer(input: $customerInput) { customer { id ...AccountInformationPageFragment } }
    } ${INFORMATION}`,
    // The form sends the address and the password also where only the name was changed; here the address is, too.
    variables: (session) => {
      session.email = freshEmail()
      return { customerInput: { ...person(session), lastname: 'Rossi', password: session.password } }
    },
    answers: (session) => ({ updateCustomer: { customer: { id: Number, ...person(session), lastname: 'Rossi' } } }),
  },
  ChangeCustomerPassword: {
    document: `mutation ChangeCustomerPassword($currentPassword: String!, $newPassword: String!) {
      changeCustomerPassword(currentPassword: $currentPassword, newPassword: $newPassword) { id email }
    }`,
    variables: ({ password }) => ({ currentPassword: password, newPassword: NEW_PASSWORD }),
    answers: ({ email }) => ({ changeCustomerPassword: { id: Number, email } }),
    keeps: (session) => {
      session.password = NEW_PASSWORD
    },
  },
  GetCustomerSubscription: {
    document: 'query GetCustomerSubscription { customer { id is_subscribed } }',
    answers: () => ({ customer: { id: Number, is_subscribed: true } }),
  },
  SetNewsletterSubscription: {
    document: `mutation SetNewsletterSubscription($isSubscribed: Boolean!) {
      updateCustomer(input: { is_subscribed: $isSubscribed }) { customer { id is_subscribed } }
    }`,
    variables: () => ({ isSubscribed: false }),
    answers: () => ({ updateCustomer: { customer: { id: Number, is_subscribed: false } } }),
  },
  GetCustomerForCommunications: {
    document: `query GetCustomer { customer { id email firstname lastname is_subscribed } }`,
    answers: ({ email }) => ({ customer: { id: Number, email, is_subscribed: false } }),
  },
  GetCountries: {
    document: 'query GetCountries { countries { id full_name_english two_letter_abbreviation } }',
    guest: true,
    answers: () => ({
      countries: [{ id: /^[A-Z]{2}$/, full_name_english: String, two_letter_abbreviation: /^[A-Z]{2}$/ }],
    }),
  },
  GetRegions: {
    document: `query GetRegions($countryCode: String!) {
      country(id: $countryCode) { id available_regions { key: id id: code name } }
    }`,
    guest: true,
    variables: () => ({ countryCode: 'US' }),
    answers: () => ({ country: { id: 'US', available_regions: [{ key: 1, id: 'AL', name: 'Alabama' }] } }),
  },
  AddNewCustomerAddressToAddressBook: {
    document: `mutation AddNewCustomerAddressToAddressBook($address: CustomerAddressInput!) {
      createCustomerAddress(input: $address) { id }
    }`,
    variables: () => ({ address: home }),
    answers: () => ({ createCustomerAddress: { id: Number } }),
    keeps: addressAdded,
  },
  'AddNewCustomerAddressToAddressBook, with its values': {
    document: `mutation AddNewCustomerAddressToAddressBook($address: CustomerAddressInput!) {
      createCustomerAddress(input: $address) {
        id city country_code firstname lastname postcode region { region region_code region_id } street telephone
      }
    }`,
    variables: () => ({ address: abroad }),
    answers: () => ({
      createCustomerAddress: {
        id: Number,
        city: 'Oxford',
        country_code: 'GB',
        firstname: 'Veronica',
        lastname: 'Costello',
        postcode: 'OX1 1AA',
        region: { region: 'Oxfordshire', region_id: null },
        street: ['2 High Street'],
        telephone: '01865 000000',
      },
    }),
    keeps: addressAdded,
  },
  GetCustomerAddressesForAddressBook: {
    document: `query GetCustomerAddressesForAddressBook {
      customer { id addresses { id ...CustomerAddressBookAddressFragment } }
      countries { id full_name_locale }
    } ${BOOK_ENTRY}`,
    answers: ({ addresses }) => ({
      customer: {
        id: Number,
        addresses: [
          {
            id: addresses[0],
            city: 'Calder',
            country_code: 'US',
            default_billing: false,
            default_shipping: true,
            region: MICHIGAN,
          },
          {
            id: addresses[1],
            city: 'Oxford',
            middlename: 'Ann',
            default_shipping: false,
            region: { region: 'Oxfordshire' },
          },
        ],
      },
      countries: [{ id: String, full_name_locale: String }],
    }),
  },
  UpdateCustomerAddressInAddressBook: {
    document: `mutation UpdateCustomerAddressInAddressBook($addressId: Int!, $updated_address: CustomerAddressInput!) {
      updateCustomerAddress(id: $addressId, input: $updated_address) { id ...CustomerAddressBookAddressFragment }
    } ${BOOK_ENTRY}`,
    // The form holds what was read before, with the members of the region that are not edited.
    variables: ({ addresses }) => ({
      addressId: addresses[0],
      updated_address: { ...home, middlename: null, street: ['1 Main St'], region: MICHIGAN },
    }),
    answers: ({ addresses }) => ({
      updateCustomerAddress: {
        id: addresses[0],
        city: 'Calder',
        country_code: 'US',
        default_billing: false,
        default_shipping: true,
        firstname: 'Veronica',
        lastname: 'Costello',
        postcode: '49628-7978',
        region: MICHIGAN,
        street: ['1 Main St'],
        telephone: '(555) 229-3326',
      },
    }),
  },
  'UpdateCustomerAddressInAddressBook, the id alone': {
    document: `mutation UpdateCustomerAddressInAddressBook($addressId: Int!, $updated_address: CustomerAddressInput!) {
      updateCustomerAddress(id: $addressId, input: $updated_address) { id }
    }`,
    variables: ({ addresses }) => ({
      addressId: addresses[1],
      updated_address: { ...abroad, region: { region: 'Oxon', region_code: null, region_id: null } },
    }),
    answers: ({ addresses }) => ({ updateCustomerAddress: { id: addresses[1] } }),
  },
  DeleteCustomerAddressFromAddressBook: {
    document: `mutation DeleteCustomerAddressFromAddressBook($addressId: Int!) { deleteCustomerAddress(id: $addressId) }`,
    variables: ({ addresses }) => ({ addressId: addresses[1] }),
    answers: () => ({ deleteCustomerAddress: true }),
  },
  GetStoreConfigForNewsletter: {
    document: 'query GetStoreConfigForNewsletter { storeConfig { id newsletter_enabled } }',
    guest: true,
    answers: () => ({ storeConfig: { newsletter_enabled: true } }),
  },
  SubscribeToNewsletter: {
    document: `mutation SubscribeToNewsletter($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }`,
    guest: true,
    variables: () => ({ email: freshEmail() }),
    answers: () => ({ subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } }),
  },
  SignOutFromMenu: signOut('SignOutFromMenu'),
  requestPasswordResetEmail: {
    document: `mutation requestPasswordResetEmail($email: String!) { requestPasswordResetEmail(email: $email) }`,
    guest: true,
    variables: ({ email }) => ({ email }),
    answers: () => ({ requestPasswordResetEmail: true }),
  },
  resetPassword: {
    document: `mutation resetPassword($email: String!, $token: String!, $newPassword: String!) {
      resetPassword(email: $email, resetPasswordToken: $token, newPassword: $newPassword)
    }`,
    guest: true,
    variables: async (session) => {
      session.password = 'Th1rd-pass'
      return { email: session.email, token: await session.linkToken(), newPassword: session.password }
    },
    answers: () => ({ resetPassword: true }),
  },
  checkEmail: {
    document: `query checkEmail($email: String!) { isEmailAvailable(email: $email) { is_email_available } }`,
    guest: true,
    variables: (session) => ({ email: newcomer(session).email }),
    answers: () => ({ isEmailAvailable: { is_email_available: true } }),
  },
  CreateAccountAfterCheckout: {
    document: createAccount('CreateAccountAfterCheckout'),
    guest: true,
    variables: (session) => ({ ...person(session), password: session.password, is_subscribed: false }),
    answers: () => created,
  },
  SignInAfterCheckout: signsIn('SignInAfterCheckout'),
  GetCustomerAfterCheckout: {
    document: afterwards('GetCustomerAfterCheckout'),
    answers: (session) => ({ customer: { id: Number, ...person(session), is_subscribed: false } }),
  },
  GetCustomer: {
    document: 'query GetCustomer { customer { id default_shipping email firstname lastname } }',
    answers: (session) => ({ customer: { id: Number, default_shipping: null, ...person(session) } }),
  },
  CreateCustomerAddress: {
    document: `mutation CreateCustomerAddress($address: CustomerAddressInput!) {
      createCustomerAddress(input: $address) { id ...CustomerAddressFragment }
    } ${CHECKOUT_ENTRY}`,
    variables: () => ({ address: home }),
    answers: () => ({
      createCustomerAddress: {
        id: Number,
        city: 'Calder',
        country_code: 'US',
        default_shipping: true,
        region: MICHIGAN,
      },
    }),
    keeps: addressAdded,
  },
  UpdateCustomerAddress: {
    document: `mutation UpdateCustomerAddress($addressId: Int!, $address: CustomerAddressInput!) {
      updateCustomerAddress(id: $addressId, input: $address) { id }
    }`,
    variables: ({ addresses }) => ({ addressId: addresses[0], address: { ...home, city: 'Kalkaska' } }),
    answers: ({ addresses }) => ({ updateCustomerAddress: { id: addresses[0] } }),
  },
  GetCustomerAddresses: {
    document: `query GetCustomerAddresses { customer { addresses { id ...CustomerAddressFragment } } } ${CHECKOUT_ENTRY}`,
    answers: ({ addresses }) => ({
      customer: { addresses: [{ id: addresses[0], city: 'Kalkaska', default_shipping: true, region: MICHIGAN }] },
    }),
  },
  GetDefaultShipping: {
    document: 'query GetDefaultShipping { customer { id default_shipping } }',
    answers: ({ addresses }) => ({ customer: { id: Number, default_shipping: String(addresses[0]) } }),
  },
  userSubscription: {
    document: `mutation userSubscription($is_subscribed: Boolean!) {
      updateCustomer(input: { is_subscribed: $is_subscribed }) { customer { id is_subscribed } }
    }`,
    variables: () => ({ is_subscribed: true }),
    answers: () => ({ updateCustomer: { customer: { id: Number, is_subscribed: true } } }),
  },
  getAllCountries: {
    document: 'query getAllCountries { countries { available_regions { code id name } id } }',
    answers: () => ({ countries: [{ id: String }] }),
  },
  SignOutFromModal: signOut('SignOutFromModal'),
}
