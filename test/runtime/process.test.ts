/** How every process ends, and what does not end it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'

const PROCESS = join(import.meta.dirname, '../../runtime/process.ts')

t.test('a rejection that nobody handles is told, and ends no process', async (t) => {
  const script = `
    const { runProcess } = await import(${JSON.stringify(PROCESS)})
    await runProcess(async () => {
      Promise.reject(new Error('a library forgot this one'))
      setTimeout(() => console.log('still here'), 100)
      return { close: async () => {} }
    })
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let errors = ''
  child.stderr.on('data', (chunk) => {
    errors += chunk
  })
  const [said] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit').then(() => ['it ended'])])
  t.equal(String(said).trim(), 'still here')
  t.match(errors, /^unhandled rejection: .*a library forgot this one/m)
  child.kill('SIGTERM')
  t.same(await once(child, 'exit'), [0, null], 'and it still drains')
})
