/** The fetches of a plan: what each sends, and where its answer is merged. */
import type { FetchNode } from '@apollo/query-planner'
import { type GraphQLFormattedError, type GraphQLSchema, parse } from 'graphql'
import { Cancelled } from '../cancellation.ts'
import { PluginError } from '../plugins/run.ts'
import { readAnswer, type SubgraphAnswer, type SubgraphClient, SubgraphUnavailable } from '../subgraphs/client.ts'
import { clientError, failedPath, numericIndices, responseNames } from '../subgraphs/errors.ts'
import { hasCustomScalars } from './custom-scalars.ts'
import { gather, namesIn, type PlanPath, placesOf, type ResponsePath } from './entity-places.ts'
import { type ExecutionRequest, headersFor } from './executor.ts'
import { copy, type Data, isData, merge, own } from './json-objects.ts'
import { mergeOperations } from './merged-operations.ts'
import { compileIdentity, compileRepresentations, type Identify, type Represent } from './representations.ts'
import { compileRewrites, type Rewrite, renamedKeys } from './rewrites.ts'

/** One execution under way. */
export interface Execution {
  readonly request: ExecutionRequest
  readonly errors: GraphQLFormattedError[]
  data: Data
  /** The calls under way, by subgraph and body; only if the plan has calls that may be identical. */
  readonly flights: Map<string, ReturnType<SubgraphClient>> | undefined
  /** Called with the id of each fetch that a deferred fragment waits for. */
  readonly arrived?: (id: string) => void
}

/** Executes a part of a plan. It never throws: failures are added to the execution's errors. */
export type Step = (execution: Execution) => Promise<void> | void

export interface FetchEnvironment {
  /** The whole supergraph. */
  readonly schema: GraphQLSchema
  readonly subgraphs: Readonly<Record<string, SubgraphClient>>
  /** The names of the interfaces. */
  readonly abstract: ReadonlySet<string>
}

/** A body without its variables' values: text before and after them. */
interface Body {
  readonly query: string
  readonly tail: string
  readonly variables: readonly string[]
}

export function bodyOf(operation: string, name: string | undefined, variables: readonly string[]): Body {
  return {
    query: `{"query":${JSON.stringify(operation)}`,
    tail: `${name === undefined ? '' : `,"operationName":${JSON.stringify(name)}`}}`,
    variables,
  }
}

/** @param first members of `variables` that the gateway adds, as JSON including their names */
export function printBody(
  { query, tail, variables }: Body,
  values: Readonly<Record<string, unknown>>,
  first: string,
): string {
  let members = first
  for (const name of variables) {
    const value = Object.hasOwn(values, name) ? values[name] : undefined
    if (value !== undefined) members += `${members && ','}${JSON.stringify(name)}:${JSON.stringify(value)}`
  }
  return members ? `${query},"variables":{${members}}${tail}` : query + tail
}

/** Calls one subgraph with one operation. Failures are added to the execution's errors. */
export interface Caller {
  call(execution: Execution, body: string, path: () => ResponsePath): Promise<SubgraphAnswer | undefined>
}

/** @param operation used to find out whether the answer may have numbers that must be kept exactly */
export function callerOf(
  { schema, subgraphs }: FetchEnvironment,
  service: string,
  operation: string,
  mutation = false,
): Caller {
  const client = subgraphs[service]
  const keepsDigits = hasCustomScalars(schema, operation)
  return {
    async call(execution, body, path) {
      const { request, flights } = execution
      const { cancellation } = request
      if (cancellation?.isCancelled) return undefined
      try {
        if (!client) throw new Error(`There is no subgraph "${service}".`)
        const key = flights && `${service}\n${body}`
        let flight = key === undefined ? undefined : flights?.get(key)
        if (!flight) {
          flight = client({ body, headers: headersFor(request, service), mutation, cancellation, hooks: request.hooks })
          if (key !== undefined) flights?.set(key, flight)
        }
        const raw = await flight
        if (cancellation?.isCancelled) return undefined
        request.received(raw, service)
        return readAnswer(service, raw, keepsDigits)
      } catch (error) {
        if (error instanceof Cancelled) return undefined
        execution.errors.push(failure(error, request, path()))
        return undefined
      }
    },
  }
}

