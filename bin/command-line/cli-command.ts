/** The base of all commands: help with examples, exit codes and environment variables, and a version. */
import { Command, type ErrorOptions, Help, InvalidArgumentError, Option } from 'commander'
import { hasWords } from '../../runtime/reason-text.ts'
import { VERSION } from '../../runtime/version.ts'

/** The exit codes of all commands. */
export const EXIT_CODES = { done: 0, failed: 1, usage: 2, stopped: 130 } as const

/** What each exit code means, unless a command says more. */
export const EXIT_CODE_MEANINGS: Readonly<Record<number, string>> = {
  [EXIT_CODES.done]: 'done',
  [EXIT_CODES.failed]: 'failed, or something was found',
  [EXIT_CODES.usage]: 'wrong usage: nothing was done',
  [EXIT_CODES.stopped]: 'stopped by SIGINT or SIGTERM before the end',
}

/** The name of the program in messages and in the documentation. */
export const NAME = 'customers'

/** What `--help` shows beside arguments and options. */
export interface Details {
  /** Example command lines, each with what it does. */
  readonly examples: Readonly<Record<string, string>>
  /** The command's own descriptions, where they say more than {@link EXIT_CODE_MEANINGS}. */
  readonly exitCodes?: Readonly<Record<number, string>>
  /** The environment variables that matter most. */
  readonly variables?: readonly string[]
}

const NO_DETAILS: Details = { examples: {} }

/** A command whose errors are one line and whose help is complete. */
export class CliCommand extends Command {
  details: Details = NO_DETAILS
  // Commander has them, its types do not.
  declare unknownCommand: () => never
  declare missingArgument: (name: string) => never

  constructor(name?: string) {
    super(name)
    this.version(VERSION, '-V, --version', 'print the version')
    this.helpOption('-h, --help', 'print this help')
    this.helpCommand(false)
    this.configureHelp({
      optionDescription: (option) =>
        option.defaultValue === false ? option.description : Help.prototype.optionDescription(option),
    })
    this.addHelpText('after', () => detailsText(this.details))
  }

  override createCommand(name?: string): CliCommand {
    return new CliCommand(name)
  }

  /** Sets what `--help` shows beside arguments and options. */
  withDetails(details: Details): this {
    this.details = details
    return this
  }

  /** `customers audit history` */
  get path(): string {
    return this.parent instanceof CliCommand ? `${this.parent.path} ${this.name()}` : this.name()
  }

  /** A group without a command prints its help. */
  override help(): never {
    return super.help()
  }

  /** Suggests `audit history` for `history`, if a subcommand has that name. */
  private findBelow(name: string): string | undefined {
    for (const group of this.commands) {
      if (group.commands.some((each) => each.name() === name)) return `${group.name()} ${name}`
    }
    return undefined
  }

  override error(message: string, options?: ErrorOptions): never {
    const [problem = '', suggestion] = message.replace(/\.$/, '').split('\n')
    const nearest = suggestion?.replace(/^\(Did you mean (one of )?(.*?)\??\)$/, (_, several, names) =>
      several ? `; did you mean one of ${names}?` : `; did you mean ${names}?`,
    )
    const elsewhere = options?.code === 'commander.unknownCommand' ? this.findBelow(this.args[0] ?? '') : undefined
    const hint = (elsewhere && `; did you mean ${elsewhere}?`) ?? nearest ?? '.'
    return super.error(`${problem}${hint} See ${this.path} --help`, options)
  }
}

/**
 * For the default command of a group: an argument is then the name of a command that does not exist. Such a command has
 * to allow excess arguments.
 */
export function refuseArguments(command: CliCommand): void {
  const group = command.parent as CliCommand
  if (command.args.length === 0) return
  if (group.args[0] !== command.name()) group.unknownCommand()
  command.error(`error: too many arguments for '${command.name()}'`)
}

/**
 * Validates an option or argument: refuses a text for which `read` returns nothing. The command receives the text
 * itself.
 */
export function checked(read: (text: string) => unknown, accepted: string): (text: string) => string {
  return (text) => {
    if (read(text) === undefined) throw new InvalidArgumentError(`Accepted: ${accepted}.`)
    return text
  }
}

/** A reason or a note. */
export const aReason = checked((text) => (hasWords(text) ? text.trim() : undefined), 'a text')

/** The number of a request of a data subject. */
export const requestNumber = checked((text) => (/^[1-9]\d{0,14}$/.test(text) ? text : undefined), "a request's number")

/** An option that names a request. */
export const aRequest = (flags: string, description: string): Option =>
  new Option(flags, description).argParser(requestNumber)

/** For an option that may be repeated. */
export const repeated = (text: string, before: readonly string[] = []): string[] => [...before, text]

function detailsText({ examples, exitCodes = {}, variables = [] }: Details): string {
  const codes = Object.entries<string>({ ...pick(0, 1, 2), ...exitCodes })
  const sections = [
    section('Examples', Object.entries(examples)),
    section('Exit codes', codes),
    variables.length > 0
      ? `Environment variables (\`${NAME} config\` shows them all, with their values):\n${wrapped(variables)}`
      : '',
  ].filter((text) => text !== '')
  return `\n${sections.join('\n\n')}`
}

const pick = (...codes: number[]) => Object.fromEntries(codes.map((code) => [code, EXIT_CODE_MEANINGS[code] ?? '']))

function section(title: string, rows: readonly (readonly [string, string])[]): string {
  if (rows.length === 0) return ''
  const width = Math.min(58, Math.max(...rows.map(([name]) => name.length)))
  return `${title}:\n${rows.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`.trimEnd()).join('\n')}`
}

function wrapped(names: readonly string[]): string {
  const lines: string[] = []
  for (const name of names) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + name.length < 90) lines[lines.length - 1] = `${last}, ${name}`
    else lines.push(name)
  }
  return lines.map((line, index) => `  ${line}${index < lines.length - 1 ? ',' : ''}`).join('\n')
}
