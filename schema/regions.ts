/** The directory of regions (states, provinces …) by country, and what an address must have where. */
import { readFileSync } from 'node:fs'

export interface Region {
  readonly id: number
  readonly code: string
  readonly name: string
}

const byCountry = new Map<string, Map<number, Region>>()
// regions.csv has no quoted fields with line breaks; a name may hold commas only within quotes.
for (const line of readFileSync(new URL('./regions.csv', import.meta.url), 'utf8')
  .split(/\r?\n/)
  .slice(1)) {
  const [, id, country, code, name] = /^(\d+),([A-Z]{2}),([^,]*),(.*)$/.exec(line) ?? []
  if (id === undefined || country === undefined || code === undefined || name === undefined) continue
  const regions = byCountry.get(country) ?? new Map<number, Region>()
  byCountry.set(country, regions)
  regions.set(Number(id), { id: Number(id), code, name: name.replace(/^"(.*)"$/, '$1').replaceAll('""', '"') })
}

/** The region of that id, if the country has it. */
export function regionOf(countryId: string, regionId: number): Region | undefined {
  return byCountry.get(countryId)?.get(regionId)
}

const REGION_REQUIRED = new Set(
  'US CA CH ES RO EE LV LT BR HR IN AU MX AL AR BY BO BG CL CN CO CZ DK EC GR GY IS IT PY PE PL PT SR SE UY VE'.split(
    ' ',
  ),
)
const POSTCODE_OPTIONAL = new Set(['HK', 'IE', 'MO', 'PA', 'GB'])

/** Whether an address in this country needs a region of the list (Magento's default for `general/region/state_required`). */
export function isRegionRequired(countryId: string): boolean {
  return REGION_REQUIRED.has(countryId)
}

/** Whether an address in this country may do without a postcode (Magento's default for `general/country/optional_zip_countries`). */
export function isPostcodeOptional(countryId: string): boolean {
  return POSTCODE_OPTIONAL.has(countryId)
}
