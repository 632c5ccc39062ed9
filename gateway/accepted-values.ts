/**
 * What some of the gateway's settings accept, and their defaults. They are apart from the code that acts on them,
 * because every command reads all settings: loading half of the gateway would cost it 0.4 s and 60 MB.
 */

/**
 * What happens to a token of the customer subgraph that can't be checked. `refuse`: the request is refused until it can
 * be. `pass`: the gateway treats its bearer as a guest, and the token goes down, so the subgraphs decide for themselves.
 */
export const UNCHECKED_TOKENS = ['refuse', 'pass'] as const
export type UncheckedTokens = (typeof UNCHECKED_TOKENS)[number]

/** The header with an answer's tags. `none`: they are not sent. */
export const TAG_HEADERS = ['cache-tag', 'surrogate-key', 'none'] as const
export type TagHeader = (typeof TAG_HEADERS)[number]

/** The encodings of answers. */
export const ENCODINGS = ['zstd', 'br', 'gzip'] as const
export type Encoding = (typeof ENCODINGS)[number]

/**
 * Whether the text is the origin of pages as browsers send it: scheme, host and a port that is not the scheme's own.
 * Not `*`: answers allow credentials, so any page could read the data of any visitor.
 */
export function isOrigin(text: string): boolean {
  if (/^https?:/.test(text)) return !text.includes('*') && URL.canParse(text) && new URL(text).origin === text
  return /^[a-z][a-z\d+.-]*:\/\/[^\s*/?#]+$/.test(text) // of an app: capacitor://localhost
}

export interface DocumentLimits {
  /** The depth of a field; Magento's `queryDepth`. */
  readonly depth: number
  /** The number of fields, counting fragments at each use; Magento's `queryComplexity`. */
  readonly fields: number
  readonly aliases: number
  readonly rootFields: number
  /** The tokens of the text. */
  readonly tokens: number
  /** On one field, fragment or operation. */
  readonly directives: number
  /** Estimated by `@cost` and `@listSize`. */
  readonly cost: number
}

export const DEFAULT_LIMITS: DocumentLimits = {
  depth: 20,
  fields: 300,
  aliases: 100,
  rootFields: 50,
  tokens: 15_000,
  directives: 10,
  cost: 25_000,
}
