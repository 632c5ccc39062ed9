/** Command lines that are parsed as the program does, and not run. */
import { allCommands, createProgram } from '../../bin/command-line/program.ts'

/**
 * @param words those of a command line after `customers`
 * @returns the command that they run. @throws Error for words that are not accepted
 */
export async function commandOf(words: string | readonly string[]): Promise<string> {
  const list =
    typeof words === 'string'
      ? [...words.replace(/ +#.*$/, '').matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, word]) => quoted ?? word ?? '')
      : [...words]
  const program = createProgram()
  let path = ''
  for (const each of allCommands(program)) {
    each.configureOutput({ writeOut: () => {}, writeErr: () => {} })
    if (each.commands.length > 0) continue
    each.action(() => {
      path = each.path
    })
  }
  // It looks at the variables of this process, which has others.
  const environment = process.env
  process.env = {}
  try {
    await program.parseAsync(list, { from: 'user' })
  } finally {
    process.env = environment
  }
  return path
}
