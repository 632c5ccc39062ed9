/** The version of this service, as package.json says it. */
import { readFileSync } from 'node:fs'

export const { version: VERSION } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  readonly version: string
}
