/** The command line: every process and every operator's command of the service. `customers --help` lists them. */
import { CommanderError } from 'commander'
import { lazily } from '../runtime/lazily.ts'
import { EXIT_CODES } from './command-line/cli-command.ts'
import { createProgram } from './command-line/program.ts'

/**
 * Output that is lost, as on a full disk, is a failure, whatever the command says: nobody may take an empty file for a
 * proof. A reader that has read enough (`| head`) is none.
 */
const watchOutput = lazily(() => {
  const { stdout } = process
  let failure: NodeJS.ErrnoException | undefined
  stdout.on('error', (error) => {
    failure ??= error
  })
  process.on('exit', (code) => {
    // Where the process ends right after the write, the event did not come any more.
    failure ??= stdout.errored ?? undefined
    if (failure === undefined || failure.code === 'EPIPE') return
    console.error(`error: standard output can't be written (${failure.code}): what the command found or made is lost.`)
    if (code === EXIT_CODES.done) process.exitCode = EXIT_CODES.failed
  })
  return true
})

/**
 * Runs one command line and sets the process's exit code. Help, version and wrong usage end here; a running command
 * ends the process itself.
 */
export async function main(args: readonly string[]): Promise<void> {
  watchOutput()
  try {
    await createProgram().parseAsync(args, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    // Its message has been printed already.
    process.exitCode = error.exitCode === 0 ? EXIT_CODES.done : EXIT_CODES.usage
  }
}
