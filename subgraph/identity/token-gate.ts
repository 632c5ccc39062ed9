/**
 * Refuses requests with an invalid token before anything is executed: forged and expired tokens by their content,
 * revoked ones by the customer's document. For mutations that read the customer anyway this read is skipped: they
 * detect a revoked token themselves before they change anything ({@link TokenGate.refuseRevoked}).
 */
import { type GraphQLSchema, Kind, type OperationDefinitionNode, parse } from 'graphql'
import { LRUCache } from 'lru-cache'
import type { CustomerDocument } from '../../projections/customer.ts'
import { MAX_DOCUMENT_TOKENS } from '../../runtime/document-budget.ts'
import { within } from '../../runtime/time-limits.ts'
import { ignoresToken, rootFields, type TokenFault } from '../../schema/token-faults.ts'
import type { Customers } from '../customers/customers.ts'
import { isRefusal, isUnavailable, TokenRefused } from '../errors.ts'
import type { EndedTokens } from './ended-tokens.ts'
import { holderOf, holdsToken } from './token-holder.ts'
import type { Caller, ServiceCaller, Tokens } from './tokens.ts'

/** The caller of a request, by its valid token. */
export interface Admission {
  readonly caller: Caller | null
  readonly service: ServiceCaller | null
  /** The caller's document, if it has been read. */
  readonly customer?: Promise<CustomerDocument>
  /** How long it was waited for in vain, in milliseconds: a mutation has that much less time. */
  readonly waitedMs?: number
}

/** A caller, or why there is none. */
export type Admitted = Admission | TokenFault | 'unchecked'

export interface TokenGate {
  /** @returns the caller, or why the request is refused; `unchecked`: nobody can say now whether a service's token was ended */
  admit(request: {
    readonly authorization: string | undefined
    /** The document, with a distinct text for each operation that is requested from it; undefined: there is none. */
    readonly document: string | undefined
    /** The requested operation, if the document has several. */
    readonly operationName: unknown
    /** Returns the parent of the spans for reads; called only if something is read. */
    readonly traceparent: () => string | undefined
  }): Admitted | Promise<Admitted>
  /** Makes the schema's mutations report a revoked token first, whatever else is wrong. @returns the same schema */
  refuseRevoked(schema: GraphQLSchema): GraphQLSchema
}

export const GUEST: Admission = { caller: null, service: null }

/** These mutations decide on the caller's own customer, and on its token, before they change anything. */
const DECIDE_THEMSELVES: ReadonlySet<string> = new Set([
  'changeCustomerPassword',
  'createCustomerAddress',
  'deleteCustomer',
  'deleteCustomerAddress',
  'deleteCustomerAddressV2',
  'revokeCustomerToken',
  'subscribeEmailToNewsletter',
  'updateCustomer',
  'updateCustomerAddress',
  'updateCustomerAddressV2',
  'updateCustomerEmail',
  'updateCustomerV2',
])

type DocumentKind = 'ignores the token' | 'decides itself' | 'asks first'

const KNOWN_DOCUMENTS = 1_000
const KNOWN_CHARACTERS = 1024 * 1024
/**
 * While the stores are unavailable, requests that do not need the customer proceed after this time, in milliseconds.
 */
const MAX_CHECK_MS = 1_000
/** A mutation that takes this long, in milliseconds, has waited for a store. */
const LONG_MS = 3_000
/** How old the knowledge may be of which services' tokens were ended, in milliseconds. */
const ENDED_MAX_AGE_MS = 500

export function createTokenGate(
  tokens: Tokens,
  customers: Pick<Customers, 'get' | 'load'>,
  endedTokens: EndedTokens,
): TokenGate {
  const known = new LRUCache<string, DocumentKind>({
    max: KNOWN_DOCUMENTS,
    maxSize: KNOWN_CHARACTERS,
    sizeCalculation: (_, key) => key.length + 1,
  })

  function kindOf(document: string | undefined, operationName: unknown): DocumentKind {
    if (document === undefined) return 'asks first'
    const before = known.get(document)
    if (before !== undefined) return before
    const name = typeof operationName === 'string' ? operationName : ''
    const kind = readKind(document, name)
    // Not cached for an invalid operation name, for which the document's text is not distinct (graphql-endpoint.ts).
    if (name === '' || document.endsWith(`\n#${name}`)) known.set(document, kind)
    return kind
  }

  async function check(caller: Caller, traceparent: string | undefined): Promise<Admission | TokenFault> {
    const customer = holderOf(customers, caller, traceparent)
    customer.catch(() => {}) // handled where the customer is awaited
    const began = performance.now()
    try {
      return holdsToken(caller, await within(MAX_CHECK_MS, customer)) ? { caller, service: null, customer } : 'revoked'
    } catch {
      // Fields that need the customer wait for it and report the failure. All others are available while the stores are
      // not.
      return { caller, service: null, customer, waitedMs: performance.now() - began }
    }
  }

  function admitService(service: ServiceCaller): Admitted | Promise<Admitted> {
    const isEnded = endedTokens.has(service.tokenId, ENDED_MAX_AGE_MS)
    const answer = (ended: boolean): Admitted => (ended ? 'revoked' : { caller: null, service })
    return typeof isEnded === 'boolean' ? answer(isEnded) : isEnded.then(answer, () => 'unchecked')
  }

  return {
    admit({ authorization, document, operationName, traceparent }) {
      const bearer = tokens.read(authorization)
      if (bearer === null) return GUEST
      if (typeof bearer !== 'string' && 'service' in bearer) return admitService(bearer)
      const kind = kindOf(document, operationName)
      if (kind === 'ignores the token') return GUEST
      if (typeof bearer === 'string') return bearer
      return kind === 'asks first' ? check(bearer, traceparent()) : { caller: bearer, service: null }
    },

    refuseRevoked(schema) {
      const fields = schema.getMutationType()?.getFields() ?? {}
      for (const field of Object.values(fields)) {
        const { resolve } = field
        if (resolve === undefined) continue
        field.resolve = async (source, args, context: { readonly caller: Caller | null }, info) => {
          const began = performance.now()
          try {
            return await resolve(source, args, context, info)
          } catch (error) {
            const { caller } = context
            if (caller === null || !isRefusal(error) || error instanceof TokenRefused) throw error
            // What has waited for the stores does not wait for them once more.
            if (isUnavailable(error) || performance.now() - began > LONG_MS) throw error
            const customer = await within(MAX_CHECK_MS, holderOf(customers, caller)).catch(() => undefined)
            throw customer === undefined || holdsToken(caller, customer) ? error : new TokenRefused('revoked')
          }
        }
      }
      return schema
    },
  }
}

/** @param name of the operation; empty: the only one */
function readKind(query: string, name: string): DocumentKind {
  try {
    const document = parse(query, { noLocation: true, maxTokens: MAX_DOCUMENT_TOKENS })
    const operations = document.definitions.filter(
      (each): each is OperationDefinitionNode => each.kind === Kind.OPERATION_DEFINITION,
    )
    const named = name === '' ? operations : operations.filter((each) => each.name?.value === name)
    const [operation] = named
    if (operation === undefined || named.length > 1 || operation.operation !== 'mutation') return 'asks first'
    if (ignoresToken(document, operation)) return 'ignores the token'
    const fields = [...rootFields(document, operation)]
    return fields.length > 0 && fields.every((field) => DECIDE_THEMSELVES.has(field)) ? 'decides itself' : 'asks first'
  } catch {
    return 'asks first' // an invalid document is reported after the token has been checked
  }
}
