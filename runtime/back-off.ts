/** How long to wait before something that failed is tried again. */
export interface BackOff {
  /** After the first failure, milliseconds. */
  readonly firstMs: number
  /** Never longer than this, milliseconds. */
  readonly mostMs: number
}

/**
 * A wait that doubles with each failure in a row. Chance shortens it by up to half, so that those who failed together do not
 * try again together.
 * @param failures in a row, from 1 on
 * @returns milliseconds
 */
export const waitAfter = ({ firstMs, mostMs }: BackOff, failures: number): number =>
  Math.min(firstMs * 2 ** (failures - 1), mostMs) * (0.5 + Math.random() / 2)