export function failure(error: unknown, request: ExecutionRequest, path: ResponsePath): GraphQLFormattedError {
  if (error instanceof SubgraphUnavailable) request.unavailable(error)
  else if (!(error instanceof PluginError)) return request.mask(error)
  const { message, extensions } = error
  return { message, ...(path.length > 0 && { path }), extensions }
}

/**
 * A call for root fields.
 * @param prefix where the plan merges them: usually the root
 * @param caller makes the call
 */
export function compileRootFetch(
  environment: FetchEnvironment,
  fetch: FetchNode,
  prefix: PlanPath,
  caller = callerOf(environment, fetch.serviceName, fetch.operation, fetch.operationKind === 'mutation'),
): Step {
  const { schema, abstract } = environment
  const { operation, operationName, variableUsages = [] } = fetch
  const body = bodyOf(operation, operationName, variableUsages)
  const constant = variableUsages.length === 0 ? printBody(body, {}, '') : undefined
  const rewrite = compileRewrites(schema, fetch.outputRewrites)
  const renamed = renamedKeys(fetch.outputRewrites)
  let names: string[] | undefined
  const path = () => {
    names ??= responseNames(parse(operation))
    return failedPath(namesIn(prefix), names)
  }
  return async (execution) => {
    const targets: Data[] = []
    if (prefix.length > 0) {
      gather(execution.data, prefix, targets)
      if (targets.length === 0) return
    }
    const text = constant ?? printBody(body, execution.request.variables, '')
    const answer = await caller.call(execution, text, path)
    if (!answer) return
    for (const error of answer.errors ?? []) {
      const at = numericIndices(error.path)
      execution.errors.push(clientError(error, at && [...namesIn(prefix), ...rename(at, renamed)]))
    }
    const { data } = answer
    if (!data) return
    rewrite?.(data)
    if (prefix.length === 0) {
      if (execution.data === NOTHING_YET) execution.data = data
      else merge(execution.data, data, abstract)
    } else for (const [index, target] of targets.entries()) merge(target, index === 0 ? data : copy(data), abstract)
  }
}

/** The data of an execution before the first answer, which replaces it. */
export const NOTHING_YET: Data = Object.freeze(Object.create(null))

function rename(path: ResponsePath, names: ReadonlyMap<string, string>): ResponsePath {
  return names.size === 0 ? path : path.map((part) => names.get(part as string) ?? part)
}

/** A call for entities, before it is merged with others. */
export interface EntityFetch {
  /** Set if deferred fragments wait for it. */
  readonly id: string | undefined
  readonly service: string
  readonly operation: string
  readonly operationName: string | undefined
  readonly variables: readonly string[]
  readonly prefix: PlanPath
  readonly represent: Represent
  readonly identify: Identify | undefined
  readonly rewrite: Rewrite | undefined
  /** See {@link renamedKeys}. */
  readonly renamed: ReadonlyMap<string, string>
  readonly abstract: ReadonlySet<string>
}

export function entityFetch(environment: FetchEnvironment, fetch: FetchNode, prefix: PlanPath): EntityFetch {
  const { schema, abstract } = environment
  return {
    id: fetch.id,
    service: fetch.serviceName,
    operation: fetch.operation,
    operationName: fetch.operationName,
    variables: fetch.variableUsages ?? [],
    prefix,
    represent: compileRepresentations(schema, fetch),
    identify: compileIdentity(fetch),
    rewrite: compileRewrites(schema, fetch.outputRewrites),
    renamed: renamedKeys(fetch.outputRewrites),
    abstract,
  }
}

/** The representations of a fetch's entities, without duplicates, and the entities of each. */
export interface Asked {
  readonly texts: string[]
  readonly entities: Data[]
  readonly owners: (number | number[])[]
}

