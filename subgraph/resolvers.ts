/** The GraphQL side: who calls, what is asked, and documents in the schema's shape. */
import type { GraphQLResolveInfo } from 'graphql'
import type { EventStore } from '../eventstore/port.ts'
import type { CustomerAddress, CustomerDocument } from '../projections/customer.ts'
import { COUNTRIES, type Country } from '../schema/countries.ts'
import { type CustomAttributes, isErased } from '../schema/events.ts'
import { regionsOf } from '../schema/regions.ts'
import { type CustomAttribute, type Store, viewOf } from '../schema/store.ts'
import { createAssistance, type Page } from './assistance.ts'
import { type AttributeReference, createAttributeForms } from './attribute-forms.ts'
import { createAuditQueries } from './audit-queries.ts'
import type { Captcha } from './captcha.ts'
import { type Client, type Command, type CommandIds, createCommand } from './command.ts'
import { authorize, type Commands } from './customer-commands.ts'
import type { Customers } from './customers.ts'
import type { AddressInput } from './domain/address.ts'
import { BY_UID, type CustomerInput, checkUsable } from './domain/customer.ts'
import { isValidEmail } from './domain/email.ts'
import type { EmailClaims } from './email-claims.ts'
import { forbidden, invalidInput, notAuthorized, notFound } from './errors.ts'
import { requireScope } from './identity/scopes.ts'
import type { Caller, ServiceCaller, Tokens } from './identity/tokens.ts'
import type { LinkCommands } from './link-commands.ts'

/** What a resolver knows of the request. */
export interface RequestContext {
  /** From the token; `authorize` compares its generation with the customer's. */
  readonly caller: Caller | null
  /** Where a service calls instead. */
  readonly service: ServiceCaller | null
  readonly client: Client
  readonly correlationId: string
  readonly traceparent: string | undefined
  readonly idempotencyKey: string | undefined
  /** The token of a solved CAPTCHA. */
  readonly captcha: string | undefined
  /** Whether nobody waits for the answer any more. */
  readonly isGone: () => boolean
  /** The store view that the client asks for. */
  readonly view: Store['view']
  /** Where the answer goes, once it is under way. */
  readonly reply?: { header(name: string, value: string): unknown }
  /** The caller's document, where it has been read. */
  readonly document?: Promise<CustomerDocument>
  /** The signed-in customer, read once for all fields of a request. */
  customer?: Promise<CustomerDocument>
}

interface Parts {
  readonly eventStore: EventStore
  readonly commands: Commands
  readonly links: LinkCommands
  readonly customers: Customers
  readonly claims: EmailClaims
  readonly tokens: Tokens
  readonly commandIds: CommandIds
  readonly store: Store
  readonly captcha: Captcha
  /** The time; tests set it. */
  readonly now: () => Date
}

