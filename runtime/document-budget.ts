/** Bounds the memory of a server's cache of compiled GraphQL documents: Mercurius limits only their number. */

/** The limit for all texts together. A compiled document takes about fifty times the memory of its text. */
const MAX_CHARACTERS = 1024 * 1024
const MAX_DOCUMENTS = 1_000

/**
 * @param forget empties the cache
 * @returns call it with each document before it is executed; it empties the cache once the documents since the last
 * time are too many or too long
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

/** The most tokens that a document may have: more than a gateway generates for the largest accepted client document. */
export const MAX_DOCUMENT_TOKENS = 50_000
