/** Keeps a server's cache of compiled GraphQL documents small: Mercurius bounds its own by their number alone. */

/** Of all texts together. Compiled, a document takes some fifty times the room of its text. */
const MAX_CHARACTERS = 1024 * 1024
const MAX_DOCUMENTS = 1_000

/**
 * @param forget empties the cache
 * @returns to be called with each document before it is executed: where those since the last time are too many or too
 * long, the cache is emptied
 */
export function createDocumentBudget(forget: () => void): (document: string) => void {
  const seen = new Set<string>()
  let characters = 0
  return (document) => {
    if (seen.has(document)) return
    if (characters + document.length > MAX_CHARACTERS || seen.size === MAX_DOCUMENTS) {
      forget()
      seen.clear()
      characters = 0
    }
    seen.add(document)
    characters += document.length
  }
}

/** What a document may have of names, signs and values, above what a gateway makes of a client's largest one. */
export const MAX_DOCUMENT_TOKENS = 50_000
