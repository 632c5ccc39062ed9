/** The answers of a streaming call, pulled by their consumer. */

/** The part of a Readable that is used. */
interface Flowing {
  // biome-ignore lint/suspicious/noExplicitAny: as Node types its own
  on(event: 'data' | 'end' | 'close' | 'error', listener: (value: any) => void): unknown
  pause(): unknown
  resume(): unknown
}

/** The answers of one call, in the chunks in which they arrive. */
export interface Incoming<T> {
  /**
   * Waits for the next answers and returns all that have arrived; null at the end of the call.
   * @throws the call's error, after the answers that came before it
   */
  take(): Promise<T[] | null>
  /** Whether `take` would resolve at once. */
  hasMore(): boolean
  /** Whether answers arrive within that many milliseconds. */
  arrives(limit: number): Promise<boolean>
  /** Ends the call, also at the server. */
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
    // Answers that arrive in one turn of the event loop are returned together.
    turn = setImmediate(() => {
      turn = undefined
      wake?.()
    })
  })
  stream.on('end', () => settle())
  stream.on('close', () => settle())
  stream.on('error', settle)

  /** @param limit milliseconds; none: no limit. False if nothing came in time. */
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
