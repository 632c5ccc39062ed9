/** What events and actors are called for people. */
import { valueText } from '../audit/terminal-text.ts'
import type { Json } from '../eventstore/port.ts'
import { type Html, html } from './html.ts'

/** `CustomerAddressChanged` as `Customer address changed`. */
export const eventWords = (type: string): string => {
  return sentence(type.replace(/([a-z\d])([A-Z])/g, '$1 $2').toLowerCase())
}

/** A value of a field, in one line: a list without its brackets, such as the lines of a street. */
export const valueWords = (value: Json): string =>
  Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string')
    ? value.map(valueText).join(', ')
    : valueText(value)

/** With a capital first. */
export const sentence = (words: string): string => words.charAt(0).toUpperCase() + words.slice(1)

/** Who did something, as a link where there is a page for them. */
export function actorShown(actor: string): Html {
  const [, id] = /^customer:([1-9]\d{0,14})$/.exec(actor) ?? []
  if (id !== undefined) return html`<a class="cell" href="/customers/${id}">${actor}</a>`
  return actor === '' ? html`<span class="soft">not recorded</span>` : html`${actor}`
}
