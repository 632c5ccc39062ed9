/** Builds the parts of the subgraph, each with the parts that it depends on. */
import type { FastifyBaseLogger } from 'fastify'
import { addReachability } from '../eventstore/encryption/reachability.ts'
import { chained, countAsChained } from '../eventstore/hash-chain.ts'
import type { EventStore } from '../eventstore/port.ts'
import { observed } from '../eventstore/timed-appends.ts'
import type { ReadModel } from '../projections/read-model.ts'
import { addGauge } from '../runtime/metrics.ts'
import { answersProbe } from '../runtime/time-limits.ts'
import type { TokenNames } from '../runtime/token-names.ts'
import { createMailTokens } from '../schema/mail-tokens.ts'
import type { Store } from '../schema/store.ts'
import { createCommands } from './commands/customer-commands.ts'
import { createCommandIds } from './commands/idempotency-key.ts'
import { createLinkCommands } from './commands/link-commands.ts'
import { type CustomerChanges, createCustomerChanges } from './customers/customer-changes.ts'
import { type Customers, createCustomers } from './customers/customers.ts'
import { type Captcha, createCaptcha } from './http/captcha.ts'
import { createCredentials } from './identity/credentials.ts'
import { createEndedTokens, type EndedTokens } from './identity/ended-tokens.ts'
import { createHashKinds, createPasswordChecks } from './identity/password-checks.ts'
import { createSignIn } from './identity/sign-in.ts'
import type { Keys } from './identity/subgraph-keys.ts'
import { createTokens, type Tokens } from './identity/tokens.ts'
import { guardLog } from './log-guard.ts'
import type { SubgraphMetrics } from './metrics.ts'
import { createResolvers } from './resolvers/resolvers.ts'
import { createAccessLog } from './streams/access-log.ts'
import { createEmailClaims } from './streams/email-claims.ts'
import { createIds } from './streams/ids.ts'
import { createSubscribers } from './streams/newsletter-subscribers.ts'

export interface PartsOptions {
  readonly eventStore: EventStore
  readonly readModel: ReadModel
  readonly keys: Keys
  readonly store: Store
  readonly captchaSecret?: string | undefined
  readonly tokenNames?: TokenNames
  readonly cachedTokens?: number
  readonly now?: () => Date
  readonly log: FastifyBaseLogger
  readonly metrics: SubgraphMetrics
}

export interface Parts {
  /** Its calls wait while the log is compared with the read model. */
  readonly eventStore: EventStore
  readonly customers: Customers
  /** Whether queries fold the streams, because the documents are not trusted or are another log's. */
  isFenced(): boolean
  readonly tokens: Tokens
  readonly endedTokens: EndedTokens
  readonly captcha: Captcha
  readonly changes: CustomerChanges
  readonly resolvers: ReturnType<typeof createResolvers>
  /** Finishes what is under way; the stores stay open. */
  close(): Promise<void>
}

/**
 * @throws ConfigurationError for a token signing key that is not an Ed25519 private key, a CAPTCHA without its secret
 */
export function createParts(options: PartsOptions): Parts {
  const { keys, store, log, metrics } = options
  const { eventStore, customers, isFenced, close } = createStores(options)
  const claims = createEmailClaims(eventStore, customers, keys.emailHashKey)
  const credentials = createCredentials(eventStore, customers)
  const access = createAccessLog({
    eventStore,
    settings: store.audit,
    log,
    onRecord: (kind) => metrics.access.inc({ kind }),
    onFailure: () => metrics.unrecorded.inc(),
  })
  const passwords = createPasswordChecks(createHashKinds(eventStore), (kind) => metrics.hashes.inc({ kind }))
  const signIn = createSignIn({ eventStore, customers, claims, credentials, passwords, access, store })
  const tokens = createTokens(keys.tokenSigningKey, {
    names: options.tokenNames,
    lifetimeMinutes: store.token.lifetimeMinutes,
    cachedTokens: options.cachedTokens,
  })
  const subscribers = createSubscribers(eventStore, claims.keysOf)
  const accounts = { eventStore, customers, claims, credentials, signIn, subscribers, access, store }
  const captcha = createCaptcha(store, options.captchaSecret, log)
  const changes = createCustomerChanges(eventStore, customers, log)
  const resolvers = createResolvers({
    eventStore,
    commands: createCommands({ ...accounts, ids: createIds(eventStore) }),
    links: createLinkCommands({ ...accounts, tokens: createMailTokens(keys.emailHashKey) }),
    customers,
    claims,
    tokens,
    commandIds: createCommandIds(keys.emailHashKey),
    store,
    captcha,
    changes,
    now: options.now ?? (() => new Date()),
  })
  return {
    eventStore,
    customers,
    isFenced,
    tokens,
    endedTokens: createEndedTokens(eventStore),
    captcha,
    changes,
    resolvers,
    async close() {
      await access.close()
      await close()
    },
  }
}

/** The event store as the subgraph uses it (with metrics and the log guard), and the customers in it. */
function createStores({ eventStore: store, readModel, log, metrics }: PartsOptions) {
  const { appends, conflicts, reads, registry } = metrics
  const written = appends.series({ outcome: 'written' })
  const guard = guardLog({
    eventStore: observed(chained(store), (outcome, seconds) => {
      const count = outcome === 'written' ? written : appends.series({ outcome })
      count(seconds)
      if (outcome === 'conflict') conflicts.inc()
    }),
    readModel,
    log,
    anchor: () => customers.newestAppended(),
    onReplaced: () => customers.forget(),
    onCompared: () => customers.forgetShown(),
  })
  const eventStore = countAsChained(guard.eventStore)
  const { mayReadDocuments } = guard
  const onRead = (source: string) => reads.inc({ source })
  // A share of reads is known from the first one on.
  for (const source of ['read-model', 'stream']) reads.inc({ source }, 0)
  const customers = createCustomers({ eventStore, readModel, log, mayReadDocuments, onRead })
  const isFenced = () => customers.isFenced() || guard.isForeign()
  addReachability(registry, store)
  addGauge(registry, 'read_model_writable', READ_MODEL_WRITABLE, () => answersProbe(readModel.probe()))
  addGauge(registry, 'read_model_fenced', READ_MODEL_FENCED, isFenced)
  addGauge(registry, 'read_model_cut_off', READ_MODEL_CUT_OFF, () => customers.isAlone())
  return {
    eventStore,
    customers,
    isFenced,
    async close() {
      await customers.close()
      guard.close()
    },
  }
}

const READ_MODEL_WRITABLE = 'Whether the read model accepts writes (1), or refuses them or is unavailable (0).'
const READ_MODEL_CUT_OFF =
  'Whether this instance alone does not reach the read model (1). It is not ready then, because all others have to fold.'
const READ_MODEL_FENCED =
  'Whether queries fold the streams (1): the documents belong to another log; or they are not trusted (a fence, or no lease), unless the event store is unavailable. See docs/read-your-writes.md.'
