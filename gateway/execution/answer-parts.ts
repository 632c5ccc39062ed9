/** Joins a deferred part with what the client has already. */

import type { NewFields } from './incremental-formats.ts'
import { type Data, isData } from './json-objects.ts'

type Path = (string | number)[]

/** The part would take back what the client has: a null in it reaches out of the part. */
class Conflict extends Error {}

/**
 * Adds a part's fields to the answer so far. What the client has stays as it is: a field that is in several parts has the
 * value that was sent first.
 * @param answer the object that the part belongs to, as the client has it; it is completed in place
 * @param part all fields of the part; those that the client has are replaced by what it has
 * @returns the fields that are new, by object; undefined if the part can't be joined: then nothing has changed
 */
export function join(answer: Data, part: Data): readonly NewFields[] | undefined {
  const found: { readonly target: Data; readonly subPath: Path; readonly data: Data }[] = []
  const path: Path = []

  function joinObject(target: Data, source: Data): void {
    const data: Data = Object.create(null)
    let isNew = false
    for (const key of Object.keys(source)) {
      if (Object.hasOwn(target, key)) {
        path.push(key)
        source[key] = joinValue(target[key], source[key])
        path.pop()
      } else {
        data[key] = source[key]
        isNew = true
      }
    }
    if (isNew) found.push({ target, subPath: [...path], data })
  }

  function joinValue(before: unknown, value: unknown): unknown {
    if (isData(before)) {
      if (isData(value)) joinObject(before, value)
      else if (value === null) throw new Conflict()
      return isData(value) ? value : before
    }
    if (!Array.isArray(before)) return before
    if (value === null) throw new Conflict()
    if (!Array.isArray(value) || value.length !== before.length) return before
    return value.map((item, index) => {
      path.push(index)
      const joined = joinValue(before[index], item)
      path.pop()
      return joined
    })
  }

  try {
    joinObject(answer, part)
  } catch (error) {
    if (error instanceof Conflict) return undefined
    throw error
  }
  for (const { target, data } of found) Object.assign(target, data)
  return found.map(({ subPath, data }) => ({ subPath, data }))
}

/** The object at a path of an answer; undefined if there is none. */
export function objectAt(answer: unknown, path: readonly (string | number)[]): Data | undefined {
  let value = answer
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined
    value = (value as Record<string | number, unknown>)[part]
  }
  return isData(value) ? value : undefined
}

/** Whether a path leads to a value, or to a null on the way, and not to a field that is missing. */
export function reaches(answer: unknown, path: readonly (string | number)[]): boolean {
  let value = answer
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return true
    if (!Object.hasOwn(value, part)) return false
    value = (value as Record<string | number, unknown>)[part]
  }
  return true
}
