/** The resolvers of the mutations: each is a command, and its outcome in the schema's shape. */
import type { GraphQLResolveInfo } from 'graphql'
import { type Command, createCommand } from '../commands/command.ts'
import type { AddressOutcome } from '../commands/customer-commands.ts'
import type { AddressInput } from '../domain/address.ts'
import type { CustomerInput } from '../domain/customer.ts'
import { Fault } from '../domain/faults.ts'
import { refusal } from '../errors.ts'
import { actorOf, type RequestContext } from '../http/request-context.ts'
import type { ResolverParts } from './resolvers.ts'
import { addressIdOf, type Views } from './views.ts'

/** @param command the request as a command; its arguments are part of its identity */
type Mutate<A> = (args: A, command: Command, context: RequestContext) => Promise<unknown>

export function createMutationResolvers(parts: ResolverParts, views: Views) {
  const mutation = createWrapper(parts)
  return {
    ...createAccountMutations(parts, views, mutation),
    ...createLinkMutations(parts, views, mutation),
    ...createAddressMutations(parts, views, mutation),
  }
}

type Wrapper = ReturnType<typeof createWrapper>

/** Makes the resolver of a mutation: the wrapper that all of them share. */
function createWrapper({ commandIds, now }: ResolverParts) {
  function commandOf(args: unknown, context: RequestContext, info: GraphQLResolveInfo): Command {
    return createCommand({
      // Includes the name in the answer, because a request may contain the same mutation twice.
      operation: `${info.fieldName}:${info.path.key}`,
      arguments: args,
      actor: actorOf(context),
      correlationId: context.correlationId,
      traceparent: context.traceparent,
      idempotency: context.idempotencyKey === undefined ? undefined : { key: context.idempotencyKey, ids: commandIds },
      at: now(),
      client: context.client,
      waitedMs: context.waitedMs,
    })
  }

  return <A>(mutate: Mutate<A>) =>
    (_: unknown, args: A, context: RequestContext, info: GraphQLResolveInfo) =>
      mutate(args, commandOf(args, context, info), context)
}

function createAccountMutations({ commands, tokens }: ResolverParts, { toCustomer }: Views, mutation: Wrapper) {
  const createCustomer = mutation<{ input: CustomerInput }>(async ({ input }, command) => ({
    customer: toCustomer(await commands.createCustomer(input, command)),
  }))

  const updateCustomer = mutation<{ input: CustomerInput }>(async ({ input }, command, { caller }) => {
    const updated = await commands.updateCustomer(caller, input, command)
    // As Magento: the answer to the change repeats the date as it was typed, later reads give YYYY-MM-DD.
    const typed = input.date_of_birth ?? input.dob
    return { customer: { ...toCustomer(updated), ...(typed && { dob: typed, date_of_birth: typed }) } }
  })

  return {
    createCustomer,
    createCustomerV2: createCustomer,
    updateCustomer,
    updateCustomerV2: updateCustomer,

    updateCustomerEmail: mutation<{ email: string; password: string }>(async (args, command, { caller }) => ({
      customer: toCustomer(await commands.updateCustomer(caller, args, command)),
    })),

    deleteCustomer: mutation(async (_, command, { caller }) => {
      await commands.deleteCustomer(caller, command)
      return true
    }),

    changeCustomerPassword: mutation<{ currentPassword: string; newPassword: string }>(
      async (args, command, { caller }) => toCustomer(await commands.changePassword(caller, args, command)),
    ),

    generateCustomerToken: mutation<{ email: string; password: string }>(async ({ email, password }, command) => {
      const customer = await commands.signIn(email, password, command)
      const { id: customerId, tokenGeneration: generation, createdAt } = customer
      return { token: tokens.issue({ customerId, generation, registeredAt: Date.parse(createdAt) }) }
    }),

    revokeCustomerToken: mutation(async (_, command, { caller }) => {
      await commands.revokeTokens(caller, command)
      return { result: true }
    }),
  }
}

function createLinkMutations({ links }: ResolverParts, { toCustomer }: Views, mutation: Wrapper) {
  return {
    requestPasswordResetEmail: mutation<{ email: string }>(async ({ email }, command) => {
      await links.requestPasswordReset(email, command)
      return true
    }),

    resetPassword: mutation<{ email: string; resetPasswordToken: string; newPassword: string }>(
      async (args, command) => {
        await links.resetPassword(args, command)
        return true
      },
    ),

    confirmEmail: mutation<{ input: { email: string; confirmation_key: string } }>(async ({ input }, command) => ({
      customer: toCustomer(await links.confirmEmail(input.email, input.confirmation_key, command)),
    })),

    resendConfirmationEmail: mutation<{ email: string }>(async ({ email }, command) => {
      await links.resendConfirmation(email, command)
      return true
    }),

    subscribeEmailToNewsletter: mutation<{ email: string }>(async ({ email }, command, { caller }) => ({
      status: await links.subscribe(caller, email, command),
    })),

    confirmNewsletterSubscription: mutation<{ email: string; confirmation_key: string }>(
      async ({ email, confirmation_key }, command) => ({
        status: await links.confirmSubscription(email, confirmation_key, command),
      }),
    ),
  }
}

function createAddressMutations({ commands }: ResolverParts, { toAddress }: Views, mutation: Wrapper) {
  const shown = ({ customer, address }: AddressOutcome) => toAddress(customer, address)

  return {
    createCustomerAddress: mutation<{ input: AddressInput }>(async ({ input }, command, { caller }) =>
      shown(await commands.createAddress(caller, input, command)),
    ),

    updateCustomerAddress: mutation<{ id: number; input?: AddressInput | null }>(
      async ({ id, input }, command, { caller }) => shown(await commands.updateAddress(caller, id, input, command)),
    ),

    updateCustomerAddressV2: mutation<{ uid: string; input?: AddressInput | null }>(
      async ({ uid, input }, command, { caller }) => {
        if (caller === null) throw refusal('NOT_SIGNED_IN')
        const addressId = addressIdOf(uid)
        try {
          return shown(await commands.updateAddress(caller, addressId, input, command))
        } catch (error) {
          throw namedByUid(error)
        }
      },
    ),

    deleteCustomerAddress: mutation<{ id: number }>(async ({ id }, command, { caller }) => {
      await commands.deleteAddress(caller, id, command)
      return true
    }),

    deleteCustomerAddressV2: mutation<{ uid: string }>(async ({ uid }, command, { caller }) => {
      if (caller === null) throw refusal('NOT_SIGNED_IN')
      const addressId = addressIdOf(uid)
      try {
        await commands.deleteAddress(caller, addressId, command)
      } catch (error) {
        throw namedByUid(error)
      }
      return true
    }),
  }
}

/** Magento's operations by uid have other error messages than those by id. */
function namedByUid(error: unknown): unknown {
  if (!(error instanceof Fault)) return error
  switch (error.code) {
    case 'ADDRESS_NOT_FOUND':
      return refusal('ADDRESS_NOT_FOUND_BY_UID')
    case 'ADDRESS_NOT_OWN':
      return refusal('ADDRESS_NOT_OWN_BY_UID')
    case 'ADDRESS_IS_DEFAULT':
      return refusal('ADDRESS_IS_DEFAULT_BY_UID', { kind: (error as Fault<'ADDRESS_IS_DEFAULT'>).details.kind })
    default:
      return error
  }
}
