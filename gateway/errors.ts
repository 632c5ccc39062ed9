/**
 * The gateway's error codes: those of its answers and those of the errors that it throws and logs. Subgraphs' errors
 * reach clients with the codes that they have there. docs/errors.md lists both tables; a test compares them.
 */
import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import { TOKEN_FAULTS, type TokenFault } from '../schema/token-faults.ts'

interface Entry {
  /**
   * The HTTP status of a request that is refused with it; `answer`: it is an error at a field of an answer with status
   * 200.
   */
  readonly status: number | 'answer'
  /** For authors of clients. */
  readonly meaning: string
}

/** What `extensions.code` says in the gateway's own answers. */
export const ERRORS = {
  BAD_REQUEST: {
    status: 400,
    meaning:
      'The request is not GraphQL over HTTP: the message says what is wrong with it. Status 413: the body is larger than `BODY_LIMIT_BYTES`; 415: it is not `application/json`, or it is compressed.',
  },
  GRAPHQL_PARSE_FAILED: { status: 400, meaning: 'The document is not GraphQL.' },
  GRAPHQL_VALIDATION_FAILED: { status: 400, meaning: 'The document does not fit the schema.' },
  OPERATION_RESOLUTION_FAILURE: {
    status: 400,
    meaning: 'The document has no such operation, or several and none is named.',
  },
  BAD_USER_INPUT: { status: 400, meaning: 'A variable, or a number in the document, does not fit its type.' },
  OPERATION_TOO_LARGE: {
    status: 400,
    meaning: 'The document has more tokens than `LIMIT_TOKENS`, or a name of more than 255 characters.',
  },
  OPERATION_TOO_COMPLEX: {
    status: 400,
    meaning:
      'The operation asks for too much: `LIMIT_DEPTH`, `LIMIT_FIELDS`, `LIMIT_ALIASES`, `LIMIT_ROOT_FIELDS`, `LIMIT_DIRECTIVES`, `LIMIT_COST`.',
  },
  ANSWER_TOO_LARGE: { status: 400, meaning: 'The answer would be larger than `ANSWER_LIMIT_BYTES`: ask for less.' },
  PERSISTED_QUERY_HASH_MISMATCH: { status: 400, meaning: 'The document does not have the hash that came with it.' },
  UNAUTHENTICATED: { status: 401, meaning: 'The bearer token is forged, expired or revoked.' },
  CSRF_PREVENTED: {
    status: 403,
    meaning:
      'A web page of another site could have sent this GET: send a POST, or the header `apollo-require-preflight`.',
  },
  QUERY_NOT_IN_SAFELIST: { status: 403, meaning: 'This gateway runs only the documents of its manifest.' },
  METHOD_NOT_ALLOWED: { status: 405, meaning: 'GraphQL requests are sent by GET or POST, mutations by POST alone.' },
  NOT_ACCEPTABLE: { status: 406, meaning: 'The header `Accept` allows no media type of GraphQL.' },
  RATE_LIMITED: {
    status: 429,
    meaning:
      'Too many requests of this client: `RATE_LIMIT_PER_MINUTE`, `RATE_LIMIT_SIGN_IN_PER_MINUTE`. `Retry-After` says when to come back.',
  },
  SUBSCRIPTION_LIMIT: {
    status: 429,
    meaning: 'Too many subscriptions at once: `SUBSCRIPTIONS_PER_CLIENT` of this client, or `SUBSCRIPTIONS` of all.',
  },
  SUBSCRIPTION_SERVER_CLOSING: {
    status: 503,
    meaning: 'The gateway shuts down, and ends its subscriptions. Subscribe again: another instance answers.',
  },
  INTERNAL_SERVER_ERROR: {
    status: 500,
    meaning:
      'A fault of the gateway, logged under `extensions.correlationId`; at a field, a subgraph that broke the schema.',
  },
  PLUGIN_FAILED: {
    status: 500,
    meaning:
      'A plugin of the gateway failed or took too long, so the request, or the field, is refused. It is logged under `extensions.correlationId`.',
  },
  OVERLOADED: {
    status: 503,
    meaning: 'The gateway is too busy, or too many requests of this client wait. `Retry-After` says when to come back.',
  },
  TOKEN_UNCHECKED: {
    status: 503,
    meaning:
      "The token can't be checked now, because the customer subgraph or the token's issuer does not answer. It may still be valid: keep it, and send the request again after `Retry-After`.",
  },
  PERSISTED_QUERY_NOT_FOUND: {
    status: 200,
    meaning: 'Nothing is registered under the hash: send the document with it.',
  },
  PERSISTED_QUERY_NOT_SUPPORTED: { status: 200, meaning: 'This gateway does not accept persisted queries.' },
  SUBSCRIPTION_SCHEMA_RELOAD: {
    status: 'answer',
    meaning: 'The graph has changed, and the subscription has ended with the old one. Subscribe again.',
  },
  SUBSCRIPTION_TOO_SLOW: {
    status: 'answer',
    meaning:
      'More than `SUBSCRIPTION_BUFFER` events waited for the client, and the subscription has ended. Subscribe again, and read what it missed.',
  },
  FORBIDDEN: {
    status: 'answer',
    meaning:
      'The token does not grant access to the field. A plugin that refuses a request without a code of its own uses this one, with status 403.',
  },
  SERVICE_UNAVAILABLE: {
    status: 'answer',
    meaning:
      'The subgraph that `extensions.service` names gave no usable answer: it is unavailable, too slow (`SUBGRAPH_TIMEOUT_MS`), overloaded, its answer was larger than `SUBGRAPH_ANSWER_LIMIT_BYTES`, or could not be decompressed.',
  },
} as const satisfies Readonly<Record<string, Entry>>

