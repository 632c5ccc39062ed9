/** Documents that were read lately, with the text that they were read from: the same text is not parsed and checked again. */
import { LRUCache } from 'lru-cache'
import type { CustomerDocument } from './customer.ts'

export interface DocumentCache {
  /**
   * The document that a stored text is.
   * @param parse makes it of the text; null where that is no document of the customer
   */
  read(id: number, text: string, parse: (text: string, id: number) => CustomerDocument | null): CustomerDocument | null
}

/** Of all texts together. A document takes some three times the room of its text. */
const MAX_CHARACTERS = 4 * 1024 * 1024

interface Kept {
  readonly text: string
  readonly document: CustomerDocument
}

export function createDocumentCache(): DocumentCache {
  const kept = new LRUCache<number, Kept>({ maxSize: MAX_CHARACTERS, sizeCalculation: ({ text }) => text.length + 1 })
  return {
    read(id, text, parse) {
      const before = kept.get(id)
      if (before?.text === text) return before.document
      const document = parse(text, id)
      if (document) kept.set(id, { text, document })
      else kept.delete(id)
      return document
    },
  }
}
