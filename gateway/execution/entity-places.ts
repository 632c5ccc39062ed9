/** The places of entities in an answer under construction. */
import type { GraphQLSchema } from 'graphql'
import { type Data, isData, own } from './json-objects.ts'
import { kindsOf } from './rewrites.ts'

/** Response names, `@` for each element of a list, and the types that an object must have. */
export type PlanPath = readonly (string | ReadonlySet<string>)[]
export type ResponsePath = (string | number)[]

/**
 * In a plan's path the types are attached to the name before them, as in `@|[Book,Film]`, and the first name may be
 * empty.
 */
const CONDITION = /^(.*)\|\[(.*)\]$/

/** @param schema the whole supergraph */
export function readPath(schema: GraphQLSchema, path: readonly (string | number)[]): PlanPath {
  return path.flatMap((part) => {
    const [, name = String(part), types] = CONDITION.exec(String(part)) ?? []
    const names = name === '' ? [] : [name]
    return types === undefined ? names : [...names, new Set(types.split(',').flatMap((each) => kindsOf(schema, each)))]
  })
}

/** A path without types. */
export const namesIn = (path: PlanPath): string[] => path.filter((part) => typeof part === 'string')

const isMeant = (object: Data, types: ReadonlySet<string>): boolean => types.has(own(object, '__typename') as string)

/** Adds the objects at a path to `found`, except null and missing ones. */
export function gather(value: unknown, path: PlanPath, found: Data[], at = 0): void {
  let current = value
  for (let index = at; index < path.length; index++) {
    if (current === undefined || current === null) return
    const key = path[index] as string | ReadonlySet<string>
    if (key === '@') {
      if (!Array.isArray(current)) return
      for (const item of current) gather(item, path, found, index + 1)
      return
    }
    if (!isData(current)) return
    if (typeof key === 'string') current = own(current, key)
    else if (!isMeant(current, key)) return
  }
  if (Array.isArray(current)) for (const item of current) gather(item, path, found, path.length)
  else if (isData(current)) found.push(current)
}

/** The places of the objects that {@link gather} finds, in the same order. */
export function placesOf(root: unknown, path: PlanPath): ResponsePath[] {
  const found: ResponsePath[] = []
  const place: ResponsePath = []
  const walk = (value: unknown, at: number): void => {
    if (value === undefined || value === null) return
    const key = path[at]
    if (Array.isArray(value) && (key === '@' || key === undefined)) {
      for (const [index, item] of value.entries()) {
        place.push(index)
        walk(item, key === '@' ? at + 1 : at)
        place.pop()
      }
    } else if (!isData(value)) return
    else if (key === undefined) found.push([...place])
    else if (typeof key === 'string') {
      place.push(key)
      walk(own(value, key), at + 1)
      place.pop()
    } else if (isMeant(value, key)) walk(value, at + 1)
  }
  walk(root, 0)
  return found
}
