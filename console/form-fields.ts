/** Fields of forms, each with its label. */
import { Refused } from './errors.ts'
import { type Content, type Html, html } from './html.ts'

/** @param options.hint beside the label @param options.value what was given before */
export function textField(
  name: string,
  label: string,
  options: {
    readonly hint?: string
    readonly value?: string | null
    readonly type?: 'text' | 'date' | 'number'
    readonly required?: boolean
    readonly maxLength?: number
    /** Distinguishes fields of the same name in several forms of a page. */
    readonly form?: string
  } = {},
): Html {
  const { hint, value, type = 'text', required = false, maxLength, form = '' } = options
  const id = `${form}${name}`
  return html`<div>${labelOf(id, label, hint)}<input id="${id}" name="${name}" type="${type}" autocomplete="off"${value && html` value="${value}"`}${required && html` required`}${maxLength !== undefined && html` maxlength="${maxLength}"`}></div>`
}

/** A text of several lines. */
export function textArea(
  name: string,
  label: string,
  options: { readonly hint?: string; readonly required?: boolean; readonly maxLength: number; readonly form?: string },
): Html {
  const { hint, required = false, maxLength, form = '' } = options
  const id = `${form}${name}`
  return html`<div class="wide">${labelOf(id, label, hint)}<textarea id="${id}" name="${name}" rows="2" maxlength="${maxLength}"${required && html` required`}></textarea></div>`
}

export function choiceField(
  name: string,
  label: string,
  choices: readonly string[],
  options: { readonly value?: string | null; readonly form?: string; readonly hint?: string } = {},
): Html {
  const { value, form = '', hint } = options
  const id = `${form}${name}`
  return html`<div>${labelOf(id, label, hint)}<select id="${id}" name="${name}" required>
<option value="">Choose…</option>
${choices.map((each) => html`<option value="${each}"${each === value && html` selected`}>${words(each)}</option>`)}
</select></div>`
}

const labelOf = (id: string, label: string, hint: Content): Html =>
  html`<label for="${id}">${label}${hint && html` <small>${hint}</small>`}</label>`

/** `mailed-link` as `mailed link`. */
export const words = (value: string): string =>
  value.replaceAll('-', ' ').replace(/\b(e) (mail)\b|\b(sign) (in)\b/g, (pair) => pair.replace(' ', '-'))

/** A field's value, which has to be one of the choices. @throws Refused 400 */
export function chosen<T extends string>(form: URLSearchParams, name: string, label: string, choices: readonly T[]): T {
  const given = form.get(name)
  const found = choices.find((each) => each === given)
  if (found !== undefined) return found
  throw new Refused(400, `${label}: choose one of ${choices.map(words).join(', ')}. Nothing was done.`)
}

/** A text without blanks around it; undefined for none. */
export const textOf = (form: URLSearchParams, name: string): string | undefined => form.get(name)?.trim() || undefined
