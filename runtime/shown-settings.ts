/** Settings as they may be shown: every variable, its value, and where it comes from. Secrets are hidden. */
import { existsSync } from 'node:fs'
import { type Configuration, isEmbedded, readVariable, type Variable } from './configuration.ts'
import { KEY_VARIABLES, keyFile } from './service-keys.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** The state of one variable. */
export interface ShownSetting {
  readonly name: string
  /** The value to show: secrets are hidden; null: not set. */
  readonly value: string | null
  readonly source: string
  readonly problem?: string
}

/** A variable as the environment has it. */
export function shownSetting(name: string, variable: Variable, env: Environment): ShownSetting {
  try {
    const { value, source } = readVariable(name, variable, env)
    const from = source === 'file' ? `file ${env[`${name}_FILE`]}` : source
    return { name, value: shown(name, value, variable), source: from }
  } catch (error) {
    const isInFile = variable.secret && env[`${name}_FILE`]
    const value = variable.secret ? '(hidden)' : (env[name] ?? null)
    const problem = (error as Error).message.split('\n')[0] ?? ''
    return { name, value, source: isInFile ? `file ${isInFile}` : 'environment', problem }
  }
}

function shown(name: string, value: unknown, { secret }: Variable): string | null {
  if (value === undefined) return null
  if (secret) return /_(URL|ENDPOINT)$/.test(name) ? shownUrl(String(value)) : '(hidden)'
  return Array.isArray(value) ? value.join(',') || 'none' : String(value)
}

/**
 * The full path of a file; for a server, only its kind and host, because the rest may contain a password or a token.
 */
export function shownUrl(url: string): string {
  if (url.startsWith('sqlite:')) return url
  const [, scheme = '', host = '', rest = ''] = /^([a-z+-]+:\/\/)(?:.*@)?([^/?#]*)(.*)$/i.exec(url) ?? []
  return scheme === '' ? '(hidden)' : `${scheme}${host}${rest.length > 1 ? '/…' : ''}`
}

/** The same with values that are derived from others, and keys in files of the data folder. */
export function withDerived(setting: ShownSetting, configuration: Configuration): ShownSetting {
  const { name, value, source } = setting
  if (source !== 'default') return setting
  if (name === 'EVENTSTORE_URL' || name === 'READMODEL_URL') {
    const url = configuration[name]
    return url === ''
      ? { ...setting, value: '', source: 'environment' }
      : { ...setting, value: url, source: 'default, in DATA_DIR' }
  }
  if (name === 'LOG_LEVEL') return { ...setting, value: configuration.LOG_LEVEL }
  const variable = KEY_VARIABLES.find((each) => each === name)
  if (variable === undefined || value !== null || configuration.EVENTSTORE_URL === '' || !isEmbedded(configuration)) {
    return setting
  }
  const path = keyFile(configuration, variable)
  return existsSync(path)
    ? { ...setting, value: '(hidden)', source: `generated file ${path}` }
    : { ...setting, source: `default: ${path}, which npm start makes in a new data folder` }
}
