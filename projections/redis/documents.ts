/** Writes the documents of a generation, removes and lists them. What queries read of them: entry-reader.ts. */

import { partsOf } from '../../runtime/in-batches.ts'
import type { CustomerDocument } from '../customer.ts'
import type { DocumentWrite } from '../read-model.ts'
import { CHUNK, each } from './batches.ts'
import type { RedisConnection } from './connection.ts'
import type { Handle } from './generations.ts'
import { parseDocument, readText } from './values.ts'

/** A document that was not written, by the index of its write, and the revision that is stored instead. */
interface Refusal {
  readonly index: number
  readonly stored: number
}

/** A document as it is stored. */
const textOf = (document: CustomerDocument) => `${document.revision} ${JSON.stringify(document)}`

/** Stores documents by compare-and-set. @returns for each write the revision now stored @throws ReadModelUnavailable */
export async function writeDocuments(
  redis: RedisConnection,
  handle: Handle,
  writes: readonly DocumentWrite[],
): Promise<number[]> {
  const refusals = await (redis.kind === 'cluster' ? putEach : putChunks)(redis, handle, writes)
  const revisions = writes.map(({ document }) => document.revision)
  for (const { index, stored } of refusals) revisions[index] = stored
  if (refusals.length > 0) await replaceUnreadable(redis, handle, writes, refusals, revisions)
  return revisions
}

/** In a Cluster, each document is written on its own node. */
async function putEach(redis: RedisConnection, handle: Handle, writes: readonly DocumentWrite[]): Promise<Refusal[]> {
  const refusals: Refusal[] = []
  const values = writes.map(({ document, expected }) => ({
    key: handle.keys.document(document.id),
    expected: String(expected),
    value: textOf(document),
  }))
  const answers = await each(
    redis,
    values,
    (commands, { key, expected, value }) => commands.putDocument(key, expected, value),
    ({ value }) => value.length,
  )
  for (const [index, stored] of answers.entries()) if (stored !== null) refusals.push({ index, stored })
  return refusals
}

/** On one server, one script writes many documents, in half the time. */
async function putChunks(redis: RedisConnection, handle: Handle, writes: readonly DocumentWrite[]): Promise<Refusal[]> {
  const refusals: Refusal[] = []
  const answers = await each(
    redis,
    partsOf(writes, CHUNK).map((chunk) => packed(handle, chunk)),
    (commands, { key, values, places }) => commands.putDocuments(key, handle.keys.ownBeginning, places, values),
    ({ values }) => values.length,
  )
  for (const [chunk, pairs] of answers.entries()) {
    for (let i = 0; i < pairs.length; i += 2) {
      refusals.push({ index: chunk * CHUNK + (pairs[i] as number), stored: pairs[i + 1] as number })
    }
  }
  return refusals
}

/**
 * The values of many documents in one buffer, and for each its customer, its expected revision and its length in bytes.
 * The client would encode each argument of a command by itself and join them into a long string, which takes several
 * times as long.
 */
function packed(handle: Handle, writes: readonly DocumentWrite[]) {
  const texts: string[] = []
  let places = ''
  let size = 0
  for (const { document, expected } of writes) {
    const revision = `${document.revision} `
    const json = JSON.stringify(document)
    const length = revision.length + Buffer.byteLength(json)
    texts.push(revision, json)
    places += `${document.id} ${expected} ${length}\n`
    size += length
  }
  const values = Buffer.allocUnsafe(size)
  let end = 0
  for (const text of texts) end += values.write(text, end)
  return { key: handle.keys.document(writes[0]?.document.id ?? 0), places, values }
}

/**
 * Removes stored values that are not documents, and repeats the write: if it expected no document, it succeeds.
 * @param revisions of all writes, corrected in place
 */
async function replaceUnreadable(
  redis: RedisConnection,
  handle: Handle,
  writes: readonly DocumentWrite[],
  refusals: readonly Refusal[],
  revisions: number[],
): Promise<void> {
  const refused = refusals.map(({ index }) => {
    const { document, expected } = writes[index] as DocumentWrite
    return { index, document, expected, key: handle.keys.document(document.id) }
  })
  const there = await each(redis, refused, (commands, { key }) => readText(commands, key))
  for (const [at, { index, document, expected, key }] of refused.entries()) {
    const found = there[at] ?? null
    const whole = found === null ? null : parseDocument(found, document.id)
    // What refused the write may have been unreadable, and replaced or removed since by another process.
    if (found !== null && !whole) await redis.call((commands) => commands.dropValue(key, found))
    if (whole) revisions[index] = whole.revision
    // Not worth a call each: all of them are gone where the server was emptied.
    else if (found === null && expected !== -1) revisions[index] = -1
    else {
      const stored = await redis.call((commands) => commands.putDocument(key, String(expected), textOf(document)))
      revisions[index] = stored ?? document.revision
    }
  }
}

/**
 * Removes documents from other generations that do not know yet that the customer is deleted. @throws
 * ReadModelUnavailable
 */
export async function forgetDocuments(
  redis: RedisConnection,
  documents: readonly { readonly id: number; readonly key: string }[],
): Promise<void> {
  const values = await each(redis, documents, (commands, { key }) => readText(commands, key))
  const known = documents.flatMap(({ id, key }, index) => {
    const value = values[index] ?? null
    return value !== null && parseDocument(value, id)?.status !== 'deleted' ? [{ key, value }] : []
  })
  await each(redis, known, (commands, { key, value }) => commands.dropValue(key, value))
}

/** The ids of all customers with a document. @throws ReadModelUnavailable */
export async function* customerIds(redis: RedisConnection, handle: Handle): AsyncGenerator<readonly number[]> {
  await handle.begin()
  const beginning = handle.keys.ownBeginning
  for await (const keys of redis.scan(`${beginning}*}`)) {
    const ids = keys
      .map((key) => Number(key.slice(beginning.length, -1)))
      .filter((id) => Number.isSafeInteger(id) && id > 0)
    if (ids.length > 0) yield ids
  }
}