/** What each code of a thrown error means and what to do about it. */
export const ERROR_CODES = {
  GTW_ERR_REQUEST: 'The request is refused. The answer has the reason, under one of the codes above.',
  GTW_ERR_INVALID_TOKEN: 'The bearer token is forged, expired, or not a token at all.',
  GTW_ERR_KEYS_UNAVAILABLE: "The public keys of a token issuer can't be fetched.",
  GTW_ERR_TOKEN_UNVERIFIABLE: "A token can't be verified now, because the keys of its issuer can't be fetched.",
  GTW_ERR_CANCELLED: 'The client has gone away, so the work for it stops.',
  GTW_ERR_SUBGRAPH_TIMEOUT: 'A subgraph did not answer within `SUBGRAPH_TIMEOUT_MS`.',
  GTW_ERR_SUBGRAPH_ANSWER_TOO_LARGE: "A subgraph's answer is larger than `SUBGRAPH_ANSWER_LIMIT_BYTES`.",
  GTW_ERR_SUBGRAPH_ENCODING: "A subgraph's answer has an unknown `Content-Encoding`, or can't be decompressed.",
  GTW_ERR_PLUGIN_REJECTION: 'A plugin has refused a request. It ends the hook; the answer has the reason.',
  GTW_ERR_PLUGIN_TIMEOUT: "A plugin's hook took longer than its `timeoutMs`.",
  GTW_ERR_SUPERGRAPH: 'The supergraph file cannot be served. The message names the file and what is wrong with it.',
} as const

export type ErrorCode = keyof typeof ERRORS

/** A code that refuses a whole request. */
export type RefusalCode = { [C in ErrorCode]: (typeof ERRORS)[C]['status'] extends number ? C : never }[ErrorCode]

/** The HTTP status of a request that is refused with a code of the catalogue. */
const statusOfCode = (code: RefusalCode): number => ERRORS[code].status

/** A request that is not executed; each error carries its code. */
export class RequestError extends Error {
  override readonly name = 'RequestError'
  readonly code = 'GTW_ERR_REQUEST'
  readonly errors: readonly GraphQLError[]
  readonly statusCode: number

  constructor(errors: readonly GraphQLError[], statusCode = 400) {
    super(errors[0]?.message)
    this.errors = errors
    this.statusCode = statusCode
  }
}

/** A RequestError of one message and code, with the status of the code. */
export function requestError(
  message: string,
  code: RefusalCode,
  extensions: Readonly<Record<string, unknown>> = {},
): RequestError {
  return new RequestError([codedError(message, code, extensions)], statusOfCode(code))
}

/** The request's token is not valid. As in Magento, this category makes storefronts sign their visitor out. */
export class TokenRefused extends RequestError {
  constructor(fault: TokenFault = 'unreadable') {
    super(
      [codedError(TOKEN_FAULTS[fault], 'UNAUTHENTICATED', { category: AUTHENTICATION })],
      statusOfCode('UNAUTHENTICATED'),
    )
  }
}

const AUTHENTICATION = 'graphql-authentication'

/** The refusal of a request whose token is not valid, or can't be checked now. */
export const tokenRefusal = (fault: TokenFault | 'unchecked' | undefined): RequestError =>
  fault === 'unchecked'
    ? requestError("The token can't be checked at the moment. Try again later.", 'TOKEN_UNCHECKED')
    : new TokenRefused(fault)

/**
 * Refuses the request if the customer subgraph has refused its token.
 * @param text of an answer with status 401
 * @throws TokenRefused if the answer says that the token is not valid
 */
export function throwRefusedToken(text: string): void {
  let answer: { data?: unknown; errors?: readonly { message?: unknown; extensions?: { category?: unknown } }[] } | null
  try {
    answer = JSON.parse(text)
  } catch {
    return // reported later as an answer that is not GraphQL
  }
  const [error] = Array.isArray(answer?.errors) ? answer.errors : []
  if (error?.extensions?.category !== AUTHENTICATION) return
  const fault = (Object.keys(TOKEN_FAULTS) as TokenFault[]).find((each) => TOKEN_FAULTS[each] === error.message)
  if (fault !== undefined) throw new TokenRefused(fault)
}

/** Codes of errors that no request should get: the service, or a subgraph, has failed. Subgraphs use them, too. */
const FAULTS: ReadonlySet<unknown> = new Set([
  'INTERNAL_SERVER_ERROR',
  'PLUGIN_FAILED',
  'SERVICE_UNAVAILABLE',
  'TOKEN_UNCHECKED',
] satisfies ErrorCode[])

/** Whether an error is a fault of the service and not of the request: `gateway_faulty_answers_total` counts them. */
export const isFault = ({ extensions }: Pick<GraphQLFormattedError, 'extensions'>): boolean =>
  FAULTS.has(extensions?.code)

/** An error with a code of the catalogue. */
export function codedError(
  message: string,
  code: ErrorCode,
  extensions: Readonly<Record<string, unknown>> = {},
): GraphQLError {
  return new GraphQLError(message, { extensions: { ...extensions, code } })
}
