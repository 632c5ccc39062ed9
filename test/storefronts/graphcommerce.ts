/**
 * Operations of GraphCommerce: sign in and up, account dashboard, the account's forms, address book, newsletter, password
 * forgotten, delete the account. In the order in which one customer could send them.
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

const ATTRIBUTE_VALUE = `fragment AttributeValueFragment on AttributeValueInterface {
  __typename code
  ... on AttributeValue { value }
  ... on AttributeSelectedOptions { selected_options { label value } }
}`

const ADDRESS = `fragment CustomerAddress on CustomerAddress {
  id prefix firstname middlename lastname suffix city company country_code postcode
  region { region region_code region_id } street telephone vat_id default_shipping default_billing
  custom_attributesV2 { ...AttributeValueFragment }
} ${ATTRIBUTE_VALUE}`

const CUSTOMER = `fragment CustomerInfo on Customer {
  default_billing default_shipping addresses { ...CustomerAddress }
  email prefix firstname middlename lastname suffix gender is_subscribed date_of_birth taxvat
} ${ADDRESS}`

const ACCOUNT_ADDRESSES = `fragment AccountAddresses on Customer { addresses { ...AccountAddress } }
fragment AccountAddress on CustomerAddress { ...CustomerAddress default_billing default_shipping id } ${ADDRESS}`

const NEWSLETTER = 'fragment CustomerNewsletterToggle on Customer { is_subscribed email }'

/** The mutation's field stands in a fragment. */
const SIGN_UP_FIELD = `fragment CreateCustomerMutationFragment on Mutation {
  createCustomer(input: {
    email: $email, password: $password, prefix: $prefix, firstname: $firstname, middlename: $middlename, lastname: $lastname,
    suffix: $suffix, taxvat: $taxvat, gender: $gender, is_subscribed: $isSubscribed, date_of_birth: $dateOfBirth
  }) { customer { ...CustomerInfo } }
} ${CUSTOMER}`

const signUp = (name: string) => `mutation ${name}(
  $email: String!, $password: String!, $prefix: String!, $firstname: String!, $middlename: String, $lastname: String!,
  $suffix: String, $taxvat: String, $gender: Int, $isSubscribed: Boolean = false, $dateOfBirth: String
) { ...CreateCustomerMutationFragment } ${SIGN_UP_FIELD}`

/** What the sign-up form holds: fields that were left alone are null. */
const newPerson = (session: Session) => ({
  ...credentials(session),
  prefix: '-',
  firstname: 'Anna',
  middlename: null,
  lastname: 'de Vries',
  suffix: null,
  taxvat: null,
  gender: 2,
  dateOfBirth: '1990-02-28',
})
const NEW_PERSON = {
  addresses: { length: 0 },
  default_billing: null,
  default_shipping: null,
  prefix: '-',
  firstname: 'Anna',
  lastname: 'de Vries',
  gender: 2,
  date_of_birth: '1990-02-28',
}

const UTRECHT = {
  prefix: '-',
  firstname: 'Anna',
  middlename: null,
  lastname: 'de Vries',
  suffix: null,
  company: null,
  country_code: 'NL',
  street: ['Oudegracht', '35'],
  city: 'Utrecht',
  region: {},
  postcode: '3511 AB',
  telephone: '000 - 000 0000',
  vat_id: null,
  default_billing: true,
  default_shipping: false,
}

const subscribed = (field: string, is_subscribed: boolean) => ({ [field]: { customer: { is_subscribed } } })

const guestSubscribes = (name: string): Operation => ({
  document: `mutation ${name}($email: String!) { subscribeEmailToNewsletter(email: $email) { status } }`,
  guest: true,
  variables: () => ({ email: freshEmail() }),
  answers: () => ({ subscribeEmailToNewsletter: { status: 'SUBSCRIBED' } }),
})

