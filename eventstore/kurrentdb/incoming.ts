/** The answers of a call that come one after another, pulled by their consumer. */

/** What is used of a Readable. */
interface Flowing {
  // biome-ignore lint/suspicious/noExplicitAny: as Node types its own
  on(event: 'data' | 'end' | 'close' | 'error', listener: (value: any) => void): unknown
  pause(): unknown
  resume(): unknown
}

/** The answers of one call, in the portions in which they arrive. */
export interface Incoming<T> {
  /**
   * What has arrived since, waiting for the first; null at the end of the call.
   * @throws the call's error, once what came before it was taken
   */
  take(): Promise<T[] | null>
  /** Whether `take` gives at once. */
  hasMore(): boolean
  /** Whether `take` has something to give within so many milliseconds. */
  arrives(limit: number): Promise<boolean>
  /** Ends the call, at the server too. */
  cancel(): void
}

/**
 * @param buffer how many answers may wait before the stream is paused
 * @param cancel ends the call at the server
 */
export function incoming<T>(stream: Flowing, buffer: number, cancel: () => void): Incoming<T> {
  let waiting: T[] = []
  let end: { readonly error?: unknown } | undefined
  let wake: (() => void) | undefined
  let turn: NodeJS.Immediate | undefined
  let paused = false

  const settle = (error?: unknown) => {
    end ??= error === undefined ? {} : { error }
    wake?.()
  }
  stream.on('data', (answer: T) => {
    waiting.push(answer)
    if (waiting.length >= buffer && !paused) {
      paused = true
      stream.pause()
    }
    if (wake === undefined || turn !== undefined) return
    // What arrives in one turn of the event loop is taken together.
    turn = setImmediate(() => {
      turn = undefined
      wake?.()
    })
  })
  stream.on('end', () => settle())
  stream.on('close', () => settle())
  stream.on('error', settle)

  /** @param limit milliseconds; none: as long as it takes. False where nothing came in time. */
  function arrived(limit?: number): Promise<boolean> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined
      const settle = (hasCome: boolean) => {
        wake = undefined
        clearTimeout(timer)
        resolve(hasCome)
      }
      wake = () => settle(true)
      if (limit !== undefined) timer = setTimeout(settle, limit, false)
    })
  }

  return {
    async take() {
      if (waiting.length === 0 && end === undefined) await arrived()
      if (waiting.length > 0) {
        const taken = waiting
        waiting = []
        if (paused) {
          paused = false
          stream.resume()
        }
        return taken
      }
      if (end && 'error' in end) throw end.error
      return null
    },
    hasMore: () => waiting.length > 0 || end !== undefined,
    async arrives(limit) {
      return waiting.length > 0 || end !== undefined || arrived(limit)
    },
    cancel() {
      waiting = []
      settle()
      if (paused) stream.resume()
      cancel()
    },
  }
}
