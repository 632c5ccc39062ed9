/** A GraphQL request as HTTP brings it. */
import { requestError } from './operations.ts'

export type GraphQLRequest = {
  readonly query: string
  readonly operationName: string | undefined
  readonly variables: Readonly<Record<string, unknown>>
}

const noVariables: GraphQLRequest['variables'] = Object.freeze({})
const badRequest = (message: string) => requestError(message, 'BAD_REQUEST')

/** Reads the body of a POST. @throws RequestError saying what is wrong with it */
export function readBody(body: unknown): GraphQLRequest {
  if (Array.isArray(body)) throw badRequest('Batched requests are not accepted.')
  if (typeof body !== 'object' || body === null) throw badRequest('The body must be a JSON object with a "query".')
  return read(body)
}

/** Reads the parameters of a GET, where `variables` and `extensions` are JSON text. @throws RequestError */
export function readParameters(parameters: Readonly<Record<string, unknown>>): GraphQLRequest {
  return read({
    ...parameters,
    variables: parseParameter('variables', parameters.variables),
    extensions: parseParameter('extensions', parameters.extensions),
  })
}

function parseParameter(name: string, value: unknown): unknown {
  if (typeof value !== 'string' || value === '') return undefined
  try {
    return JSON.parse(value)
  } catch {
    throw badRequest(`The parameter "${name}" is not JSON.`)
  }
}

function read(sent: {
  query?: unknown
  operationName?: unknown
  variables?: unknown
  extensions?: unknown
}): GraphQLRequest {
  const { query, operationName, variables, extensions } = sent
  if (typeof query !== 'string' || query === '') throw badRequest('"query" must be a text with a GraphQL document.')
  if (operationName !== undefined && operationName !== null && typeof operationName !== 'string') {
    throw badRequest('"operationName" must be a text.')
  }
  if (!isObjectOrNothing(variables)) throw badRequest('"variables" must be an object.')
  if (!isObjectOrNothing(extensions)) throw badRequest('"extensions" must be an object.')
  return { query, operationName: operationName || undefined, variables: variables ?? noVariables }
}

function isObjectOrNothing(value: unknown): value is Record<string, unknown> | null | undefined {
  return value === undefined || value === null || (typeof value === 'object' && !Array.isArray(value))
}
