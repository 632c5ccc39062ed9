/** Writes the documents of a generation, removes and lists them. What queries read of them: entry-reader.ts. */
import type { DocumentWrite } from '../read-model.ts'
import { CHUNK, each, inChunks } from './batches.ts'
import type { RedisConnection } from './connection.ts'
import type { Handle } from './generations.ts'
import { parseDocument, readText } from './values.ts'

/** A document in the form in which it is stored. */
interface DocumentValue {
  readonly key: string
  readonly expected: string
  readonly value: string
}

/** A document that was not written, by the index of its write, and the revision that is stored instead. */
interface Refusal {
  readonly index: number
  readonly stored: number
}

/** Stores documents by compare-and-set. @returns for each write the revision now stored @throws ReadModelUnavailable */
export async function writeDocuments(
  redis: RedisConnection,
  handle: Handle,
  writes: readonly DocumentWrite[],
): Promise<number[]> {
  const values = writes.map(
    ({ document, expected }): DocumentValue => ({
      key: handle.keys.document(document.id),
      expected: String(expected),
      value: `${document.revision} ${JSON.stringify(document)}`,
    }),
  )
  const refusals = redis.kind === 'cluster' ? await putEach(redis, values) : await putChunks(redis, values)
  const revisions = writes.map(({ document }) => document.revision)
  for (const { index, stored } of refusals) revisions[index] = stored
  if (refusals.length > 0) await replaceUnreadable(redis, writes, values, refusals, revisions)
  return revisions
}

/** In a Cluster, each document is written on its own node. */
async function putEach(redis: RedisConnection, values: readonly DocumentValue[]): Promise<Refusal[]> {
  const refusals: Refusal[] = []
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
async function putChunks(redis: RedisConnection, values: readonly DocumentValue[]): Promise<Refusal[]> {
  const refusals: Refusal[] = []
  const answers = await each(
    redis,
    inChunks(values, CHUNK),
    (commands, chunk) =>
      commands.putDocuments(
        chunk[0]?.key ?? '',
        ...chunk.flatMap(({ key, expected, value }) => [key, expected, value]),
      ),
    (chunk) => chunk.reduce((sum, { value }) => sum + value.length, 0),
  )
  for (const [chunk, pairs] of answers.entries()) {
    for (let i = 0; i < pairs.length; i += 2) {
      refusals.push({ index: chunk * CHUNK + (pairs[i] as number), stored: pairs[i + 1] as number })
    }
  }
  return refusals
}

/**
 * Removes stored values that are not documents, and repeats the write if it expected no document.
 * @param revisions of all writes, corrected in place
 */
async function replaceUnreadable(
  redis: RedisConnection,
  writes: readonly DocumentWrite[],
  values: readonly DocumentValue[],
  refusals: readonly Refusal[],
  revisions: number[],
): Promise<void> {
  const there = await each(redis, refusals, (commands, { index }) => readText(commands, values[index]?.key ?? ''))
  for (const [at, { index }] of refusals.entries()) {
    const found = there[at] ?? null
    const { document } = writes[index] as DocumentWrite
    const { key, expected, value } = values[index] as DocumentValue
    if (found === null || parseDocument(found, document.id)) continue
    await redis.call((commands) => commands.dropValue(key, found))
    if (expected !== '-1') revisions[index] = -1
    else {
      const stored = await redis.call((commands) => commands.putDocument(key, expected, value))
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