const SIGN_IN: Operation = {
  document: `mutation SignIn($email: String!, $password: String!) {
    generateCustomerToken(email: $email, password: $password) { ...CustomerTokenFragment }
  } fragment CustomerTokenFragment on CustomerToken { __typename token }`,
  guest: true,
  variables: credentials,
  answers: () => ({ generateCustomerToken: { __typename: 'CustomerToken', token: TOKEN } }),
  keeps: signedIn,
}

/** Signs a customer up with the form that is drawn from the attributes. */
const createsCustomer = (name: string): Operation => ({
  document: `mutation ${name}($input: CustomerCreateInput!) {
    createCustomerV2(input: $input) { customer { ...CustomerInfo } }
  } ${CUSTOMER}`,
  guest: true,
  variables: (session) => ({
    input: {
      ...credentials(newcomer(session)),
      firstname: 'Anna',
      lastname: 'de Vries',
      date_of_birth: '1990-02-28',
      gender: 2,
      is_subscribed: true,
      custom_attributes: [],
    },
  }),
  answers: ({ email }) => ({
    createCustomerV2: { customer: { ...NEW_PERSON, prefix: null, email, is_subscribed: true } },
  }),
})

export const GRAPHCOMMERCE: Record<string, Operation> = {
  IsEmailAvailable: {
    document: `query IsEmailAvailable($email: String!) { isEmailAvailable(email: $email) { is_email_available } }`,
    guest: true,
    variables: ({ email }) => ({ email }),
    answers: () => ({ isEmailAvailable: { is_email_available: true } }),
  },
  StoreConfig: {
    document: `query StoreConfig { __typename storeConfig { ...StoreConfigFragment } }
      fragment StoreConfigFragment on StoreConfig {
        create_account_confirmation autocomplete_on_storefront minimum_password_length required_character_classes_number
        ...StoreConfig_AddressFields
      }
      fragment StoreConfig_AddressFields on StoreConfig { countries_with_required_region }`,
    guest: true,
    answers: () => ({
      storeConfig: {
        create_account_confirmation: false,
        autocomplete_on_storefront: Boolean,
        minimum_password_length: '8',
        required_character_classes_number: '3',
        countries_with_required_region: /(^|,)US(,|$)/,
      },
    }),
  },
  AttributesForm: {
    document: `query AttributesForm($formCode: String!) {
      attributesForm(formCode: $formCode) {
        errors { message type } items { __typename code ...CustomAttributeMetadata ...CustomerAttributeMetadata }
      }
    }
    fragment CustomAttributeMetadata on CustomAttributeMetadataInterface {
      __typename code default_value frontend_class frontend_input is_required is_unique label options { is_default label value }
    }
    fragment CustomerAttributeMetadata on CustomerAttributeMetadata {
      sort_order input_filter multiline_count validate_rules { name value }
    }`,
    guest: true,
    variables: () => ({ formCode: 'customer_account_create' }),
    answers: () => ({
      attributesForm: {
        errors: [],
        items: [
          { __typename: 'CustomerAttributeMetadata', code: 'firstname', frontend_input: 'TEXT', is_required: true },
          { code: 'lastname', label: 'Last Name', options: [], input_filter: 'TRIM', multiline_count: 1 },
          { code: 'email', validate_rules: [{ name: 'INPUT_VALIDATION', value: 'EMAIL' }] },
        ],
      },
    }),
  },
  SignUp: {
    document: signUp('SignUp'),
    guest: true,
    variables: newPerson,
    answers: ({ email }) => ({ createCustomer: { customer: { ...NEW_PERSON, email, is_subscribed: false } } }),
  },
  SignIn: SIGN_IN,
  UseCustomerValidateToken: {
    document: 'query UseCustomerValidateToken { customer { email } }',
    answers: ({ email }) => ({ customer: { email } }),
  },
  Customer: {
    document: `query Customer { customer { ...CustomerInfo } } ${CUSTOMER}`,
    answers: ({ email }) => ({ customer: { ...NEW_PERSON, email, is_subscribed: false } }),
  },
  CountryRegions: {
    document: `query CountryRegions {
      countries {
        id full_name_locale two_letter_abbreviation three_letter_abbreviation available_regions { code id name }
      }
    }`,
    guest: true,
    answers: () => ({
      countries: [
        { id: String, full_name_locale: String, two_letter_abbreviation: String, three_letter_abbreviation: String },
      ],
    }),
  },
  CreateCustomerAddress: {
    document: `mutation CreateCustomerAddress($input: CustomerAddressInput!, $isCompany: Boolean = false) {
      createCustomerAddress(input: $input) { isCompany: id @include(if: $isCompany) id }
    }`,
    variables: () => ({ input: UTRECHT }),
    answers: () => ({ createCustomerAddress: { id: Number, isCompany: undefined } }),
    keeps: addressAdded,
  },
  'CreateCustomerAddress, field by field': {
    document: `mutation CreateCustomerAddress(
      $prefix: String!, $firstname: String!, $middlename: String, $lastname: String!, $suffix: String, $telephone: String!,
      $street: String!, $houseNumber: String!, $addition: String, $city: String!, $postcode: String!,
      $region: CustomerAddressRegionInput!, $company: String, $countryCode: CountryCodeEnum!, $vatId: String,
      $defaultBilling: Boolean = false, $defaultShipping: Boolean = false
    ) {
      createCustomerAddress(input: {
        prefix: $prefix, firstname: $firstname, middlename: $middlename, lastname: $lastname, telephone: $telephone,
        suffix: $suffix, street: [$street, $houseNumber, $addition], city: $city, postcode: $postcode, region: $region,
        company: $company, country_code: $countryCode, vat_id: $vatId, default_billing: $defaultBilling,
        default_shipping: $defaultShipping
      }) { id }
    }`,
    variables: () => ({
      prefix: '-',
      firstname: 'Anna',
      lastname: 'de Vries',
      telephone: '+1 512 555 0100',
      street: 'Congress Ave',
      houseNumber: '1100',
      city: 'Austin',
      postcode: '78701',
      region: { region: 'Texas', region_code: 'TX', region_id: 57 },
      countryCode: 'US',
    }),
    answers: () => ({ createCustomerAddress: { id: Number } }),
    keeps: addressAdded,
  },
  AccountDashboardAddresses: {
    document: `query AccountDashboardAddresses { customer { ...AccountAddresses } } ${ACCOUNT_ADDRESSES}`,
    answers: ({ addresses }) => ({
      customer: {
        addresses: [
          {
            ...UTRECHT,
            id: addresses[0],
            region: { region: null, region_code: null, region_id: null },
            custom_attributesV2: [],
          },
          {
            id: addresses[1],
            street: ['Congress Ave', '1100'],
            country_code: 'US',
            region: { region: 'Texas', region_code: 'TX', region_id: 57 },
            default_billing: false,
            default_shipping: false,
          },
        ],
      },
    }),
  },
  UpdateCustomerAddress: {
    document: `mutation UpdateCustomerAddress(
      $id: Int!, $prefix: String, $firstname: String, $middlename: String, $lastname: String, $suffix: String,
      $telephone: String, $street: String!, $houseNumber: String!, $addition: String, $city: String, $postcode: String,
      $region: CustomerAddressRegionInput, $company: String, $countryCode: CountryCodeEnum, $vatId: String,
      $defaultBilling: Boolean, $defaultShipping: Boolean, $isCompany: Boolean = false
    ) {
      updateCustomerAddress(id: $id, input: {
        prefix: $prefix, firstname: $firstname, middlename: $middlename, lastname: $lastname, telephone: $telephone,
        suffix: $suffix, street: [$street, $houseNumber, $addition], city: $city, postcode: $postcode, region: $region,
        company: $company, country_code: $countryCode, vat_id: $vatId, default_billing: $defaultBilling,
        default_shipping: $defaultShipping
      }) { isCompany: id @include(if: $isCompany) id ...CustomerAddress }
    } ${ADDRESS}`,
    // The form says null for a region that is in no list, and nothing of what it has no field for.
    variables: ({ addresses }) => ({
      id: addresses[0],
      firstname: 'Anna',
      lastname: 'de Vries',
      street: 'Oudegracht',
      houseNumber: '37',
      addition: null,
      city: 'Utrecht',
      postcode: '3511 AB',
      region: null,
      countryCode: 'NL',
      telephone: '030 000 0000',
      isCompany: true,
    }),
    answers: ({ addresses }) => ({
      updateCustomerAddress: {
        isCompany: addresses[0],
        id: addresses[0],
        prefix: '-',
        street: ['Oudegracht', '37'],
        telephone: '030 000 0000',
        country_code: 'NL',
        default_billing: true,
        default_shipping: false,
        custom_attributesV2: [],
      },
    }),
  },
  UpdateDefaultAddress: {
    document: `mutation UpdateDefaultAddress($addressId: Int!, $defaultBilling: Boolean!, $defaultShipping: Boolean!) {
      updateCustomerAddress(id: $addressId, input: { default_billing: $defaultBilling, default_shipping: $defaultShipping }) {
        id default_billing default_shipping
      }
    }`,
    variables: ({ addresses }) => ({ addressId: addresses[0], defaultBilling: false, defaultShipping: true }),
    answers: ({ addresses }) => ({
      updateCustomerAddress: { id: addresses[0], default_billing: false, default_shipping: true },
    }),
  },
  DeleteCustomerAddressForm: {
    document: 'mutation DeleteCustomerAddressForm($id: Int!) { deleteCustomerAddress(id: $id) }',
    variables: ({ addresses }) => ({ id: addresses[1] }),
    answers: () => ({ deleteCustomerAddress: true }),
  },
  AccountDashboard: {
    document: `query AccountDashboard { ...AccountDashboardQueryFragment }
      fragment AccountDashboardQueryFragment on Query {
        customer { ...AccountDashboardCustomer firstname lastname ...AccountAddresses }
      }
      fragment AccountDashboardCustomer on Customer { email ...CustomerNewsletterToggle }
      ${NEWSLETTER} ${ACCOUNT_ADDRESSES}`,
    answers: ({ email, addresses }) => ({
      customer: {
        email,
        firstname: 'Anna',
        lastname: 'de Vries',
        is_subscribed: false,
        addresses: { 0: { id: addresses[0], default_shipping: true }, length: 1 },
      },
    }),
  },
  UpdateCustomerName: {
    document: `mutation UpdateCustomerName($prefix: String, $firstname: String!, $lastname: String!) {
      updateCustomer(input: { prefix: $prefix, firstname: $firstname, lastname: $lastname }) {
        customer { prefix firstname lastname }
      }
    }`,
    variables: () => ({ prefix: null, firstname: 'Anneke', lastname: 'Bakker' }),
    answers: () => ({ updateCustomer: { customer: { firstname: 'Anneke', lastname: 'Bakker' } } }),
  },
  UseCustomerUpdateForm: {
    document: `mutation UseCustomerUpdateForm($input: CustomerUpdateInput!) {
      updateCustomerV2(input: $input) { customer { ...CustomerInfo } }
    } ${CUSTOMER}`,
    variables: () => ({
      input: {
        firstname: 'Anna',
        lastname: 'Bakker',
        date_of_birth: '1991-03-01',
        gender: 3,
        taxvat: '',
        custom_attributes: [],
      },
    }),
    answers: ({ email }) => ({
      updateCustomerV2: {
        customer: {
          email,
          firstname: 'Anna',
          lastname: 'Bakker',
          date_of_birth: '1991-03-01',
          gender: 3,
          is_subscribed: false,
        },
      },
    }),
  },
  UpdateCustomerEmail: {
    document: `mutation UpdateCustomerEmail($email: String!, $password: String!) {
      updateCustomerEmail(email: $email, password: $password) { customer { email } }
    }`,
    variables: (session) => {
      session.email = freshEmail()
      return credentials(session)
    },
    answers: ({ email }) => ({ updateCustomerEmail: { customer: { email } } }),
  },
  ChangePassword: {
    document: `mutation ChangePassword($currentPassword: String!, $newPassword: String!) {
      changeCustomerPassword(currentPassword: $currentPassword, newPassword: $newPassword) { __typename }
    }`,
    variables: ({ password }) => ({ currentPassword: password, newPassword: NEW_PASSWORD }),
    answers: () => ({ changeCustomerPassword: { __typename: 'Customer' } }),
    keeps: (session) => {
      session.password = NEW_PASSWORD
    },
  },
  CustomerNewsletterForm: {
    document: `mutation CustomerNewsletterForm($isSubscribed: Boolean!) {
      updateCustomer(input: { is_subscribed: $isSubscribed }) { customer { is_subscribed } }
    }`,
    variables: () => ({ isSubscribed: true }),
    answers: () => subscribed('updateCustomer', true),
  },
  UpdateNewsletterSubscription: {
    document: `mutation UpdateNewsletterSubscription($isSubscribed: Boolean!) {
      updateCustomerV2(input: { is_subscribed: $isSubscribed }) { customer { ...CustomerNewsletterToggle } }
    } ${NEWSLETTER}`,
    variables: () => ({ isSubscribed: false }),
    answers: () => subscribed('updateCustomerV2', false),
  },
  SubscribeCustomer: {
    document:
      'mutation SubscribeCustomer { updateCustomer(input: { is_subscribed: true }) { customer { is_subscribed } } }',
    answers: () => subscribed('updateCustomer', true),
  },
  GetCustomerNewsletterToggle: {
    document: `query GetCustomerNewsletterToggle { customer { ...CustomerNewsletterToggle } } ${NEWSLETTER}`,
    answers: ({ email }) => ({ customer: { email, is_subscribed: true } }),
  },
  SubscribeGuest: guestSubscribes('SubscribeGuest'),
  GuestNewsletterToggle: guestSubscribes('GuestNewsletterToggle'),
  SignOutForm: {
    document: 'mutation SignOutForm { revokeCustomerToken { result } }',
    answers: () => ({ revokeCustomerToken: { result: true } }),
    keeps: (session) => {
      session.token = undefined
    },
  },
  ForgotPassword: {
    document: 'mutation ForgotPassword($email: String!) { requestPasswordResetEmail(email: $email) }',
    guest: true,
    variables: ({ email }) => ({ email }),
    answers: () => ({ requestPasswordResetEmail: true }),
  },
  ResetPassword: {
    document: `mutation ResetPassword($email: String!, $resetPasswordToken: String!, $newPassword: String!) {
      resetPassword(email: $email, resetPasswordToken: $resetPasswordToken, newPassword: $newPassword)
    }`,
    guest: true,
    variables: async (session) => {
      session.password = 'Th1rd-pass'
      return {
        email: session.email,
        resetPasswordToken: await session.linkToken(),
        newPassword: session.password,
      }
    },
    answers: () => ({ resetPassword: true }),
  },
  CreateCustomerV2: createsCustomer('CreateCustomerV2'),
  UseCustomerCreateForm: createsCustomer('UseCustomerCreateForm'),
  'SignIn, to delete the account': SIGN_IN,
  DeleteCustomer: {
    document: 'mutation DeleteCustomer { deleteCustomer }',
    answers: () => ({ deleteCustomer: true }),
    keeps: (session) => {
      session.token = undefined
    },
  },
}

/** Sign-up in a store where accounts have to be confirmed. */
export const CONFIRMATION: Record<string, Operation> = {
  SignUpConfirm: {
    document: signUp('SignUpConfirm'),
    guest: true,
    variables: newPerson,
    answers: ({ email }) => ({ createCustomer: { customer: { ...NEW_PERSON, email } } }),
  },
  ConfirmCustomer: {
    document: `mutation ConfirmCustomer($key: String!, $email: String!) {
      confirmEmail(input: { confirmation_key: $key, email: $email }) { customer { email } }
    }`,
    guest: true,
    variables: async ({ email, linkToken }) => ({ email, key: await linkToken() }),
    answers: ({ email }) => ({ confirmEmail: { customer: { email } } }),
  },
  SignIn: SIGN_IN,
}
