/**
 * Works on the items with a concurrency of `limit`. After the first failure no further item begins; the promise rejects
 * once the work under way has settled.
 */
export async function forEachConcurrently<T>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]()
  let failed = false
  const worker = async () => {
    for (let next = await iterator.next(); !next.done && !failed; next = await iterator.next()) await work(next.value)
  }
  const fail = (error: unknown) => {
    failed = true
    throw error
  }
  const outcomes = await Promise.allSettled(Array.from({ length: limit }, () => worker().catch(fail)))
  const failure = outcomes.find(({ status }) => status === 'rejected') as PromiseRejectedResult | undefined
  if (failure) throw failure.reason
}
