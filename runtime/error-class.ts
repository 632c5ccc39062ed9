/**
 * The base of an error class with a code of its part's catalogue (see docs/errors.md).
 * @param name of the class
 * @param code with the prefix of the part, for example `EVS_ERR_UNAVAILABLE`
 */
export const errorClass = <C extends string>(name: string, code: C) =>
  class extends Error {
    override readonly name = name
    readonly code = code
  }
