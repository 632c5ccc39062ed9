/** Who gets into the console, and what they may do: sign-in, sessions, roles, forms, headers, escaping. */
import t from 'tap'
import { startConsole, visitor } from './support.ts'

t.test('each route is for the roles that it names, whoever asks how', async (t) => {
  const console = await startConsole(t)
  const nobody = visitor(console.app)
  t.match(await nobody.get('/'), { status: 303, location: '/sign-in?back=%2F' })
  t.match(await nobody.post('/sign-out'), { status: 401 })
  const auditor = await console.signIn('auditor')
  const home = await auditor.get('/')
  t.match(home.headers, {
    'content-security-policy': /^default-src 'none'; script-src 'self'; .*require-trusted-types-for 'script'/,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
  const operator = await console.signIn('operator')
  t.match(await operator.post('/reason', { reason: 'x' }), { status: 403 })
  t.match(await auditor.post('/reason', { reason: 'x' }), { status: 303 })
  t.match((await auditor.get('/')).body, /You see personal data until/)
})
