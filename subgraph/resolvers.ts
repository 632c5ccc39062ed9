/** The GraphQL side: who calls, what is asked, and documents in the schema's shape. */
import type { GraphQLResolveInfo } from 'graphql'
import type { CustomerAddress, CustomerDocument } from '../projections/customer.ts'
import { type Command, createCommand } from './command.ts'
import { authorize, type Commands } from './commands.ts'
import type { Customers } from './customers.ts'
import type { AddressInput } from './domain/address.ts'
import { type CustomerInput, checkUsable } from './domain/customer.ts'
import { forbidden, notAuthorized } from './errors.ts'
import type { Caller, Tokens } from './identity/tokens.ts'

/** What a resolver knows of the request. */
export interface RequestContext {
  /** From the token alone; `authorize` compares its generation with the customer's. */
  readonly caller: Caller | null
  readonly correlationId: string
  readonly traceparent: string | undefined
  readonly idempotencyKey: string | undefined
  /** The signed-in customer, read once for all fields of a request. */
  customer?: Promise<CustomerDocument>
}

interface Parts {
  readonly commands: Commands
  readonly customers: Customers
  readonly tokens: Tokens
  /** The time; tests set it. */
  readonly now: () => Date
}

export function createResolvers({ commands, customers, tokens, now }: Parts) {
  function command(args: unknown, context: RequestContext, info: GraphQLResolveInfo): Command {
    return createCommand({
      // The name in the answer too: one request may hold the same mutation twice.
      operation: `${info.fieldName}:${info.path.key}`,
      arguments: args,
      actor: context.caller === null ? 'guest' : `customer:${context.caller.customerId}`,
      correlationId: context.correlationId,
      traceparent: context.traceparent,
      idempotencyKey: context.idempotencyKey,
      at: now(),
    })
  }

  /** The caller's own document, for queries. */
  function signedIn(context: RequestContext): Promise<CustomerDocument> {
    const { caller } = context
    if (caller === null) throw notAuthorized()
    context.customer ??= customers
      .get(caller.customerId, context.traceparent)
      .then((document) => authorize(caller, document))
    return context.customer
  }

  return {
    Query: {
      async customer(_: unknown, _args: unknown, context: RequestContext) {
        const document = await signedIn(context)
        checkUsable(document, now())
        return toCustomer(document)
      },
    },

    Mutation: {
      async createCustomer(
        _: unknown,
        args: { input: CustomerInput },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        const created = await commands.createCustomer(args.input, command(args, context, info))
        return { customer: toCustomer(created) }
      },

      async updateCustomer(
        _: unknown,
        args: { input: CustomerInput },
        context: RequestContext,
        info: GraphQLResolveInfo,
      ) {
        const updated = await commands.updateCustomer(context.caller, args.input, command(args, context, info))
        // As Magento: the answer to the change repeats the date as it was typed, later reads give YYYY-MM-DD.
        const { dob } = args.input
        return { customer: { ...toCustomer(updated), ...(dob && { dob }) } }
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
        const { id, tokenGeneration } = await commands.signIn(email, password, command(args, context, info))
        return { token: tokens.issue({ customerId: id, generation: tokenGeneration }) }
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

      async deleteCustomerAddress(_: unknown, args: { id: number }, context: RequestContext, info: GraphQLResolveInfo) {
        await commands.deleteAddress(context.caller, args.id, command(args, context, info))
        return true
      },
    },

    Customer: {
      /** Another subgraph may name any customer: the fields are for that customer alone. */
      async __resolveReference(reference: { id: number }, context: RequestContext) {
        const document = await signedIn(context)
        if (document.id !== Number(reference.id)) throw forbidden("The current customer isn't authorized.")
        checkUsable(document, now())
        return toCustomer(document)
      },
    },

    CustomerAddress: {
      async __resolveReference(reference: { id: number }, context: RequestContext) {
        const document = await signedIn(context)
        const address = document.addresses.find(({ id }) => id === Number(reference.id))
        // Whether it is somebody else's or nobody's is not told here.
        if (address === undefined) throw forbidden("The current customer isn't authorized.")
        return toAddress(document, address)
      },
    },
  }
}

/** The document as the schema's Customer. */
function toCustomer(document: CustomerDocument) {
  return {
    id: document.id,
    created_at: document.createdAt.slice(0, 19).replace('T', ' '),
    group_id: document.groupId,
    prefix: document.prefix,
    firstname: document.firstname,
    middlename: document.middlename,
    lastname: document.lastname,
    suffix: document.suffix,
    email: document.email,
    default_billing: document.defaultBilling?.toString() ?? null,
    default_shipping: document.defaultShipping?.toString() ?? null,
    dob: document.dob,
    taxvat: document.taxvat,
    gender: document.gender,
    is_subscribed: document.isSubscribed,
    reward_update_notification: document.rewardUpdateNotification,
    reward_warning_notification: document.rewardWarningNotification,
    addresses: document.addresses.map((address) => toAddress(document, address)),
  }
}

/** The address as the schema's CustomerAddress. */
function toAddress(customer: CustomerDocument, address: CustomerAddress) {
  return {
    id: address.id,
    customer_id: customer.id,
    region: { region_code: address.regionCode, region: address.region, region_id: address.regionId },
    region_id: address.regionId,
    country_id: address.countryId,
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
  }
}
