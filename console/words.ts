/** What events and actors are called for people. */
import { type Html, html } from './html.ts'

/** `CustomerAddressChanged` as `Customer address changed`. */
export const eventWords = (type: string): string => {
  return sentence(type.replace(/([a-z\d])([A-Z])/g, '$1 $2').toLowerCase())
}

/** With a capital first. */
export const sentence = (words: string): string => words.charAt(0).toUpperCase() + words.slice(1)

/** Who did something, as a link where there is a page for them. */
export function actorShown(actor: string): Html {
  const [, id] = /^customer:([1-9]\d{0,14})$/.exec(actor) ?? []
  if (id !== undefined) return html`<a class="cell" href="/customers/${id}">${actor}</a>`
  return actor === '' ? html`<span class="soft">not recorded</span>` : html`${actor}`
}
