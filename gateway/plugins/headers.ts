/** Headers that plugins set: what is refused, and how one is put into a list of names and values in turn. */
import { isReservedHeader } from '../subgraphs/headers.ts'

const NAME = /^[a-z0-9!#$%&'*+.^_`|~-]+$/
/** What HTTP allows in a value; above all no line feeds. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/**
 * @returns the name in lower case
 * @throws TypeError for a header that a plugin can't set. The message never has the value
 */
export function checkedHeader(name: string, value: unknown): string {
  const lower = typeof name === 'string' ? name.toLowerCase() : ''
  if (!NAME.test(lower)) throw new TypeError('The name of a header is not one of HTTP.')
  if (isReservedHeader(lower)) throw new TypeError(`The gateway itself sets the header "${lower}".`)
  if (value !== undefined && (typeof value !== 'string' || !VALUE.test(value))) {
    throw new TypeError(`The value of the header "${lower}" is not one of HTTP.`)
  }
  return lower
}

/** The value under a name in lower case; undefined if there is none. */
export function headerIn(list: readonly string[], name: string): string | undefined {
  for (let at = 0; at < list.length; at += 2) if (list[at]?.toLowerCase() === name) return list[at + 1]
  return undefined
}

/** The list with that header in place of any of its name. @param value undefined: without it */
export function withHeader(list: readonly string[], name: string, value: string | undefined): string[] {
  const result: string[] = []
  for (let at = 0; at < list.length; at += 2) {
    if (list[at]?.toLowerCase() !== name) result.push(list[at] as string, list[at + 1] as string)
  }
  if (value !== undefined) result.push(name, value)
  return result
}
