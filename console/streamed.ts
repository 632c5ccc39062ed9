/** Turns work that calls back into something to iterate over, at the pace of the reader. */

/**
 * @param work calls `give` with each value and awaits it. If it gets `stop`, the reader has gone away and the work ends
 * @returns the values as they are given; the iteration's return value is the work's
 */
export async function* streamed<T, R>(
  work: (give: (value: T) => Promise<'stop' | undefined>) => Promise<R>,
): AsyncGenerator<T, R> {
  let waiting: { readonly value: T; readonly taken: (answer: 'stop' | undefined) => void } | undefined
  /** Answers to the value that the reader has. */
  let answer: ((answer: 'stop' | undefined) => void) | undefined
  let isStopped = false
  let wake = () => {}
  let done: { readonly result: Promise<R> } | undefined
  const result = work((value) => {
    if (isStopped) return Promise.resolve('stop')
    return new Promise((taken) => {
      waiting = { value, taken }
      wake()
    })
  }).finally(() => {
    done = { result }
    wake()
  })
  // Reported below, when the reader gets there.
  result.catch(() => {})
  try {
    for (;;) {
      if (waiting) {
        const { value, taken } = waiting
        waiting = undefined
        answer = taken
        yield value
        taken(undefined)
      } else if (done) {
        return await done.result
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    }
  } finally {
    isStopped = true
    // Otherwise the work would wait for ever, with what it reads still open.
    answer?.('stop')
    ;(waiting as typeof waiting | undefined)?.taken('stop')
  }
}
