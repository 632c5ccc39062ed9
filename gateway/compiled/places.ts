/** Where entities are in an answer under way. */
import { type Data, isData, own } from './objects.ts'

/** Response names, and `@` for each element of a list. */
export type PlanPath = readonly (string | number)[]
export type ResponsePath = (string | number)[]

/** Adds the objects at a path to `found`: null and what is missing are left out. */
export function gather(value: unknown, path: PlanPath, found: Data[], at = 0): void {
  let current = value
  for (let index = at; index < path.length; index++) {
    if (current === undefined || current === null) return
    const key = path[index] as string
    if (key === '@') {
      if (!Array.isArray(current)) return
      for (const item of current) gather(item, path, found, index + 1)
      return
    }
    if (!isData(current)) return
    current = own(current, key)
  }
  if (Array.isArray(current)) for (const item of current) gather(item, path, found, path.length)
  else if (isData(current)) found.push(current)
}

/** The places of what {@link gather} finds, in the same order. */
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
    } else if (key === undefined) {
      if (isData(value)) found.push([...place])
    } else if (isData(value)) {
      place.push(key)
      walk(own(value, key as string), at + 1)
      place.pop()
    }
  }
  walk(root, 0)
  return found
}
