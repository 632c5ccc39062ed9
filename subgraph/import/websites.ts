/**
 * The websites that a run's customers are of. In Magento two websites may each have an account with the same e-mail
 * address. Here it can only have one, and what belongs to the other must not become its.
 */
import { createHash } from 'node:crypto'
import { createSeen } from './seen.ts'

export interface Websites {
  /**
   * Notes whose row got an e-mail address.
   * @param key of the e-mail address
   * @param website null: the file does not say
   */
  accept(key: string, website: string | null): void
  /** Notes a row whose e-mail address belongs to a customer whom an earlier run imported. */
  refuse(key: string, website: string | null): void
  /** Whether what is of a customer with this e-mail address and website is not of the one who got the address. */
  isOther(key: string, website: string | null): boolean
}

const UNKNOWN = 0

/** A website as a number of 48 bits. Codes are compared without regard to case. */
const numberOf = (website: string | null) =>
  website === null ? UNKNOWN : createHash('sha256').update(website.toLowerCase()).digest().readUIntBE(0, 6)

/** @param isInFile whether a row of a customer with this e-mail address was accepted */
export function createWebsites(isInFile: (key: string) => boolean): Websites {
  /** That of the first row, and so of nearly all: only the others are kept. */
  let usual: string | undefined
  const unusual = createSeen()
  const refused = createSeen()
  const keep = (into: typeof unusual, key: string, website: string | null) =>
    into.set(key, { id: numberOf(website), revision: 0 })
  const idIn = (from: typeof unusual, key: string) => (from.get(key) as { readonly id: number } | undefined)?.id

  return {
    accept(key, website) {
      usual ??= website ?? undefined
      if (usual !== undefined && website !== usual) keep(unusual, key, website)
      else if (unusual.has(key)) unusual.delete(key) // of a row that was rejected after all
    },

    refuse(key, website) {
      if (website !== null) keep(refused, key, website)
    },

    isOther(key, website) {
      if (website === null) return false
      const other = idIn(refused, key)
      if (other !== undefined && other === numberOf(website)) return true
      if (usual === undefined || !isInFile(key)) return false
      const accepted = idIn(unusual, key)
      if (accepted !== undefined) return accepted !== UNKNOWN && accepted !== numberOf(website)
      return !unusual.hasForgotten && website.toLowerCase() !== usual.toLowerCase()
    },
  }
}
