/** The command line as a whole: help, versions, wrong usage, exit codes, and the documentation that is made of it. */
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { chmod, cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { CliCommand } from '../bin/command-line/cli-command.ts'
import { markdown } from '../bin/command-line/documentation.ts'
import { allCommands, createProgram } from '../bin/command-line/program.ts'
import { runCommand } from './support/commands.ts'
import { environment, temporaryFolder } from './support/graph.ts'
import { KEYS } from './support/keys.ts'
import { freePort } from './support/ports.ts'
import { startProcess, untilReady } from './support/processes.ts'
import { until } from './support/until.ts'

const root = join(import.meta.dirname, '..')
const program = join(root, 'bin/customers.js')
const commands = [createProgram(), ...allCommands(createProgram())] as CliCommand[]

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the command line in a folder, with nothing in its environment but what is given. */
function run(folder: string, args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => {
    output.stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    output.stderr += chunk
  })
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, ...output })))
}

const wordsOf = (command: CliCommand) => command.path.split(' ').slice(1)

/** What is given to a process: each way in which one starts and ends. The others are run in the process that commands share alone, by the same program. */
const AS_PROCESSES = [
  '--help',
  'subgraph --help',
  'audit --help',
  'audit history --help',
  'keys rotat',
  'compose none.yaml',
  'audit check none.json --key none.pem',
]
/** It is not awaited, so that it can't be run there. */
const ONLY_AS_PROCESS = 'healthcheck http://127.0.0.1:1/readyz'

async function runLine(t: Test, folder: string, line: string, env: Record<string, string> = {}): Promise<Ended> {
  if (line === ONLY_AS_PROCESS) return run(folder, line.split(' '), env)
  const here = await runCommand(folder, line.split(' '), env)
  if (AS_PROCESSES.includes(line)) {
    t.match(here, await run(folder, line.split(' '), env), `${line}: it ends here as in a process`)
  }
  return here
}

t.test('--help of every command: what it does, its options, examples, exit codes; nothing else happens', async (t) => {
  const folder = await temporaryFolder(t)
  t.ok(commands.length > 30)
  for (const command of commands) {
    const { code, stdout, stderr } = await runLine(t, folder, [...wordsOf(command), '--help'].join(' '))
    t.match({ code, stderr }, { code: 0, stderr: '' }, command.path)
    t.ok(stdout.startsWith(`Usage: ${command.path} `), command.path)
    for (const { long } of command.options) t.ok(stdout.includes(long ?? ''), `${command.path} ${long}`)
    for (const argument of command.registeredArguments) t.ok(stdout.includes(argument.name()), command.path)
    for (const name of command.details.variables ?? []) t.ok(stdout.includes(name), `${command.path}: ${name}`)
    t.match(stdout, /^Examples:\n {2}\S/m, command.path)
    t.match(stdout, /^Exit codes:\n {2}0 +\S.*\n {2}1 +\S.*\n {2}2 +\S/m, command.path)
  }
  t.same(await readdir(folder), [], 'nothing is written')
})

t.test('every example is a command line that is accepted', async (t) => {
  for (const { details, path } of commands) {
    for (const example of Object.keys(details.examples)) {
      const line = /(?:^|[ |])customers (.*)$/.exec(example)?.[1] ?? ''
      const words = [...line.replace(/ > \S+$/, '').matchAll(/'([^']*)'|(\S+)/g)].map(
        ([, quoted, word]) => quoted ?? word,
      )
      const parsed = createProgram()
      let ran = ''
      for (const each of allCommands(parsed)) {
        each.configureOutput({ writeOut: () => {}, writeErr: () => {} })
        if (each.commands.length > 0) continue
        each.action(() => {
          ran = each.path
        })
      }
      const problem = await parsed.parseAsync(words as string[], { from: 'user' }).catch((error: Error) => error)
      const isHelp = 'code' in problem && problem.code === 'commander.helpDisplayed'
      t.ok(isHelp || ran.startsWith(path), `${example}: ${'message' in problem ? problem.message : ran}`)
    }
  }
})

t.test('--version', async (t) => {
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  const folder = await temporaryFolder(t)
  const printed = { code: 0, stdout: `${version}\n`, stderr: '' }
  t.same(await run(folder, ['--version']), printed)
  for (const args of [['-V'], ['rebuild', '--version'], ['audit', 'history', '--version']]) {
    t.match(await runCommand(folder, args), printed, args.join(' '))
  }
})

