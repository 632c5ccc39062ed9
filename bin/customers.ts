/** The command line: every process and every operator's command of the service. `customers --help` lists them. */
import { CommanderError } from 'commander'
import { EXIT_CODES } from './command-line/cli-command.ts'
import { createProgram } from './command-line/program.ts'

/**
 * Runs one command line and sets the process's exit code. Help, version and wrong usage end here; a running command
 * ends the process itself.
 */
export async function main(args: readonly string[]): Promise<void> {
  try {
    await createProgram().parseAsync(args, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    // Its message has been printed already.
    process.exitCode = error.exitCode === 0 ? EXIT_CODES.done : EXIT_CODES.usage
  }
}