export function createResolvers(parts: Parts) {
  const { eventStore, commands, links, customers, claims, tokens, commandIds, store, captcha, now } = parts
  const { toCustomer, toAddress } = createViews(store)
  const countries = [...COUNTRIES.values()]
    .filter(({ id }) => store.countries.allowed === 'all' || store.countries.allowed.includes(id))
    .map(toCountry)
  const groups = store.groups.map(({ id, name }) => ({ uid: toUid(id), name }))
  const storeConfig = toStoreConfig(store)
  const attributes = createAttributeForms(store)
  const assistance = createAssistance(eventStore)

  function command(args: unknown, context: RequestContext, info: GraphQLResolveInfo): Command {
    return createCommand({
      // The name in the answer too: one request may hold the same mutation twice.
      operation: `${info.fieldName}:${info.path.key}`,
      arguments: args,
      actor: actorOf(context),
      correlationId: context.correlationId,
      traceparent: context.traceparent,
      idempotency: context.idempotencyKey === undefined ? undefined : { key: context.idempotencyKey, ids: commandIds },
      at: now(),
      client: context.client,
    })
  }

  /** The caller's own document, for queries. */
  function signedIn(context: RequestContext): Promise<CustomerDocument> {
    const { caller } = context
    if (caller === null) throw notAuthorized()
    const read = () => context.document ?? customers.get(caller.customerId, context.traceparent)
    context.customer ??= read().then((document) => authorize(caller, document))
    return context.customer
  }

  async function create(_: unknown, args: { input: CustomerInput }, context: RequestContext, info: GraphQLResolveInfo) {
    return { customer: toCustomer(await commands.createCustomer(args.input, command(args, context, info))) }
  }

  async function updateCustomer(
    _: unknown,
    args: { input: CustomerInput },
    context: RequestContext,
    info: GraphQLResolveInfo,
  ) {
    const updated = await commands.updateCustomer(context.caller, args.input, command(args, context, info))
    // As Magento: the answer to the change repeats the date as it was typed, later reads give YYYY-MM-DD.
    const typed = args.input.date_of_birth ?? args.input.dob
    return { customer: { ...toCustomer(updated), ...(typed && { dob: typed, date_of_birth: typed }) } }
  }

  return {
    Query: {
      async customer(_: unknown, _args: unknown, context: RequestContext) {
        const document = await signedIn(context)
        checkUsable(document, now(), store)
        return toCustomer(document)
      },

      async customerGroup(_: unknown, _args: unknown, context: RequestContext) {
        if (!store.account.shareGroup) throw notShared()
        return { uid: toUid(context.caller === null ? GUESTS : (await signedIn(context)).groupId) }
      },

      async allCustomerGroups() {
        if (!store.account.shareAllGroups) throw notShared()
        return groups
      },

      async isEmailAvailable(_: unknown, { email }: { email: string }) {
        if (email.trim() === '') throw invalidInput('Email must be specified')
        if (!isValidEmail(email)) throw invalidInput('Email is invalid')
        return { is_email_available: !store.account.revealEmailAvailability || !(await claims.find(email)) }
      },

      countries: () => countries,

      country(_: unknown, { id }: { id?: string | null }) {
        if (!id) throw invalidInput('Country "id" value should be specified')
        const country = countries.find((each) => each.id === id)
        if (country === undefined) throw notFound("The country isn't available.")
        return country
      },

      storeConfig: (_: unknown, _args: unknown, { view }: RequestContext) => ({ ...storeConfig, ...toView(view) }),

      attributesForm: (_: unknown, { formCode }: { formCode: string }) => attributes.form(formCode),

      recaptchaV3Config: () => captcha.v3Config,

      recaptchaFormConfig: (_: unknown, { formType }: { formType: string }) => captcha.formConfig(formType),

      attributesList: (_: unknown, { entityType, filters }: { entityType: string; filters?: object | null }) =>
        attributes.list(entityType, filters),

      customAttributeMetadataV2: (_: unknown, args: { attributes?: readonly AttributeReference[] | null }) =>
        attributes.named(args.attributes),

      ...createAuditQueries(eventStore, toCustomer),
    },

    Mutation: {
      createCustomer: create,
      createCustomerV2: create,
      updateCustomer,
      updateCustomerV2: updateCustomer,

      async updateCustomerEmail(
        _: unknown,
        args: { email: string; password: string },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        return {
          customer: toCustomer(await commands.updateCustomer(context.caller, args, command(args, context, info))),
        }
      },

      async deleteCustomer(_: unknown, args: unknown, context: RequestContext, info: GraphQLResolveInfo) {
        await commands.deleteCustomer(context.caller, command(args, context, info))
        return true
      },

      async requestPasswordResetEmail(
        _: unknown,
        args: { email: string },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        await links.requestPasswordReset(args.email, command(args, context, info))
        return true
      },

      async resetPassword(
        _: unknown,
        args: { email: string; resetPasswordToken: string; newPassword: string },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        await links.resetPassword(args, command(args, context, info))
        return true
      },

      async confirmEmail(
        _: unknown,
        args: { input: { email: string; confirmation_key: string } },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        const { email, confirmation_key } = args.input
        return { customer: toCustomer(await links.confirmEmail(email, confirmation_key, command(args, context, info))) }
      },

      async resendConfirmationEmail(
        _: unknown,
        args: { email: string },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        await links.resendConfirmation(args.email, command(args, context, info))
        return true
      },

      async subscribeEmailToNewsletter(
        _: unknown,
        args: { email: string },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        return { status: await links.subscribe(context.caller, args.email, command(args, context, info)) }
      },

      async confirmNewsletterSubscription(
        _: unknown,
        args: { email: string; confirmation_key: string },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        const { email, confirmation_key } = args
        return { status: await links.confirmSubscription(email, confirmation_key, command(args, context, info)) }
      },

      async changeCustomerPassword(
        _: unknown,
        args: { currentPassword: string; newPassword: string },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        return toCustomer(await commands.changePassword(context.caller, args, command(args, context, info)))
      },

      async generateCustomerToken(
        _: unknown,
        args: { email: string; password: string },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        const { email, password } = args
        const customer = await commands.signIn(email, password, command(args, context, info))
        const { id: customerId, tokenGeneration: generation, createdAt } = customer
        return { token: tokens.issue({ customerId, generation, registeredAt: Date.parse(createdAt) }) }
      },

      async revokeCustomerToken(_: unknown, args: unknown, context: RequestContext, info: GraphQLResolveInfo) {
        await commands.revokeTokens(context.caller, command(args, context, info))
        return { result: true }
      },

      async createCustomerAddress(
        _: unknown,
        args: { input: AddressInput },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        const { customer, address } = await commands.createAddress(
          context.caller,
          args.input,
          command(args, context, info),
        )
        return toAddress(customer, address)
      },

      async updateCustomerAddress(
        _: unknown,
        args: { id: number; input?: AddressInput | null },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        const { customer, address } = await commands.updateAddress(
          context.caller,
          args.id,
          args.input,
          command(args, context, info),
        )
        return toAddress(customer, address)
      },

      async updateCustomerAddressV2(
        _: unknown,
        args: { uid: string; input?: AddressInput | null },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        if (context.caller === null) throw notAuthorized()
        const { customer, address } = await commands.updateAddress(
          context.caller,
          addressIdOf(args.uid),
          args.input,
          command(args, context, info),
          BY_UID,
        )
        return toAddress(customer, address)
      },

      async deleteCustomerAddressV2(
        _: unknown,
        args: { uid: string },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        if (context.caller === null) throw notAuthorized()
        const addressId = addressIdOf(args.uid)
        await commands.deleteAddress(context.caller, addressId, command(args, context, info), BY_UID)
        return true
      },

      async deleteCustomerAddress(_: unknown, args: { id: number }, context: RequestContext, info: GraphQLResolveInfo) {
        await commands.deleteAddress(context.caller, args.id, command(args, context, info))
        return true
      },
    },

    Customer: {
      /** Another subgraph may name any customer: the fields are for that customer, and for services that may read all. */
      async __resolveReference(reference: { id: number }, context: RequestContext) {
        if (context.service) {
          requireScope(context, 'customers:read')
          const named = await customers.get(Number(reference.id), context.traceparent)
          return named.status === 'registered' ? toCustomer(named) : null
        }
        const document = await signedIn(context)
        if (document.id !== Number(reference.id)) throw forbidden("The current customer isn't authorized.")
        checkUsable(document, now(), store)
        return toCustomer(document)
      },

      addressesV2(
        { addresses }: { addresses: readonly object[] },
        { currentPage, pageSize }: { currentPage: number; pageSize: number },
      ) {
        if (pageSize < 1) throw invalidInput('pageSize value must be greater than 0.')
        if (currentPage < 1) throw invalidInput('currentPage value must be greater than 0.')
        return {
          items: addresses.slice((currentPage - 1) * pageSize, currentPage * pageSize),
          page_info: {
            current_page: currentPage,
            page_size: pageSize,
            total_pages: Math.ceil(addresses.length / pageSize),
          },
          total_count: addresses.length,
        }
      },

      /** The customer's own; for services it is the same as the account's history. */
      admin_assistance_actions({ id }: { id: number }, page: Page, context: RequestContext) {
        if (context.service) requireScope(context, 'customers:audit')
        return assistance(id, page)
      },

      custom_attributes: (
        { custom_attributes }: { custom_attributes: readonly AttributeView[] },
        { attributeCodes }: AttributeCodes,
      ) => chosen(custom_attributes, attributeCodes),
    },

    CustomerAddress: {
      async __resolveReference(reference: { id: number }, context: RequestContext) {
        const document = await signedIn(context)
        const address = document.addresses.find(({ id }) => id === Number(reference.id))
        // Whether it is somebody else's or nobody's is not told here.
        if (address === undefined) throw forbidden("The current customer isn't authorized.")
        return toAddress(document, address)
      },

      uid: ({ id }: { id: number }) => toUid(id),

      custom_attributes: ({ custom_attributesV2 }: { custom_attributesV2: readonly AttributeView[] }) =>
        custom_attributesV2.map((attribute) => ({
          attribute_code: attribute.code,
          value:
            'value' in attribute ? attribute.value : attribute.selected_options.map(({ value }) => value).join(','),
        })),

      custom_attributesV2: (
        { custom_attributesV2 }: { custom_attributesV2: readonly AttributeView[] },
        { attributeCodes }: AttributeCodes,
      ) => chosen(custom_attributesV2, attributeCodes),
    },

    CustomerGroupStorefront: {
      /** Other subgraphs know a group by its uid alone. */
      __resolveReference: ({ uid }: { uid: string }) => ({ uid }),
      name: ({ uid }: { uid: string }) =>
        store.account.shareAllGroups ? (groups.find((group) => group.uid === uid)?.name ?? null) : null,
    },

    StoreConfig: {
      /** The settings of accounts hold for all store views, also for those that only other subgraphs know. */
      __resolveReference: ({ store_code }: { store_code: string }) => {
        const view = viewOf(store, store_code) ?? { id: null, code: store_code, locale: null }
        return { ...storeConfig, id: view.id, store_code, locale: view.locale }
      },
    },

    AttributeValueInterface: {
      __resolveType: (attribute: AttributeView) =>
        'value' in attribute ? 'AttributeValue' : 'AttributeSelectedOptions',
    },
    AttributeSelectedOptionInterface: { __resolveType: () => 'AttributeSelectedOption' },
    CustomAttributeMetadataInterface: { __resolveType: () => 'CustomerAttributeMetadata' },
    CustomAttributeOptionInterface: { __resolveType: () => 'AttributeOptionMetadata' },
  }
}

