/** The rules of deploy/prometheus and the panels of deploy/grafana: their expressions, and the metrics in them. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parser } from '@prometheus-io/lezer-promql'
import { parse } from 'yaml'

const FOLDER = join(import.meta.dirname, '../../deploy')
export const RULES = ['recording-rules.yml', 'alert-rules.yml'] as const

interface Rule {
  readonly record?: string
  readonly alert?: string
  readonly expr: string
  readonly for?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}
export interface Rules {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[]
}

export const rulesOf = (name: (typeof RULES)[number]): Rules =>
  parse(readFileSync(join(FOLDER, 'prometheus', name), 'utf8'))

/** The dashboards' JSON by file name. */
export function dashboards(): ReadonlyMap<string, string> {
  const folder = join(FOLDER, 'grafana/dashboards')
  return new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]))
}

/** The queries in the documentation, by page. */
function documented(): [where: string, expression: string][] {
  const folder = join(FOLDER, '../docs')
  const pages = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => /\.md$/.test(name))
  return pages.flatMap((name) =>
    [...readFileSync(join(folder, name), 'utf8').matchAll(/```promql\n([\s\S]*?)```/g)].flatMap(([, block = '']) =>
      block
        .split('\n')
        .filter((line) => line.trim() !== '')
        .map((line): [string, string] => [name, line]),
    ),
  )
}

/** The expressions of all rules, panels and pages, with what each stands in. */
export function expressions(): [where: string, expression: string][] {
  const rules = RULES.flatMap((name) =>
    rulesOf(name).groups.flatMap(({ rules }) =>
      rules.map(({ record, alert = record ?? '', expr }): [string, string] => [alert, expr]),
    ),
  )
  const panels = [...dashboards()].flatMap(([name, text]) => {
    const found: [string, string][] = []
    JSON.parse(text, (key, value) => {
      if (key === 'expr') found.push([name, withValues(value)])
      return value
    })
    return found
  })
  return [...rules, ...panels, ...documented()]
}

/** Grafana's variables with values. */
const withValues = (expression: string) => expression.replaceAll('$__rate_interval', '5m').replaceAll(/\$\w+/g, '.*')

/** What is wrong with an expression: the texts that do not parse. */
export function syntaxErrors(expression: string): string[] {
  const errors: string[] = []
  parser.parse(expression).iterate({
    enter({ type, from, to }) {
      if (type.isError) errors.push(expression.slice(from, to) || `at ${from}`)
    },
  })
  return errors
}

/** The names of the metrics in an expression. */
function metricsOf(expression: string): string[] {
  const names: string[] = []
  parser.parse(expression).iterate({
    enter({ name, from, to, node }) {
      if (name === 'Identifier' && node.parent?.name === 'VectorSelector') names.push(expression.slice(from, to))
    },
  })
  return names
}

/** Those of all rules and panels. */
export const metricsIn = (): ReadonlySet<string> =>
  new Set(expressions().flatMap(([, expression]) => metricsOf(expression)))
