/** The arguments of `npm run bench`, `npm run fuzz` and `npm run history`. */
import { type ParseArgsConfig, parseArgs } from 'node:util'

/** @param usage printed for `--help`. What is not accepted ends the process with one line. */
export function readArguments<T extends ParseArgsConfig>(config: T, usage: string): ReturnType<typeof parseArgs<T>> {
  if (process.argv.includes('--help')) {
    console.log(usage)
    process.exit()
  }
  try {
    return parseArgs(config)
  } catch (error) {
    const accepted = Object.keys(config.options ?? {}).map((name) => `--${name}`)
    return refuse(`${(error as Error).message}. Accepted: ${accepted.join(', ')}.`)
  }
}

/** The number above 0 that an option gives. Anything else ends the process with one line. */
export function positive(name: string, value: string): number {
  const number = Number(value)
  return number > 0 && Number.isFinite(number) ? number : refuse(`--${name} is a number above 0, not "${value}".`)
}

/** The same, where 0 means none. */
export function zeroOrMore(name: string, value: string): number {
  const number = Number(value)
  const isOne = number >= 0 && Number.isFinite(number) && value !== ''
  return isOne ? number : refuse(`--${name} is a number from 0 on, not "${value}".`)
}

export function refuse(message: string): never {
  console.error(message)
  process.exit(1)
}
