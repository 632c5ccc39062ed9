/**
 * Numbers whose digits JavaScript would change: 9007199254740993 becomes ...992, 19.90 becomes 19.9, 1e400 Infinity.
 * They are kept as raw JSON, which JSON.stringify writes unchanged. Only values of custom scalars need this.
 */

/** A number as its text, made by JSON.rawJSON. */
export interface RawNumber {
  readonly rawJSON: string
}

interface ExactJson {
  isRawJSON(value: unknown): value is RawNumber
  rawJSON(text: string): RawNumber
  parse(text: string, revive: (key: string, value: unknown, context: { source?: string }) => unknown): unknown
}
// TypeScript does not know of them yet.
const { isRawJSON, rawJSON, parse } = JSON as unknown as ExactJson

export const isRawNumber: (value: unknown) => value is RawNumber = isRawJSON

/**
 * Whether the text may have a number that JSON.parse would change. Quick and approximate: it also matches inside
 * strings.
 */
export const mayLoseDigits = (text: string): boolean => /[\d.]{16}|\.\d*0(?!\d)|\d[eE]/.test(text)

/** Parses a JSON number: a RawNumber if its digits would change. */
export function exact(_key: string, value: unknown, { source }: { source?: string }): unknown {
  return typeof value === 'number' && source !== undefined && String(value) !== source ? rawJSON(source) : value
}

/** JSON.parse with RawNumbers in it. @throws SyntaxError, and RangeError for a value that is nested too deeply */
export const parseExactly = (text: string): unknown => parse(text, exact)

/** The same, at the cost of JSON.parse if no number needs it. */
export const parseKeepingDigits = (text: string): unknown =>
  mayLoseDigits(text) ? parseExactly(text) : JSON.parse(text)

/** A JSON value without RawNumbers; the given one if it has none. */
export const numberOf = (value: unknown): unknown => (isRawNumber(value) ? Number(value.rawJSON) : value)
