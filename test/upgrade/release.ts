/** The last release beside the working tree, out of git, with the packages of the working tree. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')
const git = (...args: string[]) =>
  execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()

export interface Release {
  readonly name: string
  readonly folder: string
  /** What runs a process: the path of the script and its arguments. */
  command(process: 'subgraph' | 'projections'): readonly [script: string, ...args: string[]]
  /** Whether the release knows the variable. */
  knows(variable: string): boolean
}

/**
 * Unpacks the last release: that of the last tag before this commit; where there is none, that of the last commit before it
 * that gave the package another version.
 * @param folder a new folder
 * @returns the release, or why it can't be run here
 */
export function unpackLastRelease(folder: string): Release | string {
  let commit: string
  try {
    if (git('rev-parse', '--is-shallow-repository') === 'true')
      return 'this is a shallow clone, without the last release'
    commit = lastTag() ?? git('log', '-1', '--format=%H', '-G"version":', 'HEAD^', '--', 'package.json')
  } catch {
    return 'this is no git repository, or has no release'
  }
  if (commit === '') return 'git has no release'
  mkdirSync(folder)
  const archive = execFileSync('git', ['archive', '--format=tar', commit], { cwd: root, maxBuffer: 2 ** 28 })
  execFileSync('tar', ['-x', '-C', folder], { input: archive })
  const missing = missingPackages(folder)
  if (missing.length > 0) return `${commit} needs other packages than are installed: ${missing.join(', ')}`
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  const { version } = packageOf(folder)
  return releaseIn(folder, `${version} (${commit.slice(0, 12)})`)
}

function lastTag(): string | undefined {
  try {
    return git('describe', '--tags', '--abbrev=0', 'HEAD^')
  } catch {
    return undefined
  }
}

interface Package {
  readonly version: string
  readonly scripts: Readonly<Record<string, string>>
  readonly dependencies: Readonly<Record<string, string>>
}

const packageOf = (folder: string): Package => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))

/** Its packages that are not installed here, or in a version that its range (`^1.2.3`) does not allow. */
function missingPackages(folder: string): string[] {
  return Object.entries(packageOf(folder).dependencies).flatMap(([name, range]) => {
    const file = join(root, 'node_modules', name)
    if (!existsSync(join(file, 'package.json'))) return [name]
    const [wanted, installed] = [range.replace('^', ''), packageOf(file).version].map((text) =>
      text.split('.').map(Number),
    )
    const isMajor = wanted?.[0] === installed?.[0] && (wanted?.[0] !== 0 || wanted[1] === installed?.[1])
    const isLater = (installed?.[1] ?? 0) >= (wanted?.[1] ?? 0)
    return isMajor && isLater ? [] : [`${name} ${range}`]
  })
}

function releaseIn(folder: string, name: string): Release {
  const { scripts } = packageOf(folder)
  const configuration = readFileSync(join(folder, 'runtime/configuration.ts'), 'utf8')
  return {
    name,
    folder,
    command(process) {
      // `node --flag=1 bin/customers.js subgraph`
      const [script = '', ...args] = (scripts[process] ?? '')
        .split(' ')
        .filter((word) => word !== 'node' && !word.startsWith('--'))
      return [join(folder, script), ...args]
    },
    knows: (variable) => new RegExp(`\\b${variable}:`).test(configuration),
  }
}
