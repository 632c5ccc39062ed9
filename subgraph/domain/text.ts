/** Limits of the text fields that customers and addresses share. */

/** Characters. */
export const MAX_TEXT = 255

export const tooLong = (label: string) => `"${label}" length must be equal or less than ${MAX_TEXT} characters.`
