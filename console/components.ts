/** Small parts that pages share. */
import { type Content, type Html, html, lines } from './html.ts'

/**
 * A time in UTC; a script of the console adds the viewer's zone beside it.
 * @param shows `full`: date and time to the second; `clock`: hours and minutes
 */
export function time(value: Date | string, shows: 'full' | 'clock' = 'full'): Html {
  const iso = typeof value === 'string' ? value : value.toISOString()
  const [day = '', clock = ''] = iso.split('T')
  const text = shows === 'clock' ? `${clock.slice(0, 5)} UTC` : `${day} ${clock.slice(0, 8)} UTC`
  return html`<time datetime="${iso}" data-shows="${shows}">${text}</time>`
}

/** A command line to copy, folded away. */
export function commandBox(command: string): Html {
  return html`<details class="command"><summary>The same on the command line</summary>
<div class="copied"><pre tabindex="0" aria-label="Command">${lines(command)}</pre><button type="button" class="quiet" data-copy hidden>Copy</button></div></details>`
}

/** What a page shows where there is nothing, and what to do next. */
export function empty(title: string, next: Content): Html {
  return html`<div class="empty"><p><strong>${title}</strong></p><p>${next}</p></div>`
}

/** A mark beside a text: not by its colour alone. */
export function badge(text: string, kind: 'plain' | 'good' | 'warning' | 'bad' = 'plain'): Html {
  return html`<span class="badge ${kind}">${text}</span>`
}

export interface Column {
  readonly label: string
  /** Of numbers. */
  readonly isNumber?: boolean
}

/**
 * A table that scrolls sideways by itself where the page is narrow.
 * @param caption what it lists, for those who do not see it
 */
export const table = (caption: string, columns: readonly Column[], rows: readonly (readonly Content[])[]): Html =>
  html`<div class="table" role="region" aria-label="${caption}" tabindex="0">${tableOf(caption, columns, rows)}</div>`

/** A table inside something else: it does not scroll, long values are broken. */
export const smallTable = (caption: string, columns: readonly Column[], rows: readonly (readonly Content[])[]): Html =>
  html`<div class="small-table">${tableOf(caption, columns, rows)}</div>`

/** Names and values. */
export function facts(entries: readonly (readonly [string, Content])[]): Html {
  return html`<dl class="facts">${entries.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`
}

/** A number with its thousands: 1,234,567. */
export const count = (value: number | bigint): string => value.toLocaleString('en')

function tableOf(caption: string, columns: readonly Column[], rows: readonly (readonly Content[])[]): Html {
  const isNumber = (index: number) => columns[index]?.isNumber === true && html` class="number"`
  return html`<table>
<caption>${caption}</caption>
<thead><tr>${columns.map(({ label }, index) => html`<th scope="col"${isNumber(index)}>${label}</th>`)}</tr></thead>
<tbody>${rows.map((cells) => html`<tr>${cells.map((cell, index) => html`<td${isNumber(index)}>${cell}</td>`)}</tr>`)}</tbody></table>`
}
