/**
 * The number of values in a JSON text, counted before it is parsed. Parsed values take far more memory than their text:
 * a megabyte of brackets becomes 500,000 arrays, which are 28 MB and a tenth of a second.
 */

/** The default limit of a request. A list of so many texts takes a few milliseconds. */
export const MAX_JSON_VALUES = 25_000

const [QUOTE, BACKSLASH, COMMA, BRACKET, BRACE] = [0x22, 0x5c, 0x2c, 0x5b, 0x7b]

/**
 * Whether a JSON text has more than `max` values: lists and objects, and what is in them. Texts that can't have so many
 * are not read. What it says of a text that is not JSON does not matter, because that is not parsed to the end.
 */
export function hasMoreValues(text: string, max: number): boolean {
  if (text.length <= max) return false
  let values = 0
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code === QUOTE) {
      index = endOfText(text, index)
    } else if (code === COMMA || code === BRACKET || code === BRACE) {
      values++
      if (values > max) return true
    }
  }
  return false
}

/** The index of the quote that ends the text which begins at `start`. */
function endOfText(text: string, start: number): number {
  let index = start + 1
  for (; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code === QUOTE) break
    if (code === BACKSLASH) index++
  }
  return index
}
