/** The README's session, pasted into a shell as it stands: it answers what the README says. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { CONSOLE_VARIABLES } from '../console/configuration.ts'
import { GATEWAY_VARIABLES } from '../gateway/configuration.ts'
import { loadConfiguration } from '../runtime/configuration.ts'
import { environment, temporaryFolder } from './support/graph.ts'
import { freePort } from './support/ports.ts'
import { startProcess, untilReady } from './support/processes.ts'
import { until } from './support/until.ts'

const readme = readFileSync(join(import.meta.dirname, '../README.md'), 'utf8')

t.test('the session', async (t) => {
  const port = await freePort()
  const folder = await temporaryFolder(t)
  const started = startProcess(t, 'start', folder, { GATEWAY_PORT: String(port) })
  await untilReady(started, `http://127.0.0.1:${port}/readyz`)
  await until('it says how to sign in', () => started.output().includes('Sign in:'))

  const blocks = [...readme.matchAll(/```sh session\n([\s\S]*?)```\n```(?:json)?\n([\s\S]*?)```/g)]
  t.ok(blocks.length >= 6)
  t.equal(blocks.length, readme.match(/```sh session/g)?.length, 'each block says what it prints')
  const script = blocks.map(([, commands]) => commands).join('\n')
  const { stdout, stderr } = spawnSync('bash', ['-euc', `TOKEN=; ${script}`.replaceAll(':4000', `:${port}`)], {
    cwd: join(import.meta.dirname, '..'),
    // Commands of the session read the same stores as the service.
    env: { ...process.env, ...environment(folder) },
    encoding: 'utf8',
  })
  t.equal(stderr, '')
  const settled = (text: string) =>
    text
      .replace(/eyJ[\w.-]+/g, '<token>')
      .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+Z)?/g, '<time>')
      .replace(/request [\w-]+/g, 'request <id>')
  t.equal(settled(stdout), settled(blocks.map(([, , answers]) => answers).join('')))
})

t.test('the README is short', async (t) => {
  t.ok(readme.split('\n').length <= 181, `${readme.split('\n').length - 1} lines`)
})

t.test('the configuration page names every variable', async (t) => {
  const page = readFileSync(join(import.meta.dirname, '../docs/configuration.md'), 'utf8')
  const own = { ...GATEWAY_VARIABLES, ...CONSOLE_VARIABLES }
  for (const variable of [...Object.keys(loadConfiguration({})), ...Object.keys(own)]) {
    t.match(page, new RegExp(`\`${variable}\``), variable)
  }
})

t.test('every npm script it names is there', async (t) => {
  const { scripts } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'))
  for (const [, script = ''] of readme.matchAll(/npm run (\w[\w-]*)/g)) t.type(scripts[script], 'string', script)
})
