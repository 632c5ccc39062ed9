/** Parses a GraphQL request from HTTP. */
import { requestError } from '../errors.ts'
import { mayLoseDigits, parseExactly, parseKeepingDigits } from '../exact-numbers.ts'

export interface GraphQLRequest {
  /** Absent if the request names a persisted query. */
  readonly query: string | undefined
  /** The id of a persisted query: `documentId`, `doc_id` (of Relay's guide) or `id`. */
  readonly documentId: string | undefined
  readonly extensions: Readonly<Record<string, unknown>> | undefined
  readonly operationName: string | undefined
  readonly variables: Readonly<Record<string, unknown>>
  /** Whether there may be RawNumbers in the variables: see exact-numbers.ts. */
  readonly hasRawNumbers: boolean
}

const noVariables: GraphQLRequest['variables'] = Object.freeze({})
const badRequest = (message: string) => requestError(message, 'BAD_REQUEST')

/**
 * Reads the body of a POST.
 * @param batchLimit the most requests in a batch, which is returned unparsed; 0: none
 * @throws RequestError saying what is wrong with it
 */
export function readBody(body: unknown, batchLimit: number): GraphQLRequest | readonly unknown[] {
  if (Array.isArray(body)) {
    if (batchLimit === 0) throw badRequest('Batched requests are not accepted.')
    if (body.length === 0) throw badRequest('The batch is empty.')
    if (body.length <= batchLimit) return body
    throw badRequest(`The batch has ${body.length} requests; at most ${batchLimit} are accepted.`)
  }
  if (typeof body !== 'object' || body === null) throw badRequest('The body must be a JSON object with a "query".')
  return read(body as Readonly<Record<string, unknown>>)
}

/** Reads the parameters of a GET, where `variables` and `extensions` are JSON text. @throws RequestError */
export function readParameters(parameters: Readonly<Record<string, unknown>>): GraphQLRequest {
  const request = {
    ...parameters,
    variables: parseParameter('variables', parameters.variables),
    extensions: parseParameter('extensions', parameters.extensions),
  }
  if (typeof parameters.variables === 'string' && mayLoseDigits(parameters.variables)) exactBodies.add(request)
  return read(request)
}

const exactBodies = new WeakSet<object>()

/**
 * Parses a body whose numbers have more digits than JavaScript can represent: they become RawNumbers.
 * @returns undefined if that is not needed, and for invalid JSON
 * @throws RequestError for a value that is nested too deeply
 */
export function parseBody(text: string): unknown {
  if (!mayLoseDigits(text)) return undefined
  let body: unknown
  try {
    body = parseExactly(text)
  } catch (error) {
    if (error instanceof RangeError) throw badRequest('The body is nested too deeply.')
    return undefined
  }
  for (const each of Array.isArray(body) ? body : [body]) {
    if (typeof each === 'object' && each !== null) exactBodies.add(each)
  }
  return body
}

function parseParameter(name: string, value: unknown): unknown {
  if (Array.isArray(value)) throw badRequest(`The parameter "${name}" is there more than once.`)
  if (typeof value !== 'string' || value === '') return undefined
  try {
    return parseKeepingDigits(value)
  } catch {
    throw badRequest(`The parameter "${name}" is not JSON.`)
  }
}

function read(sent: Readonly<Record<string, unknown>>): GraphQLRequest {
  const { query, operationName, variables, extensions } = sent
  const documentId = sent.documentId ?? sent.doc_id ?? sent.id
  const isPersisted = typeof documentId === 'string' || isPersistedQuery(extensions)
  if (query !== undefined && query !== null && typeof query !== 'string') throw badRequest('"query" must be a text.')
  if (!query && !isPersisted) throw badRequest('"query" must be a text with a GraphQL document.')
  if (operationName !== undefined && operationName !== null && typeof operationName !== 'string') {
    throw badRequest('"operationName" must be a text.')
  }
  if (!isObjectOrNothing(variables)) throw badRequest('"variables" must be an object.')
  if (!isObjectOrNothing(extensions)) throw badRequest('"extensions" must be an object.')
  return {
    query: query || undefined,
    documentId: typeof documentId === 'string' ? documentId : undefined,
    operationName: operationName || undefined,
    variables: variables ?? noVariables,
    hasRawNumbers: exactBodies.has(sent),
    extensions: extensions ?? undefined,
  }
}

const isPersistedQuery = (extensions: unknown): boolean =>
  isObjectOrNothing(extensions) && extensions?.persistedQuery !== undefined && extensions.persistedQuery !== null

function isObjectOrNothing(value: unknown): value is Record<string, unknown> | null | undefined {
  return value === undefined || value === null || (typeof value === 'object' && !Array.isArray(value))
}
