/** Work on many things, not on all of them at once. */

export const AT_ONCE = 32

/** Some at a time; the answers are in the items' order. */
export async function inBatches<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const answers: R[] = []
  for (let start = 0; start < items.length; start += AT_ONCE) {
    answers.push(...(await Promise.all(items.slice(start, start + AT_ONCE).map(work))))
  }
  return answers
}
