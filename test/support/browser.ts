/** Debian's Chromium, for the tests that need a real browser. */
import { existsSync } from 'node:fs'
import type { Browser } from 'playwright-core'
import type { Test } from 'tap'

/** The first has no windows to start, which is a third of the work of these tests. */
const CHROMIUM = [
  '/usr/bin/chromium-headless-shell',
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
].find(existsSync)

/**
 * The first two are pages of the browser's own address bar, which each window loads in a process of its own: more work
 * than most tests. The others are those of Playwright that matter here, because Chromium takes the last list only: a wait
 * for the first paint, work ahead of navigations, and requests to Google.
 */
const WITHOUT = [
  'WebUIOmniboxPopup',
  'WebUIOmniboxAimPopup',
  'SpareRendererForSitePerProcess',
  'AimEnabled',
  'AvoidUnnecessaryBeforeUnloadCheckSync',
  'DestroyProfileOnBrowserClose',
  'HttpsFirstBalancedModeAutoEnable',
  'HttpsUpgrades',
  'MediaRouter',
  'NetworkTimeServiceQuerying',
  'OptimizationHints',
  'PaintHolding',
  'PreconnectToSearch',
]
const ARGUMENTS = ['--no-sandbox', '--in-process-gpu', `--disable-features=${WITHOUT.join(',')}`]

let started: Promise<Browser> | undefined

/**
 * One browser for all test files of a process; it is closed with them. Without Chromium the process ends as skipped, in
 * CI as failed.
 * @param t the root of the process's tests
 */
export async function startBrowser(t: Test): Promise<Browser> {
  if (CHROMIUM === undefined) {
    if (process.env.CI) throw new Error('There is no chromium: CI must not go without.')
    t.plan(0, 'chromium is not installed (apt-get install chromium-headless-shell)')
    process.exit(0)
  }
  if (started === undefined) {
    const { chromium } = await import('playwright-core')
    started = chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS })
    t.teardown(async () => (await started)?.close())
  }
  return started
}
