/** Bounded concurrency for work on many items. */

export const AT_ONCE = 32

/** Works on the items in batches of {@link AT_ONCE}. The answers are in the order of the items. */
export async function inBatches<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const answers: R[] = []
  for (let start = 0; start < items.length; start += AT_ONCE) {
    answers.push(...(await Promise.all(items.slice(start, start + AT_ONCE).map(work))))
  }
  return answers
}
