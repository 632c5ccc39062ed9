/** How much memory a customer document takes, for caches that are limited in bytes. */
import type { CustomerDocument } from './customer.ts'

/** What an object takes besides its texts: its fields, and the headers of its texts. */
const DOCUMENT_BYTES = 1_000
const ADDRESS_BYTES = 500

/**
 * The bytes of a document in memory, estimated: a character counts as one byte. Texts beyond Latin-1 take up to twice as
 * much. The number of customers alone would not do: one with 500 addresses takes as much as a thousand others, and a
 * value of a custom attribute may have 65,535 characters.
 */
export function documentSize(document: CustomerDocument): number {
  let bytes = DOCUMENT_BYTES + charactersOf(document) + charactersOf(document.customAttributes)
  for (const address of document.addresses) {
    bytes += ADDRESS_BYTES + charactersOf(address) + charactersOf(address.customAttributes)
  }
  return bytes
}

/** The characters of an object's own texts, and of those in its lists of texts. */
function charactersOf(object: object): number {
  let characters = 0
  for (const name in object) {
    const value = (object as Readonly<Record<string, unknown>>)[name]
    if (typeof value === 'string') characters += value.length
    else if (Array.isArray(value)) for (const item of value) if (typeof item === 'string') characters += item.length
  }
  return characters
}
