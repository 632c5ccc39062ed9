/** Documents that clients refer to by id: automatic persisted queries, and a safelist. */
import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { parse, print } from 'graphql'
import { LRUCache } from 'lru-cache'
import { ConfigurationError } from '../../runtime/errors.ts'
import { requestError } from '../errors.ts'
import { watchText } from '../watch-file.ts'
import type { GraphQLRequest } from './request.ts'

/** The limit for all documents together, including their names. */
const MAX_CHARACTERS = 4 * 1024 * 1024
const HASH = /^[0-9a-f]{64}$/
/** The form of GraphQL over HTTP's appendix on persisted documents, which graphql-codegen writes and sends. */
const PREFIXED = /^sha256:(?=[0-9a-f]{64}$)/

export interface PersistedQueriesOptions {
  /** `apq`: clients register documents by their SHA-256; `safelist`: only those of the manifest run. */
  readonly mode: 'apq' | 'safelist' | 'off'
  /** The text of a manifest: Apollo's format, or Relay's and graphql-codegen's (ids and documents). */
  readonly manifest?: string | undefined
  /** How many documents clients may register. */
  readonly maxEntries: number
  /** The most tokens of a document that is compared with the safelist. */
  readonly maxTokens: number
}

export interface PersistedQueries {
  /**
   * A request's document.
   * @throws RequestError, with the codes of Apollo's servers, for one that is unknown or not allowed
   */
  readonly resolve: (request: Pick<GraphQLRequest, 'query' | 'documentId' | 'extensions'>) => string
  /** Takes another manifest. @returns how many documents it has. @throws ConfigurationError as below; the old one stays */
  readonly replace: (manifest: string) => number
}

/** @throws ConfigurationError for a manifest that can't be used, naming the entry */
export function createPersistedQueries(options: PersistedQueriesOptions): PersistedQueries {
  const { mode, manifest, maxEntries, maxTokens } = options
  if (mode === 'safelist' && manifest === undefined) {
    throw new ConfigurationError(
      'PERSISTED_QUERIES: safelist needs PERSISTED_QUERIES_MANIFEST, the list of what may run.',
    )
  }
  let listed = manifest === undefined ? new Map<string, string>() : readManifest(manifest)
  const registered = new LRUCache<string, string>({
    max: maxEntries,
    maxSize: MAX_CHARACTERS,
    sizeCalculation: (document, hash) => document.length + hash.length,
  })
  const normalisedList = () => new Set(mode === 'safelist' ? [...listed.values()].map((text) => normalise(text)) : [])
  let normalised = normalisedList()
  const allowed = new LRUCache<string, true>({
    max: maxEntries,
    maxSize: MAX_CHARACTERS,
    sizeCalculation: (_, document) => document.length + 1,
  })

  function mayRun(query: string): boolean {
    if (mode !== 'safelist' || allowed.get(query)) return true
    let text: string
    try {
      text = normalise(query, maxTokens)
    } catch {
      return false
    }
    if (!normalised.has(text)) return false
    allowed.set(query, true)
    return true
  }

  return {
    replace(text) {
      listed = readManifest(text)
      normalised = normalisedList()
      allowed.clear()
      return listed.size
    },
    resolve({ query, documentId, extensions }) {
      const asked = (extensions?.persistedQuery ?? undefined) as { version?: unknown; sha256Hash?: unknown } | undefined
      if (documentId === undefined && asked === undefined) {
        if (query !== undefined && mayRun(query)) return query
        throw requestError('This gateway runs only the documents of its list.', 'QUERY_NOT_IN_SAFELIST')
      }
      if (mode === 'off') throw requestError('PersistedQueryNotSupported', 'PERSISTED_QUERY_NOT_SUPPORTED')
      const id = plainId(documentId ?? asked?.sha256Hash)
      if (
        id === undefined ||
        (documentId === undefined && (asked?.version !== 1 || !(HASH.test(id) || listed.has(id))))
      ) {
        throw requestError(
          'extensions.persistedQuery must be { version: 1, sha256Hash: the SHA-256 of the document, hexadecimal }.',
          'BAD_REQUEST',
        )
      }
      const known = listed.get(id) ?? (mode === 'apq' ? registered.get(id) : undefined)
      if (query === undefined) {
        if (known !== undefined) return known
        throw requestError('PersistedQueryNotFound', 'PERSISTED_QUERY_NOT_FOUND')
      }
      if (!mayRun(query)) {
        throw requestError('This gateway runs only the documents of its list.', 'QUERY_NOT_IN_SAFELIST')
      }
      if (known !== query && documentId === undefined) {
        if (createHash('sha256').update(query).digest('hex') !== id) {
          throw requestError('provided sha does not match query', 'PERSISTED_QUERY_HASH_MISMATCH')
        }
        if (mode === 'apq') registered.set(id, query)
      }
      return query
    },
  }
}

/**
 * Applies the changes of the manifest's file until the app closes. If it can't be used, that is logged, and the old one stays.
 * @param manifest the text that the queries have
 */
export function watchManifest(
  app: FastifyInstance,
  file: string,
  intervalMs: number,
  manifest: string | undefined,
  queries: PersistedQueries,
): void {
  const keep = ({ message: reason }: Error) =>
    app.log.error({ reason }, 'The changed manifest of persisted queries cannot be used; the previous one stays')
  const changed = (text: string) => {
    try {
      app.log.info({ documents: queries.replace(text) }, 'Manifest of persisted queries changed')
    } catch (error) {
      keep(error as Error)
    }
  }
  const close = watchText(file, intervalMs, manifest, changed, keep)
  app.addHook('onClose', async () => close())
}

/** @returns undefined for what is not a text */
const plainId = (id: unknown): string | undefined => (typeof id === 'string' ? id.replace(PREFIXED, '') : undefined)

/** The same for documents that differ only in whitespace and comments. */
const normalise = (text: string, maxTokens?: number): string => print(parse(text, { noLocation: true, maxTokens }))

function readManifest(text: string): Map<string, string> {
  const fail = (what: string): never => {
    throw new ConfigurationError(
      `PERSISTED_QUERIES_MANIFEST: ${what}; accepted: Apollo's format ({ "format": "apollo-persisted-query-manifest", "version": 1, "operations": [{ "id", "body" }] }) or Relay's and graphql-codegen's ({ "id": "document" }).`,
    )
  }
  let manifest: unknown
  try {
    manifest = JSON.parse(text)
  } catch {
    fail('it is not JSON')
  }
  if (typeof manifest !== 'object' || manifest === null || Array.isArray(manifest)) fail('it is not an object')
  const { format, version, operations } = manifest as { format?: unknown; version?: unknown; operations?: unknown }
  let entries: [unknown, unknown][]
  if (format === 'apollo-persisted-query-manifest') {
    if (version !== 1 || !Array.isArray(operations)) fail('it has no operations of version 1')
    entries = (operations as { id?: unknown; body?: unknown }[]).map((each) => [each?.id, each?.body])
  } else entries = Object.entries(manifest as object)
  const listed = new Map<string, string>()
  for (const [index, [id, body]] of entries.entries()) {
    if (typeof id !== 'string' || typeof body !== 'string') fail(`entry ${index + 1} has no id or no document`)
    try {
      parse(body as string)
    } catch (error) {
      fail(`entry ${JSON.stringify(id)} is no document (${(error as Error).message})`)
    }
    listed.set((id as string).replace(PREFIXED, ''), body as string)
  }
  return listed
}
