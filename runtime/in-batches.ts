/** Work on many items, some at a time. */

export const AT_ONCE = 32

/** Works on the items in batches of {@link AT_ONCE}. The answers are in the order of the items. */
export async function inBatches<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const answers: R[] = []
  for (const part of partsOf(items, AT_ONCE)) answers.push(...(await Promise.all(part.map(work))))
  return answers
}

/** The items in parts of `size`; the last one may be smaller. */
export function* partsOf<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let from = 0; from < items.length; from += size) yield items.slice(from, from + size)
}

/** Gathers the items, in order, into batches of `size`; the last one may be smaller. */
export async function* batches<T>(items: AsyncIterable<T>, size: number): AsyncGenerator<T[]> {
  let batch: T[] = []
  for await (const item of items) {
    batch.push(item)
    if (batch.length < size) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
