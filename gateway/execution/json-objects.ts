/** Objects parsed from a subgraph's JSON: any name may be a key, also one that every object inherits. */

import { isRawNumber } from '../exact-numbers.ts'

export type Data = Record<string, unknown>

export const isData = (value: unknown): value is Data =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The names that every object inherits. */
export const isInherited = (name: string): boolean => name in Object.prototype

/** An object's own value. */
export function own(object: Data, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined
}

/** Sets a value under any name, `__proto__` too. */
export function setOwn(object: Data, key: string, value: unknown): void {
  if (key === '__proto__') {
    Object.defineProperty(object, key, { value, configurable: true, enumerable: true, writable: true })
  } else object[key] = value
}

/**
 * Merges the result of a later fetch into the data: objects, and lists of the same length, are merged. null never
 * replaces a value: if a subgraph failed, the value of another one is kept.
 * @param abstract the names of interfaces. A subgraph with `@interfaceObject` returns them as `__typename`; a known
 * concrete type is kept.
 */
export function merge(target: Data, source: Data, abstract: ReadonlySet<string>): void {
  for (const key in source) {
    const value = source[key]
    if (value === undefined) continue
    const before = Object.hasOwn(target, key) ? target[key] : undefined
    if (before === undefined || before === null) setOwn(target, key, value)
    else if (value === null) continue
    else if (typeof value !== 'object') {
      if (key !== '__typename' || value === before || !abstract.has(value as string)) setOwn(target, key, value)
    } else if (Array.isArray(value)) {
      if (Array.isArray(before) && before.length === value.length) mergeLists(before, value, abstract)
      else setOwn(target, key, value)
    } else if (isData(before) && !isNumber(value as Data)) merge(before, value as Data, abstract)
    else setOwn(target, key, value)
  }
}

function mergeLists(target: unknown[], source: readonly unknown[], abstract: ReadonlySet<string>): void {
  for (let index = 0; index < source.length; index++) {
    const [before, value] = [target[index], source[index]]
    if (isData(before) && isData(value) && !isNumber(value)) merge(before, value, abstract)
    else if (Array.isArray(before) && Array.isArray(value) && before.length === value.length) {
      mergeLists(before, value, abstract)
    } else if (value !== null || before === undefined) target[index] = value
  }
}

/** Whether it is a RawNumber, which is an object. The first check is cheap. */
const isNumber = (value: Data): boolean => value.rawJSON !== undefined && isRawNumber(value)

/** Copies JSON; RawNumbers are kept. */
export function copy<T>(value: T): T {
  if (Array.isArray(value)) return value.map(copy) as T
  if (!isData(value) || isNumber(value)) return value
  const result: Data = {}
  for (const key of Object.keys(value)) setOwn(result, key, copy(value[key]))
  return result as T
}
