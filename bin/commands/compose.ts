/** `customers compose`: composes subgraph schemas into a supergraph. */
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { composeSupergraph } from '../../gateway/planning/compose.ts'

/**
 * @param output default: the configuration's path with .graphql for .yaml
 * @param contract what has one of these tags is left out for clients
 */
export async function compose(
  config: string,
  output = config.replace(/\.ya?ml$/, '.graphql'),
  contract: { readonly excludeTag?: readonly string[] } = {},
): Promise<void> {
  const result = await composeSupergraph(config, process.env, { excludeTags: contract.excludeTag ?? [] })
  if (result.supergraph === undefined) {
    for (const error of result.errors) console.error(error)
    const { length } = result.errors
    console.error(
      `\n${config} does not compose: ${length} ${length === 1 ? 'error' : 'errors'}. ${output} was not changed.`,
    )
    process.exitCode = 1
  } else if (output === config) {
    console.error(`${output}: the output would replace the configuration; name another file.`)
    process.exitCode = 1
  } else {
    for (const hint of result.hints) console.error(hint)
    try {
      write(output, result.supergraph)
      console.log(`${config} -> ${output}`)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      console.error(`${JSON.stringify(output)} can't be written (${code}).`)
      process.exitCode = 1
    }
  }
}

/** Replaces the file atomically, so a gateway that watches it never reads half of it. */
function write(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.tmp`
  try {
    writeFileSync(temporary, text)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}
