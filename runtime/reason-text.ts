/** Whether a text that stays in the log for good names somebody by an e-mail address. */
export const hasAddress = (text: string): boolean => /\S@\S/.test(text)

/**
 * Whether a text has a letter or a digit that can be seen. A reason of blanks, points or invisible characters is none.
 */
export const hasWords = (text: string): boolean =>
  /[\p{L}\p{N}]/u.test(text.replace(/\p{Default_Ignorable_Code_Point}/gu, ''))
