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

for (const [name, start, ended] of [
  ['that comes up: it drains', 'await new Promise((resolve) => setTimeout(resolve, 300))', [0, null]],
  ['that waits for a store: it ends soon', 'await new Promise(() => setInterval(() => {}, 1000))', [null, 'SIGTERM']],
] as const) {
  t.test(`SIGTERM during a start ${name}`, async (t) => {
    const script = `
      const { runProcess } = await import(${JSON.stringify(PROCESS)})
      await runProcess(async () => {
        console.log('starting')
        ${start}
        return { close: async () => console.log('closed') }
      })`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(() => child.kill('SIGKILL'))
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    await once(child.stdout, 'data')
    child.kill('SIGTERM')
    t.same(await once(child, 'close'), ended)
    t.equal(output.includes('closed'), ended[0] === 0)
  })
}
