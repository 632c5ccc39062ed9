/** Limits of the text fields that customers and addresses share. */

/** Characters. */
export const MAX_TEXT = 255

export const tooLong = (label: string, most = MAX_TEXT) =>
  `"${label}" length must be equal or less than ${most} characters.`
