/**
 * The rules of deploy/prometheus: valid, tested, each alert with a severity and a runbook whose commands are ones that exist.
 * The dashboards of deploy/grafana: as their builder makes them, each panel with a unit and a description.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { generatedFiles } from '../../deploy/grafana/build.ts'
import { commandOf } from './commands.ts'
import { dashboards, expressions, RULES, rulesOf, syntaxErrors } from './promql.ts'

const root = join(import.meta.dirname, '../..')
const FOLDER = join(root, 'deploy/prometheus')
const RUNBOOKS = join(root, 'docs/runbooks')
const skip = spawnSync('promtool', ['--version']).error ? 'promtool is not installed' : false
const alerts = rulesOf('alert-rules.yml').groups.flatMap(({ rules }) => rules)
const TESTS = readdirSync(join(FOLDER, 'tests'))

/** A third of promtool's time goes into collecting garbage. */
const LAZY = { GOGC: '800', GOMAXPROCS: '1' }

/** Runs promtool there. @returns what it prints; undefined where all is well */
function promtool(...args: string[]): string | undefined {
  const { status, stdout, stderr } = spawnSync('promtool', args, {
    cwd: FOLDER,
    encoding: 'utf8',
    env: { ...process.env, ...LAZY },
  })
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

t.test('npm run dashboards has been run: dashboards, and the rules as an object of Kubernetes', async (t) => {
  const files = generatedFiles()
  t.equal(files.size, 4)
  for (const [path, text] of files) t.equal(readFileSync(join(root, 'deploy', path), 'utf8'), text, path)
  const own = [...files.keys()].filter((path) => path.startsWith('grafana/')).map((path) => basename(path))
  t.same([...dashboards().keys()].toSorted(), own.toSorted(), 'no others')
  const { configMapGenerator } = parse(readFileSync(join(root, 'deploy/grafana/kustomization.yaml'), 'utf8'))
  const inKubernetes = configMapGenerator.flatMap(({ files }: { readonly files: readonly string[] }) => files)
  t.same(
    inKubernetes.map((path: string) => basename(path)),
    own.toSorted(),
  )
})

t.test('each panel has a unit, a description and its own place; data source and namespace are variables', async (t) => {
  interface Panel {
    readonly type: string
    readonly title: string
    readonly description?: string
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
    readonly datasource?: { readonly uid: string }
    readonly fieldConfig?: { readonly defaults: { readonly unit?: string } }
    readonly targets?: readonly { readonly expr: string; readonly refId: string }[]
  }
  for (const [name, text] of dashboards()) {
    const { panels, templating, uid } = JSON.parse(text) as {
      readonly panels: readonly Panel[]
      readonly templating: { readonly list: readonly { readonly name: string; readonly type: string }[] }
      readonly uid: string
    }
    t.equal(`${uid}.json`, name)
    t.match(templating.list, [
      { name: 'datasource', type: 'datasource' },
      { name: 'namespace', type: 'query' },
    ])
    const taken = new Set<string>()
    const titles = new Set<string>()
    for (const { type, title, description, gridPos, datasource, fieldConfig, targets = [] } of panels) {
      t.notOk(titles.has(title), `${name}: ${title} is there once`)
      titles.add(title)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          if (x > 23 || taken.has(`${x} ${y}`)) t.fail(`${name}: ${title} overlaps`)
          taken.add(`${x} ${y}`)
        }
      }
      if (type === 'row') continue
      t.ok(fieldConfig?.defaults.unit, `${name}: ${title} has a unit`)
      t.match(description, /^\S.{20,}/, `${name}: ${title} has a description`)
      t.equal(datasource?.uid, '$datasource')
      t.ok(targets.length > 0)
      for (const { expr } of targets) t.match(expr, 'namespace=~"$namespace"', title)
      t.equal(
        new Set(targets.map(({ refId }) => refId)).size,
        targets.length,
        `${name}: ${title}: each query has its id`,
      )
    }
    t.ok(panels.length > 10)
  }
})