t.test('without a command the help is printed', async (t) => {
  const folder = await temporaryFolder(t)
  t.match(await run(folder, []), { code: 0, stdout: /^Usage: customers /, stderr: '' })
  t.match(await runCommand(folder, ['audit']), { code: 0, stdout: /^Usage: customers audit /, stderr: '' })
})

t.test('wrong usage: one line that names the nearest, exit code 2, and nothing is done', async (t) => {
  const folder = await temporaryFolder(t)
  const lines = [
    ['strat', /unknown command 'strat'; did you mean start\? See customers --help$/],
    ['history 1', /unknown command 'history'; did you mean audit history\?/],
    ['audit histry 1', /unknown command 'histry'; did you mean history\? See customers audit --help$/],
    ['keys rotat', /unknown command 'rotat'; did you mean rotate\?/],
    ['parked shw 7', /unknown command 'shw'; did you mean show\?/],
    ['rebuild --verfy', /unknown option '--verfy'; did you mean --verify\?/],
    ['start --hlep', /unknown option '--hlep'; did you mean --help\?/],
    ['secrets --what', /unknown option '--what'/],
    ['gateway now', /too many arguments for 'gateway'/],
    ['plan', /missing required argument 'file'/],
    ['token --scope customers:read', /required option '--subject <name>' not specified/],
    ['projections --mode', /option '--mode <mode>' argument missing/],
    ['config --for nobody', /'nobody' is invalid\. Allowed choices are start,/],
  ] as const
  for (const [line, message] of lines) {
    const { code, stdout, stderr } = await runLine(t, folder, line)
    t.equal(code, 2, line)
    t.equal(stdout, '', line)
    t.equal(stderr.trim().split('\n').length, 1, stderr)
    t.match(stderr.trim(), message)
  }
  t.same(await readdir(folder), [], 'nothing is written')
})