export function ask({ prefix, represent, identify }: EntityFetch, data: Data): Asked {
  const entities: Data[] = []
  gather(data, prefix, entities)
  const texts: string[] = []
  const owners: (number | number[])[] = []
  if (entities.length === 1) {
    const text = represent(entities[0] as Data)
    if (text !== undefined) {
      texts.push(text)
      owners.push(0)
    }
    return { texts, entities, owners }
  }
  const identities = new Map<string | number, number>()
  const printed = new Map<string, number>()
  for (let index = 0; index < entities.length; index++) {
    const entity = entities[index] as Data
    const identity = identify?.(entity)
    let before = identity === undefined ? undefined : identities.get(identity)
    if (before === undefined) {
      const text = represent(entity)
      if (text === undefined) continue
      before = identity === undefined ? printed.get(text) : undefined
      if (before === undefined) {
        if (identity === undefined) printed.set(text, texts.length)
        else identities.set(identity, texts.length)
        texts.push(text)
        owners.push(index)
        continue
      }
    }
    const owner = owners[before] as number | number[]
    if (typeof owner === 'number') owners[before] = [owner, index]
    else owner.push(index)
  }
  return { texts, entities, owners }
}

/** Merges the entities of an answer into the data. @param at the index of this fetch's first entity in the answer */
export function mergeEntities(
  { rewrite, abstract }: EntityFetch,
  { texts, entities, owners }: Asked,
  received: readonly unknown[],
  at: number,
): void {
  for (let index = 0; index < texts.length; index++) {
    const entity = received[at + index]
    if (!isData(entity)) continue
    const owner = owners[index] as number | number[]
    const first = entities[typeof owner === 'number' ? owner : (owner[0] as number)] as Data
    if (!own(entity, '__typename')) entity.__typename = first.__typename
    rewrite?.(entity)
    // From here on, values inside an entity may be shared between objects, because later answers for the same place are
    // the same for all.
    if (typeof owner === 'number') merge(first, entity, abstract)
    else for (const each of owner) merge(entities[each] as Data, entity, abstract)
  }
}

/** The client's paths of an error about one entity: one for each place where it is. */
function placesOfError(
  fetch: EntityFetch,
  asked: Asked,
  data: Data,
  index: number,
  rest: ResponsePath,
): ResponsePath[] {
  const owner = asked.owners[index]
  if (owner === undefined) return [namesIn(fetch.prefix)]
  const places = placesOf(data, fetch.prefix)
  const inside = rename(rest, fetch.renamed)
  return [owner].flat().map((each) => [...(places[each] ?? namesIn(fetch.prefix)), ...inside])
}

export function reportErrors(
  execution: Execution,
  errors: readonly GraphQLFormattedError[],
  which: (path: ResponsePath) => { fetch: EntityFetch; asked: Asked; index: number; rest: ResponsePath } | undefined,
  otherwise: readonly PlanPath[],
): void {
  const places = new Map(otherwise.map((prefix) => [namesIn(prefix).join('.'), namesIn(prefix)]))
  for (const error of errors) {
    const path = numericIndices(error.path)
    const about = path && which(path)
    if (about) {
      const { fetch, asked, index, rest } = about
      for (const place of placesOfError(fetch, asked, execution.data, index, rest)) {
        execution.errors.push(clientError(error, place))
      }
    } else if (!path) execution.errors.push(clientError(error, undefined))
    // Reports a failure for all entities, at every place where one was expected.
    else for (const place of places.values()) execution.errors.push(clientError(error, place))
  }
}

/**
 * The `_entities` under a name, which must be as many as were requested. @throws SubgraphUnavailable for another number
 * without an error
 */
export function entitiesOf(
  answer: SubgraphAnswer,
  key: string,
  count: number,
  service: string,
): readonly unknown[] | undefined {
  const { data, errors } = answer
  if (!data) return undefined
  const entities = own(data, key)
  if (Array.isArray(entities) && entities.length === count) return entities
  if (errors?.length) return undefined
  throw new SubgraphUnavailable(service, `The "${service}" service sent an answer that does not fit the question.`)
}

