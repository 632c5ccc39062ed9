/** Why a process does not start or a command does nothing. The messages are one line for the operator. */
import { errorClass } from './error-class.ts'

/** What each code means and what to do about it. docs/errors.md lists them. */
export const ERROR_CODES = {
  RUN_ERR_STARTUP: 'The process cannot listen on its port or address. The message names the setting to change.',
  RUN_ERR_USAGE: 'The command line is wrong. Nothing was done; the exit code is 2.',
  RUN_ERR_CONFIGURATION:
    'A setting is missing or not accepted. The message names it and what is accepted; `npm run config` checks all of them.',
  RUN_ERR_BACKUP: 'A backup is incomplete or damaged, or the folder has none. The message says what is missing.',
} as const

/** A fault that the operator can fix. The message is one complete line. */
export class StartupError extends errorClass('StartupError', 'RUN_ERR_STARTUP') {}

/** Invalid command-line usage: nothing was done, and the exit code says so. The message is one line. */
export class UsageError extends errorClass('UsageError', 'RUN_ERR_USAGE') {}

/** A backup that can't be used. The message is one line. */
export class BackupError extends errorClass('BackupError', 'RUN_ERR_BACKUP') {}

/**
 * A variable with a value that is not accepted. The message is one line for the operator; a secret's value is never in
 * it.
 */
export class ConfigurationError extends errorClass('ConfigurationError', 'RUN_ERR_CONFIGURATION') {}