function actorOf({ caller, service }: RequestContext): string {
  if (caller) return `customer:${caller.customerId}`
  return service ? `service:${service.service}` : 'guest'
}

/** Magento's group of those who are not signed in. */
const GUESTS = 0

const notShared = () => invalidInput('Sharing customer group information is disabled or not configured.')

/** Magento's `uid`: the number in base64. */
const toUid = (id: number) => Buffer.from(String(id)).toString('base64')

/** @throws CustomerError (graphql-input) for a uid that is no number in base64 */
function addressIdOf(uid: string): number {
  if (uid === '') throw invalidInput('Address "uid" value must be specified')
  const id = Number(Buffer.from(uid, 'base64').toString())
  if (!Number.isSafeInteger(id) || id < 1 || toUid(id) !== uid)
    throw invalidInput(`Value of uid "${uid}" is incorrect.`)
  return id
}

interface AttributeCodes {
  readonly attributeCodes?: readonly string[] | null
}

/** A value as AttributeValue or AttributeSelectedOptions of the schema. */
type AttributeView = { readonly code: string } & (
  | { readonly value: string }
  | { readonly selected_options: readonly { readonly label: string; readonly value: string }[] }
)

/** Of these codes, where some are named. */
function chosen(attributes: readonly AttributeView[], codes: readonly string[] | null | undefined) {
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

function toCountry({ id, alpha3, name }: Country) {
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

const toView = ({ id, code, locale }: Store['view']) => ({ id, store_code: code, locale })

/** The settings as Magento's StoreConfig has them: numbers of passwords are texts there. */
function toStoreConfig({ account, password, newsletter, countries, token }: Store) {
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

/** Documents in the schema's shape. */
function createViews({ account, customAttributes }: Store) {
  const confirmationStatus = account.confirmationRequired ? 'ACCOUNT_CONFIRMED' : 'ACCOUNT_CONFIRMATION_NOT_REQUIRED'

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
      addresses: document.addresses.map((address) => toAddress(document, address)),
      custom_attributes: toAttributes(customAttributes.customer, document.customAttributes),
    }
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
