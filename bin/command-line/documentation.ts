/** Generates docs/command-line.md from what the commands declare. Run as a program, it writes the page. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type CliCommand, EXIT_CODE_MEANINGS, NAME } from './cli-command.ts'
import { allCommands, createProgram } from './program.ts'

const HEAD = `# Command line

This page is generated from the commands themselves: \`npm run docs\` writes it.

Every process and every operator's command is a command of \`${NAME}\`:

\`\`\`sh
npm run audit -- history 1                      # in the project's folder; options go after --
npx ${NAME} audit history 1                   # the same
node bin/customers.js audit history 1           # the same, as containers call it
\`\`\`

\`npm run\` has the commands of the first level: \`npm run rebuild -- --verify\` is \`${NAME} rebuild --verify\`. \`npm start\` is
\`${NAME} start\`. \`npm run rebuild\` also limits the memory of the process.

\`${NAME} --help\` lists the commands, and \`--help\` after a command describes it. Help starts, writes and connects to nothing.
\`--version\` prints the version.

## Exit codes

| code | meaning |
|---|---|
${Object.entries(EXIT_CODE_MEANINGS)
  .map(([code, meaning]) => `| ${code} | ${meaning} |`)
  .join('\n')}

What a command found goes to standard output; progress, notes and errors go to standard error. An error that was thought of
is one line.
`

/** The whole page. */
export function markdown(): string {
  return `${[HEAD, ...[...allCommands(createProgram())].map(section)].join('\n')}`
}

function section(command: CliCommand): string {
  const { examples, exitCodes = {}, variables = [] } = command.details
  const args = command.registeredArguments.map((each) => {
    const name = each.required ? `<${each.name()}>` : `[${each.name()}]`
    const standard = each.defaultValue === undefined ? '' : ` Default: \`${each.defaultValue}\`.`
    return `| \`${name}\` | ${cell(sentence(each.description))}${choices(each.argChoices)}${standard} |`
  })
  const options = command.options
    .filter(({ long }) => long !== '--version')
    .map(({ flags, description, defaultValue, argChoices, mandatory }) => {
      const needed = mandatory && defaultValue === undefined ? ' Required.' : ''
      const standard = defaultValue === undefined || defaultValue === false ? '' : ` Default: \`${defaultValue}\`.`
      return `| \`${cell(flags)}\` | ${cell(sentence(description))}${choices(argChoices)}${needed}${standard} |`
    })
  const table = [...args, ...options]
  const codes = Object.entries(exitCodes).map(([code, meaning]) => `${code}: ${meaning}`)
  const depth = command.path.split(' ').length
  return [
    `${'#'.repeat(Math.min(depth, 4))} ${command.path}`,
    '',
    command.description(),
    '',
    '```sh',
    ...Object.entries(examples).map(([line, what]) => (what === '' ? line : `${line}   # ${what}`)),
    '```',
    '',
    ...(table.length > 0 ? ['| argument or option | |', '|---|---|', ...table, ''] : []),
    ...(codes.length > 0 ? [`Exit codes: ${codes.join('; ')}.`, ''] : []),
    ...(variables.length > 0 ? [`Environment: ${variables.map((name) => `\`${name}\``).join(', ')}.`, ''] : []),
  ].join('\n')
}

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}`.replace(/\.?$/, '.')
const cell = (text: string) => text.replaceAll('|', '\\|')
const choices = (names: readonly string[] | undefined) =>
  names ? ` One of ${names.map((n) => `\`${n}\``).join(', ')}.` : ''

if (import.meta.main) writeFileSync(join(import.meta.dirname, '../../docs/command-line.md'), markdown())