/** A call for the entities at one place, or at several with the same operation. */
export function compileEntityFetch(environment: FetchEnvironment, fetches: readonly EntityFetch[]): Step {
  const [first] = fetches as [EntityFetch]
  const { service, operation } = first
  const caller = callerOf(environment, service, operation)
  const body = bodyOf(operation, first.operationName, first.variables)
  const head = '"representations":['
  let names: string[] | undefined
  return async (execution) => {
    const asked: Asked[] = []
    const starts: number[] = []
    let representations = ''
    let count = 0
    for (const fetch of fetches) {
      const own = ask(fetch, execution.data)
      asked.push(own)
      starts.push(count)
      if (own.texts.length === 0) continue
      representations += `${representations && ','}${own.texts.join(',')}`
      count += own.texts.length
    }
    if (count === 0) return
    const { prefix } = fetches[asked.findIndex(({ texts }) => texts.length > 0)] as EntityFetch
    const path = () => {
      names ??= responseNames(parse(operation))
      return failedPath(namesIn(prefix), names)
    }
    const text = printBody(body, execution.request.variables, `${head}${representations}]`)
    const answer = await caller.call(execution, text, path)
    if (!answer) return
    if (answer.errors) {
      const which = (path: ResponsePath) => {
        const [, index, ...rest] = path
        if (typeof index !== 'number') return undefined
        const of = starts.findLastIndex((start, each) => start <= index && (asked[each] as Asked).texts.length > 0)
        return {
          fetch: fetches[of] as EntityFetch,
          asked: asked[of] as Asked,
          index: index - (starts[of] as number),
          rest,
        }
      }
      const prefixes = fetches.flatMap((each, index) => ((asked[index] as Asked).texts.length > 0 ? [each.prefix] : []))
      reportErrors(execution, answer.errors, which, prefixes)
    }
    try {
      const received = entitiesOf(answer, '_entities', count, service)
      if (received)
        for (const [of, fetch] of fetches.entries())
          mergeEntities(fetch, asked[of] as Asked, received, starts[of] as number)
    } catch (error) {
      execution.errors.push(failure(error, execution.request, path()))
    }
  }
}

/**
 * Calls for entities of one subgraph whose operations differ, as one call, in which each has its own alias of
 * `_entities`.
 * @returns undefined if they can't be merged
 */
export function compileMergedFetch(environment: FetchEnvironment, fetches: readonly EntityFetch[]): Step | undefined {
  const merged = mergeOperations(fetches.map(({ operation }) => operation))
  if (!merged) return undefined
  const { service } = fetches[0] as EntityFetch
  const caller = callerOf(environment, service, merged.text)
  const variables = [...new Set(fetches.flatMap(({ variables }) => variables))]
  const body = bodyOf(merged.text, merged.name, variables)
  const alone = fetches.map((fetch) => compileEntityFetch(environment, [fetch]))
  return async (execution) => {
    const asked = fetches.map((fetch) => ask(fetch, execution.data))
    const busy = asked.flatMap(({ texts }, index) => (texts.length > 0 ? [index] : []))
    const [only] = busy
    if (only === undefined) return
    if (busy.length === 1) return alone[only]?.(execution)
    const lists = asked.map(({ texts }, index) => `"representations_${index}":[${texts.join(',')}]`)
    const path = () => namesIn((fetches[only] as EntityFetch).prefix)
    const text = printBody(body, execution.request.variables, lists.join(','))
    const answer = await caller.call(execution, text, path)
    if (!answer) return
    const which = (path: ResponsePath) => {
      const [key, index, ...rest] = path
      const of = fetches.findIndex((_, each) => key === `_${each}`)
      // If one list of entities fails as a whole, the others are lost with it.
      if (of < 0 || (typeof index !== 'number' && !answer.data)) return undefined
      return {
        fetch: fetches[of] as EntityFetch,
        asked: asked[of] as Asked,
        index: typeof index === 'number' ? index : -1,
        rest,
      }
    }
    if (answer.errors) {
      const prefixes = busy.map((index) => (fetches[index] as EntityFetch).prefix)
      reportErrors(execution, answer.errors, which, prefixes)
    }
    for (const index of busy) {
      const fetch = fetches[index] as EntityFetch
      const own = asked[index] as Asked
      try {
        const received = entitiesOf(answer, `_${index}`, own.texts.length, service)
        if (received) mergeEntities(fetch, own, received, 0)
      } catch (error) {
        execution.errors.push(failure(error, execution.request, namesIn(fetch.prefix)))
      }
    }
  }
}
