/** Fetches with contextual arguments (`@fromContext`). */
import type { FetchNode } from '@apollo/query-planner'
import type { GraphQLSchema } from 'graphql'
import { namesIn, type PlanPath, placesOf, type ResponsePath } from './entity-places.ts'
import {
  type Asked,
  ask,
  bodyOf,
  callerOf,
  entitiesOf,
  entityFetch,
  type FetchEnvironment,
  failure,
  mergeEntities,
  printBody,
  reportErrors,
  type Step,
} from './fetch.ts'
import { type Data, isData, own } from './json-objects.ts'
import type { Represent } from './representations.ts'
import { isOfType } from './rewrites.ts'

/**
 * A call for entities with contextual arguments (`@fromContext`): one call for each distinct set of arguments, because
 * they are variables of the operation.
 */
export function compileContextFetch(environment: FetchEnvironment, fetch: FetchNode, prefix: PlanPath): Step {
  const entities = entityFetch(environment, fetch, prefix)
  const { service } = entities
  const caller = callerOf(environment, service, entities.operation)
  const body = bodyOf(entities.operation, entities.operationName, entities.variables)
  const rewrites = fetch.contextRewrites ?? []
  const path = () => namesIn(prefix)
  return async (execution) => {
    const asked = ask({ ...entities, represent: numbered(entities.represent), identify: undefined }, execution.data)
    const places = placesOf(execution.data, prefix)
    const groups = new Map<string, number[]>()
    for (const [index, owner] of asked.owners.entries()) {
      const place = places[owner as number] ?? []
      const values: Data = {}
      for (const { path, renameKeyTo } of rewrites) {
        values[renameKeyTo] ??= valueAround(environment.schema, execution.data, place, path) ?? null
      }
      const key = JSON.stringify(values).slice(1, -1)
      groups.set(key, [...(groups.get(key) ?? []), index])
    }
    await Promise.all(
      [...groups].map(async ([members, indices]) => {
        const part: Asked = {
          texts: indices.map((index) => (asked.texts[index] as string).replace(/^\d+/, '')),
          entities: asked.entities,
          owners: indices.map((index) => asked.owners[index] as number),
        }
        const first = `"representations":[${part.texts.join(',')}]${members && ','}${members}`
        const answer = await caller.call(execution, printBody(body, execution.request.variables, first), path)
        if (!answer) return
        const which = ([, index, ...rest]: ResponsePath) =>
          typeof index === 'number' ? { fetch: entities, asked: part, index, rest } : undefined
        if (answer.errors) reportErrors(execution, answer.errors, which, [prefix])
        try {
          const received = entitiesOf(answer, '_entities', part.texts.length, service)
          if (received) mergeEntities(entities, part, received, 0)
        } catch (error) {
          execution.errors.push(failure(error, execution.request, path()))
        }
      }),
    )
  }
}

/** Makes equal representations distinct, because each entity has its own context. */
function numbered(represent: Represent): Represent {
  let next = 0
  return (entity) => {
    const text = represent(entity)
    return text === undefined ? undefined : `${next++}${text}`
  }
}

/** A value beside or above an entity: `..` goes one object up. */
function valueAround(schema: GraphQLSchema, data: Data, place: ResponsePath, path: readonly string[]): unknown {
  const ups = path.filter((part) => part === '..').length
  let end = place.length
  for (let up = 0; up < ups; up++) {
    end--
    while (end >= 0 && typeof place[end] === 'number') end--
  }
  let current: unknown = data
  for (const part of place.slice(0, Math.max(end, 0))) current = (current as Data)[part]
  for (const part of path.slice(ups)) {
    if (!isData(current)) return undefined
    if (part.startsWith('... on ')) {
      if (!isOfType(schema, current, part.slice('... on '.length), true)) return undefined
    } else current = own(current, part)
  }
  return current
}
