/**
 * Whether a text has a letter or a digit that can be seen. A reason of blanks, points or invisible characters is none.
 */
export const hasWords = (text: string): boolean =>
  /[\p{L}\p{N}]/u.test(text.replace(/\p{Default_Ignorable_Code_Point}/gu, ''))
