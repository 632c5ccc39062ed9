/** The directory of countries: Magento's list, with current names. */
import codes from 'i18n-iso-countries/codes.json' with { type: 'json' }

export interface Country {
  /** ISO 3166-1 alpha-2 */
  readonly id: string
  /** ISO 3166-1 alpha-3 */
  readonly alpha3: string
  /** In English. */
  readonly name: string
}

/** ISO has withdrawn the code of the Netherlands Antilles, but Magento still lists the country. */
const WITHDRAWN = [['AN', 'ANT', 'Netherlands Antilles']] as const

let names: Intl.DisplayNames | undefined

/** The names of all countries take 12 ms, and only the queries for countries need them. */
function nameOf(id: string): string {
  names ??= new Intl.DisplayNames('en', { type: 'region' })
  return names.of(id) ?? id
}

/** All countries, by their ids in alphabetical order. */
export const COUNTRIES: ReadonlyMap<string, Country> = new Map(
  [
    ...codes.map(([id = '', alpha3 = '']) => ({
      id,
      alpha3,
      get name() {
        return nameOf(id)
      },
    })),
    ...WITHDRAWN.map(([id, alpha3, name]) => ({ id, alpha3, name })),
  ]
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map((country) => [country.id, country]),
)
