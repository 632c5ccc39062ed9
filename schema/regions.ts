/** The directory of regions (states, provinces …) by country, and which countries require a region or a postcode. */
import { readFileSync } from 'node:fs'

export interface Region {
  readonly id: number
  readonly code: string
  readonly name: string
}

const fold = (text: string) => text.normalize('NFC').trim().toLowerCase()
/** Without accents, and with the apostrophe of the list. */
const foldPlain = (text: string) =>
  fold(text)
    .normalize('NFD')
    .replace(/\p{M}/gu, '')
    .replace(/[’ʼ`´]/g, "'")

/** A region with its name and code as they are compared. */
interface Folded {
  readonly region: Region
  readonly name: string
  readonly code: string
  readonly plainName: string
}

const byCountry = new Map<string, Map<number, Region>>()
const foldedByCountry = new Map<string, readonly Folded[]>()
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

/** The regions of a country in the order of their ids; none for a country without a list. */
export function regionsOf(countryId: string): readonly Region[] {
  return [...(byCountry.get(countryId)?.values() ?? [])]
}

/**
 * The regions of a country that a text names: by name, otherwise by code, otherwise by name without accents (`Québec`,
 * `Sao Paulo`), ignoring case and surrounding blanks. There can be several, because some codes are shared (`AE` in the
 * US), or none.
 */
export function regionsNamed(countryId: string, text: string): readonly Region[] {
  const wanted = fold(text)
  let folded = foldedByCountry.get(countryId)
  if (folded === undefined) {
    folded = regionsOf(countryId).map((region) => ({
      region,
      name: fold(region.name),
      code: fold(region.code),
      plainName: foldPlain(region.name),
    }))
    foldedByCountry.set(countryId, folded)
  }
  const named = folded.filter(({ name }) => name === wanted)
  let found = named.length > 0 ? named : folded.filter(({ code }) => code === wanted)
  if (found.length === 0) {
    const plain = foldPlain(text)
    found = folded.filter(({ plainName }) => plainName === plain)
  }
  return found.map(({ region }) => region)
}
