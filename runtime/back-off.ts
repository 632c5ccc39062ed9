/** How long to wait before something that failed is tried again. */
export interface BackOff {
  /** After the first failure, milliseconds. */
  readonly firstMs: number
  /** Never longer than this, milliseconds. */
  readonly mostMs: number
}

/**
 * An exponential back-off with jitter: the wait doubles with each consecutive failure, and is shortened at random by up
 * to half, so that clients that failed together do not all retry together.
 * @param failures consecutive failures, starting at 1
 * @returns milliseconds
 */
export const waitAfter = ({ firstMs, mostMs }: BackOff, failures: number): number =>
  Math.min(firstMs * 2 ** (failures - 1), mostMs) * (0.5 + Math.random() / 2)
