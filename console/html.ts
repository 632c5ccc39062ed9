/**
 * HTML as a tagged template that escapes everything. There is no way to write raw HTML but the template itself, so a
 * stored value can't become markup.
 */
import { plain } from '../audit/terminal-text.ts'

/** A piece of HTML; only {@link html} makes one. */
class Markup {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  toString(): string {
    return this.text
  }
}
export type Html = Markup

/** What may stand in a template. `null`, `undefined` and booleans are nothing, so `${isOn && html`…`}` works. */
export type Content = string | number | bigint | boolean | null | undefined | Html | readonly Content[]

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/**
 * Escapes texts, and shows control and formatting characters (among them those that reverse a text) as `\u202e`: anybody may
 * have written a stored value. Put quotes around every attribute's value.
 */
export function html(strings: TemplateStringsArray, ...values: readonly Content[]): Html {
  let text = strings[0] ?? ''
  for (const [index, value] of values.entries()) text += textOf(value) + (strings[index + 1] ?? '')
  return new Markup(text)
}

/** A text with its line breaks: for `<pre>` and `<textarea>`. */
export function lines(text: string): Html {
  const parts = text.split('\n').map((line) => textOf(line))
  return new Markup(parts.join('\n'))
}

/** Nothing. */
export const EMPTY = new Markup('')

function textOf(value: Content): string {
  if (value instanceof Markup) return value.text
  if (value === null || value === undefined || typeof value === 'boolean') return ''
  if (Array.isArray(value)) return value.map(textOf).join('')
  if (typeof value === 'object') throw new TypeError('only texts, numbers, lists and html`…` go into a template')
  return plain(String(value)).replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '')
}
