/**
 * All commands with their options. The code of a command is loaded when it runs, so `--help` starts, writes and
 * connects to nothing, and a process loads only what it needs.
 */
import { addAudit } from './audit.ts'
import { CliCommand, NAME } from './cli-command.ts'
import { addGraphCommands } from './graph.ts'
import { addOperatorCommands } from './operator.ts'
import { addPrivacy } from './privacy.ts'
import { addProcesses } from './processes.ts'

/**
 * A new program for each run: commander keeps what it has parsed. Parsing throws a CommanderError instead of ending the
 * process.
 */
export function createProgram(): CliCommand {
  const program = new CliCommand(NAME)
    .description('The customer service: its processes and the commands of its operators.')
    .withDetails({
      examples: {
        [`${NAME} start`]: 'the whole service in one process',
        [`${NAME} config`]: 'what is configured, and what is wrong with it',
        [`${NAME} audit history 1`]: 'what happened to customer 1',
        [`${NAME} rebuild --help`]: 'about one command',
      },
      exitCodes: { 130: 'stopped by SIGINT or SIGTERM before the end' },
    })
    .exitOverride()
    .hook('preAction', async (_, command) => {
      if ((command as CliCommand).details.variables !== undefined) await checkEnvironment()
    })
  addProcesses(program)
  addOperatorCommands(program)
  addAudit(program)
  addPrivacy(program)
  addGraphCommands(program)
  return program
}

/** A misspelled variable would be ignored, and with it perhaps the intended store. */
async function checkEnvironment(): Promise<void> {
  const { checkNames } = await import('../environment.ts')
  try {
    checkNames(process.env)
  } catch (error) {
    const { endProcess } = await import('../../runtime/process.ts')
    endProcess(error)
  }
}

/** The subcommands of a command, each with its groups, for the documentation and for tests. */
export function* allCommands(command: CliCommand): Generator<CliCommand> {
  for (const each of command.commands as CliCommand[]) {
    yield each
    yield* allCommands(each)
  }
}
