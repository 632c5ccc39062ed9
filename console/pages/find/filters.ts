/** The filters of Find: in the address of the page, in its form, and as options of the command line. */
import type { Criteria } from '../../../audit/criteria.ts'
import { criteriaOf, type FilterOptions } from '../../../audit/subcommands/filters.ts'
import { zoneOf } from '../../../audit/subcommands/times.ts'
import type { Position } from '../../../eventstore/port.ts'
import { UsageError } from '../../../runtime/errors.ts'
import { Refused } from '../../errors.ts'

const LISTS = ['actor', 'type', 'field', 'request', 'event', 'access'] as const
const TEXTS = ['customer', 'since', 'until', 'zone'] as const
const LONGEST = 200
/** The most values of a filter: each is tested on each event, and an export is recorded with all of them. */
const MOST_VALUES = 50

/** What is looked for, as given, and in which order. */
export interface Filters extends FilterOptions {
  readonly order: 'newest' | 'oldest'
}

/** @throws Refused for a text that is too long, or too many of them */
export function readFilters(given: URLSearchParams): Filters {
  const texts = TEXTS.flatMap((name) => {
    const text = shortened(name, given.get(name))
    return text === '' ? [] : [[name, text] as const]
  })
  const lists = LISTS.flatMap((name) => {
    const values = given.getAll(name).flatMap((value) => {
      const text = shortened(name, value)
      return name === 'field' || name === 'actor' ? text.split(/[\s,]+/).filter(Boolean) : text === '' ? [] : [text]
    })
    if (values.length > MOST_VALUES)
      throw new Refused(400, `The filter “${name}” has too many values; accepted: up to ${MOST_VALUES}.`)
    return values.length === 0 ? [] : [[name, values] as const]
  })
  return { ...Object.fromEntries([...texts, ...lists]), order: given.get('order') === 'oldest' ? 'oldest' : 'newest' }
}

function shortened(name: string, value: string | null): string {
  const text = (value ?? '').trim()
  if (text.length > LONGEST)
    throw new Refused(400, `The filter “${name}” is too long; accepted: up to ${LONGEST} characters.`)
  return text
}

/** The filters in an address. Without the default zone and order, so that equal searches have equal addresses. */
export function writeFilters(filters: Filters, more: Readonly<Record<string, string>> = {}): URLSearchParams {
  const query = new URLSearchParams()
  for (const name of TEXTS) {
    const text = filters[name]
    const isNeeded = name !== 'zone' || filters.since !== undefined || filters.until !== undefined
    if (text !== undefined && isNeeded) query.set(name, text)
  }
  for (const name of LISTS) for (const value of filters[name] ?? []) query.append(name, value)
  if (filters.order === 'oldest') query.set('order', 'oldest')
  for (const [name, value] of Object.entries(more)) query.set(name, value)
  return query
}

/** The address of a search. */
export function findUrl(filters: Filters, more: Readonly<Record<string, string>> = {}, path = '/find'): string {
  const query = writeFilters(filters, more)
  return query.size === 0 ? path : `${path}?${query}`
}

/** Actors of people and programs of the shop, whose names may be addresses. */
const STAFF = /^(operator|service):/

/**
 * Keeps an address that was typed into the wrong field out of the address bar.
 * @param filters with the customer's number, where an address was given
 * @throws Refused
 */
export function refuseAddresses(filters: Filters): void {
  const isAddress = (name: string, value: string) => value.includes('@') && !(name === 'actor' && STAFF.test(value))
  for (const name of [...TEXTS, ...LISTS]) {
    if (![filters[name] ?? []].flat().some((value) => isAddress(name, value))) continue
    throw new Refused(
      400,
      'An e-mail address goes into the field “Customer” alone, so that it is kept out of addresses and logs.',
    )
  }
}

/** Whether anything is looked for, and not just the newest events. */
export const isFiltered = (filters: Filters): boolean =>
  [...TEXTS, ...LISTS].some((name) => name !== 'zone' && filters[name] !== undefined)

/** @throws Refused for a filter that can't be used */
export function criteriaFrom(filters: Filters): { readonly criteria: Criteria; readonly zone: string } {
  try {
    const zone = zoneOf(filters)
    const { customer } = filters
    if (customer !== undefined && !/^[1-9]\d{0,14}$/.test(customer)) {
      throw new UsageError("The customer can't be used; accepted: a customer's number.")
    }
    const criteria = criteriaOf(filters)
    return { criteria: customer === undefined ? criteria : { ...criteria, customerId: Number(customer) }, zone }
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    // The console's filters are named like the options.
    throw new Refused(
      400,
      error.message.replace(/^--(\w)(\w*):/, (_, first: string, rest: string) => `${first.toUpperCase()}${rest}:`),
    )
  }
}

/** The options that do the same on the command line. */
export function asOptions(filters: Filters): string {
  const options = [...TEXTS, ...LISTS].flatMap((name) =>
    [filters[name] ?? []].flat().map((value) => `--${name} ${quoted(value)}`),
  )
  return options.length === 0 ? '' : ` ${options.join(' ')}`
}

/** For a shell. */
const quoted = (text: string): string => (/^[\w.:@/+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)

/** Where a search goes on: the place of an event, as an address has it. */
export const cursorOf = ({ commit, prepare }: Position): string =>
  commit === prepare ? `${commit}` : `${commit}.${prepare}`

/** @throws Refused */
export function readCursor(text: string | null): Position | undefined {
  if (text === null) return undefined
  const [, commit, prepare] = /^(\d{1,20})(?:\.(\d{1,20}))?$/.exec(text) ?? []
  if (commit === undefined) throw new Refused(400, 'The address of this page is incomplete. Search again.')
  return { commit: BigInt(commit), prepare: BigInt(prepare ?? commit) }
}
