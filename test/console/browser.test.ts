/** The console in a real browser: by mouse and by keyboard, for everybody, within its own CSP. */
import t from 'tap'
import { openTab, photograph, startBrowser, startConsole } from './support.ts'

const browser = await startBrowser(t)

t.test('signing in, a reason, and signing out', async (t) => {
  const { app } = await startConsole(t)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const tab = await openTab(t, browser, url, 'auditor')
  await photograph(t, tab, 'home')
  await tab.page.getByRole('button', { name: 'Sign out' }).click()
  await photograph(t, tab, 'signed-out')
  await tab.page.getByRole('link', { name: 'Sign in again' }).click()
  await photograph(t, tab, 'sign-in')
})
