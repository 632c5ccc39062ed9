/** Errors in the files that describe the store. */

/** What each code means and what to do about it. docs/errors.md lists them. */
export const ERROR_CODES = {
  SCH_ERR_STORE_SETTINGS: 'A store setting is missing or not accepted. The message names it and what is accepted.',
} as const

/** Settings that can't be used. The message names the setting and what is accepted. */
export class StoreSettingsError extends Error {
  override readonly name = 'StoreSettingsError'
  readonly code = 'SCH_ERR_STORE_SETTINGS'
}
