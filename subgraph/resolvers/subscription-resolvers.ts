/** The resolvers of the subscriptions. */
import { type CustomerDocument, isRegistered } from '../../projections/customer.ts'
import { authorize } from '../commands/own-customer.ts'
import { checkUsable } from '../domain/customer.ts'
import { refusal, translateFault } from '../errors.ts'
import type { RequestContext } from '../http/request-context.ts'
import type { ResolverParts } from './resolvers.ts'
import type { SignedIn } from './signed-in-customer.ts'
import type { Views } from './views.ts'

/** What one event is executed with. */
interface SubscriptionEvent {
  /** The root value. */
  readonly value: object
  /** What differs in the context. */
  readonly context: Pick<RequestContext, 'document'>
}

/** A stream of events. `return` ends it at once. */
export type SubscriptionEvents = AsyncGenerator<SubscriptionEvent, undefined, undefined>

export function createSubscriptionResolvers(
  { changes, store, now }: Pick<ResolverParts, 'changes' | 'store' | 'now'>,
  signedIn: SignedIn,
  { toCustomer }: Views,
) {
  return {
    customerChanged: {
      /** The signed-in customer after each change. A deleted one is null, and the last. */
      async subscribe(_: unknown, _args: unknown, context: RequestContext): Promise<SubscriptionEvents> {
        const { caller } = context
        if (caller === null) throw refusal('NOT_SIGNED_IN')
        await signedIn(context)
        const documents = await changes.follow(caller.customerId)
        /** What the query `customer` refuses is not shown here either. */
        const view = async (document: CustomerDocument) => {
          try {
            checkUsable(authorize(caller, document), now(), store)
            return toCustomer(document)
          } catch (error) {
            await documents.return(undefined)
            throw translateFault(error)
          }
        }
        await view(documents.present)
        let isLast = false
        const events: SubscriptionEvents = {
          async next() {
            if (isLast) return events.return(undefined)
            const { done, value: document } = await documents.next()
            if (done) return { done, value: undefined }
            isLast = !isRegistered(document)
            if (isLast) return { done: false, value: { value: { customerChanged: null }, context: {} } }
            const customer = await view(document)
            const own = { document: Promise.resolve(document) }
            return { done: false, value: { value: { customerChanged: customer }, context: own } }
          },
          return: () => documents.return(undefined) as Promise<{ done: true; value: undefined }>,
          throw: (error) => documents.throw(error) as Promise<never>,
          [Symbol.asyncIterator]: () => events,
          [Symbol.asyncDispose]: async () => void (await documents.return(undefined)),
        }
        return events
      },

      /** It is also called for a subscription that was sent like a query, without an event. */
      resolve(event: { readonly customerChanged?: object | null } | undefined) {
        if (event?.customerChanged === undefined) throw refusal('SUBSCRIPTION_WITHOUT_STREAM')
        return event.customerChanged
      },
    },
  }
}
