/** Keys as they are held: bytes in a block of them, not an object for each. */

export const KEY_BYTES = 32

/** A key that can be used, and which of its owner's keys it is. */
export interface Key {
  /** 0 to 65,535. */
  readonly generation: number
  /** Holds the key, among others. Never changed: a block is replaced as a whole. */
  readonly bytes: Buffer
  /** Where in `bytes` its {@link KEY_BYTES} begin. */
  readonly start: number
}