t.test('what fails has exit code 1', async (t) => {
  const folder = await temporaryFolder(t)
  const lines = [
    ['healthcheck http://127.0.0.1:1/readyz', {}, /does not answer/],
    ['healthcheck nonsense', {}, /can't be asked/],
    ['compose none.yaml', {}, /none\.yaml: ENOENT/],
    ['plan none.graphql', {}, /ENOENT.*none\.graphql/],
    ['audit check none.json --key none.pem', {}, /"none\.pem" can't be read/],
    [
      'start',
      { NODE_ENV: 'prod' },
      /^error: NODE_ENV: "prod" can't be used; accepted: production, development or test\.$/m,
    ],
    ['samples', { SUBGRAPH_URL_CUSTOMERS: 'nonsense' }, /^error: SUBGRAPH_URL_CUSTOMERS: "nonsense" can't be used/],
  ] as const
  for (const [line, env, message] of lines) {
    const { code, stderr } = await runLine(t, folder, line, env)
    t.equal(code, 1, `${line}: ${stderr}`)
    t.match(stderr, message)
  }
  t.same(await readdir(folder), [], 'nothing is written')
})

t.test('output that is lost on a full disk is a failure', { skip: !existsSync('/dev/full') }, async (t) => {
  const folder = await temporaryFolder(t)
  const full = openSync('/dev/full', 'w')
  t.teardown(() => closeSync(full))
  // The second ends its process right after it has printed.
  for (const args of [['--version'], ['audit', 'key']]) {
    const { status: code, stderr } = spawnSync(process.execPath, [program, ...args], {
      cwd: folder,
      env: { PATH: process.env.PATH, ...environment(folder) },
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    })
    t.equal(code, 1, args.join(' '))
    t.match(stderr, /^error: standard output can't be written \(ENOSPC\): [^\n]*\n$/)
  }
})

t.test('a disk that is full keeps nothing of a secret', { skip: process.platform === 'win32' }, async (t) => {
  const folder = await temporaryFolder(t)
  const shell = ['-c', 'ulimit -f 0; exec "$0" "$@"', process.execPath, program, 'secrets']
  const env = { PATH: process.env.PATH, NODE_DISABLE_COMPILE_CACHE: '1' }
  const { status: code, stderr } = spawnSync('sh', shell, { cwd: folder, env, encoding: 'utf8' })
  t.equal(code, 1)
  t.match(stderr, /^error: secrets\/token-signing-key\.pem can't be written: EFBIG: [^\n]*\n$/)
  t.same(await readdir(join(folder, 'secrets')), [], 'the next time would keep it as one that is there already')
})

t.test('`secrets` says in a line that it may not write its folder', async (t) => {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, 'secrets'), '')
  const run = () => spawnSync(process.execPath, [program, 'secrets'], { cwd: folder, encoding: 'utf8' })
  t.match(run(), { status: 1, stderr: /^error: secrets can't be written: EEXIST: [^\n]*\n$/ })
  if (process.getuid?.() === 0) return t.comment('root may enter every folder')
  await rm(join(folder, 'secrets'))
  await mkdir(join(folder, 'secrets'), { mode: 0o000 })
  t.match(run(), { status: 1, stderr: /^error: secrets\/token-signing-key\.pem can't be written: EACCES: [^\n]*\n$/ })
  await chmod(join(folder, 'secrets'), 0o700)
})

t.test('a Node that is too old says which one is needed', async (t) => {
  // What such a Node reads: no TypeScript, and nothing of ours is imported before the question is asked.
  t.notMatch(await readFile(program, 'utf8'), /^import .*from '(?!node:)/m)
  const script = `Object.defineProperty(process.features, 'typescript', { value: false }); await import(${JSON.stringify(program)})`
  const { status: code, stderr: output } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
  })
  t.equal(code, 1)
  t.match(output, /^error: Node \d+\.\d+\.\d+ can't run this: Node 24 is needed\. .*\n$/)
})

t.test('some commands run with settings of the heap, unless told otherwise', (t) => {
  const probe = `--import=${encodeURI('data:text/javascript,process.on("exit",()=>console.error(process.execArgv.join()))')}`
  const optionsOf = (...args: string[]) =>
    spawnSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: probe } }).stderr
  t.match(optionsOf(program, 'audit', '--help'), /^--max-semi-space-size=8$/m)
  t.match(optionsOf('--max-semi-space-size=12', program, 'audit', '--help'), /^--max-semi-space-size=12$/m)
  t.match(optionsOf(program, 'gateway', '--help'), /^--max-semi-space-size=24,--heap-growing-percent=30$/m)
  t.match(optionsOf(program, 'subgraph', '--help'), /^--max-semi-space-size=32$/m)
  t.notMatch(optionsOf(program, 'projections', '--help'), /semi-space/)
  t.end()
})

t.test('a folder with a blank and an umlaut in its path', async (t) => {
  const folder = join(await temporaryFolder(t), 'mein Geschäft')
  await mkdir(folder)
  const parts = [
    'bin',
    'runtime',
    'schema',
    'eventstore',
    'projections',
    'audit',
    'subgraph',
    'console',
    'gateway',
    'mail',
    'console',
    'examples',
  ]
  for (const part of [...parts, 'package.json']) await cp(join(root, part), join(folder, part), { recursive: true })
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  const port = await freePort()
  const env = {
    GATEWAY_PORT: String(port),
    SUBGRAPH_PORT: '0',
    SAMPLES_PORT: '0',
    CONSOLE_PORT: '0',
    DATA_DIR: 'Daten hier',
  }
  const names = ['EVENTSTORE_URL', 'READMODEL_URL', 'MASTER_KEY', ...Object.keys(KEYS)]
  const cleared = Object.fromEntries(names.map((name) => [name, '']))
  const started = startProcess(t, 'start', folder, { ...cleared, ...env }, [], join(folder, 'bin/customers.js'))
  await untilReady(started, `http://127.0.0.1:${port}/readyz`)
  await until('it says how to sign in', () => started.output().includes('Sign in:'))
  t.same(
    (await readdir(join(folder, 'Daten hier'))).filter((name) => /\.(db|pem)$|-key$/.test(name)).sort(),
    [
      'audit-signing-key.pem',
      'email-hash-key',
      'events-keys.db',
      'events.db',
      'master-key',
      'readmodel.db',
      'token-signing-key.pem',
    ],
    'all the embedded data moves with DATA_DIR',
  )
  t.notOk((await readdir(folder)).includes('data'))
  t.equal(await started.end('SIGTERM'), 0)
})

t.test('docs/command-line.md is what the commands declare', async (t) => {
  const page = await readFile(join(root, 'docs/command-line.md'), 'utf8')
  t.equal(page, markdown(), 'run npm run docs')
})
