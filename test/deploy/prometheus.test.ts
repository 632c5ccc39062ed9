/** The rules of deploy/prometheus: valid, tested, each alert with a severity and a runbook whose commands are ones that exist. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { commandOf } from './commands.ts'
import { expressions, RULES, rulesOf, syntaxErrors } from './promql.ts'

const root = join(import.meta.dirname, '../..')
const FOLDER = join(root, 'deploy/prometheus')
const RUNBOOKS = join(root, 'docs/runbooks')
const skip = spawnSync('promtool', ['--version']).error ? 'promtool is not installed' : false
const alerts = rulesOf('alert-rules.yml').groups.flatMap(({ rules }) => rules)
const TESTS = readdirSync(join(FOLDER, 'tests'))

/** Runs promtool there. @returns what it prints; undefined where all is well */
function promtool(...args: string[]): string | undefined {
  const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: FOLDER, encoding: 'utf8' })
  return status === 0 ? undefined : `${stdout}${stderr}`
}

t.test('promtool: rules and configuration are valid, and the unit tests pass', { skip }, async (t) => {
  t.equal(promtool('check', 'rules', ...RULES), undefined)
  t.equal(promtool('check', 'config', 'prometheus.yml'), undefined)
  t.equal(promtool('test', 'rules', ...TESTS.map((name) => join('tests', name))), undefined)
})

t.test('each alert has a unit test in which it fires, and is quiet before', async (t) => {
  interface UnitTest {
    readonly alert_rule_test: readonly { readonly alertname: string; readonly exp_alerts?: readonly unknown[] }[]
  }
  const cases = TESTS.flatMap(
    (name) =>
      (parse(readFileSync(join(FOLDER, 'tests', name), 'utf8')) as { readonly tests: readonly UnitTest[] }).tests,
  ).flatMap((each) => each.alert_rule_test)
  for (const { alert = '' } of alerts) {
    const own = cases.filter(({ alertname }) => alertname === alert)
    t.ok(
      own.some(({ exp_alerts }) => exp_alerts?.length),
      `${alert} fires`,
    )
    t.ok(
      own.some(({ exp_alerts }) => exp_alerts === undefined),
      `${alert} is quiet`,
    )
  }
})

t.test('each alert has a severity, texts, and a runbook with the four headings', async (t) => {
  t.ok(alerts.length > 15)
  const index = readFileSync(join(RUNBOOKS, 'README.md'), 'utf8')
  for (const { alert = '', labels = {}, annotations = {} } of alerts) {
    t.match(labels.severity, /^(critical|warning|info)$/, alert)
    for (const key of ['summary', 'description']) t.ok(annotations[key], `${alert}: ${key}`)
    t.ok(annotations.runbook_url?.endsWith(`/docs/runbooks/${alert}.md`), alert)
    const page = readFileSync(join(RUNBOOKS, `${alert}.md`), 'utf8')
    t.equal(/^# (.*)$/m.exec(page)?.[1], alert)
    const headings = [...page.matchAll(/^## (.*)$/gm)].map(([, heading]) => heading)
    t.same(headings, ['Meaning', 'Impact', 'Diagnosis', 'Mitigation'], alert)
    t.match(index, `| [${alert}](${alert}.md) | ${labels.severity} |`)
  }
  const pages = readdirSync(RUNBOOKS).filter((name) => name !== 'README.md')
  t.same(pages.toSorted(), alerts.map(({ alert }) => `${alert}.md`).toSorted(), 'no page without its alert')
})

t.test('each expression parses, in rules, panels and runbooks', async (t) => {
  t.not(syntaxErrors('sum(rate(x[5m])').length, 0, 'what does not parse is noticed')
  for (const [where, expression] of expressions()) t.same(syntaxErrors(expression), [], `${where}: ${expression}`)
})

t.test("the runbooks' commands are ones of the command line", async (t) => {
  let count = 0
  for (const name of readdirSync(RUNBOOKS)) {
    const page = readFileSync(join(RUNBOOKS, name), 'utf8')
    for (const [, line = ''] of page.matchAll(/^ *(?:.*[|] |npx )?customers ([a-z].*)$/gm)) {
      t.ok(await commandOf(line), `${name}: customers ${line}`)
      count++
    }
  }
  t.ok(count > 15)
})
