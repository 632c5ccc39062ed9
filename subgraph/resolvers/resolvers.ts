/** The resolvers of the schema, from the subgraph's parts. */
import type { EventStore } from '../../eventstore/port.ts'
import type { Store } from '../../schema/store.ts'
import type { Commands } from '../commands/customer-commands.ts'
import type { CommandIds } from '../commands/idempotency-key.ts'
import type { LinkCommands } from '../commands/link-commands.ts'
import type { CustomerChanges } from '../customers/customer-changes.ts'
import type { Customers } from '../customers/customers.ts'
import type { Captcha } from '../http/captcha.ts'
import type { Tokens } from '../identity/tokens.ts'
import type { EmailClaims } from '../streams/email-claims.ts'
import { createShowList } from './large-lists.ts'
import { createMutationResolvers } from './mutation-resolvers.ts'
import { createQueryResolvers } from './query-resolvers.ts'
import { createSignedIn } from './signed-in-customer.ts'
import { createSubscriptionResolvers } from './subscription-resolvers.ts'
import { createTypeResolvers } from './type-resolvers.ts'
import { createViews } from './views.ts'

export interface ResolverParts {
  readonly eventStore: EventStore
  readonly commands: Commands
  readonly links: LinkCommands
  readonly customers: Customers
  readonly claims: EmailClaims
  readonly tokens: Tokens
  readonly commandIds: CommandIds
  readonly store: Store
  readonly captcha: Captcha
  readonly changes: CustomerChanges
  /** The time; tests set it. */
  readonly now: () => Date
}

export function createResolvers(parts: ResolverParts) {
  const views = createViews(parts.store)
  const signedIn = createSignedIn(parts.customers)
  const showList = createShowList()
  return {
    Query: createQueryResolvers(parts, signedIn, views, showList),
    Mutation: createMutationResolvers(parts, views),
    Subscription: createSubscriptionResolvers(parts, signedIn, views),
    ...createTypeResolvers(parts, signedIn, views, showList),
  }
}
