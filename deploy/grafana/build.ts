/**
 * `npm run dashboards`: writes what is made of other files: the dashboards for Grafana, and for the operator of Prometheus
 * the rules as an object of Kubernetes. test/deploy/rules-and-dashboards.test.ts compares the two.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { graphDashboard } from './graph.ts'
import { logDashboard } from './log.ts'
import { privacyDashboard } from './privacy.ts'

const FOLDER = join(import.meta.dirname, '..')
const RULES = ['recording-rules.yml', 'alert-rules.yml']

/** The generated files by their path in deploy/, as they should be. */
export function generatedFiles(): ReadonlyMap<string, string> {
  const dashboards = [graphDashboard(), logDashboard(), privacyDashboard()].map((dashboard): [string, string] => [
    `grafana/dashboards/${dashboard.uid}.json`,
    `${JSON.stringify(dashboard, null, 2)}\n`,
  ])
  return new Map([...dashboards, ['kubernetes/components/prometheus-operator/rules.yaml', prometheusRule()]])
}

/** The rules of deploy/prometheus as the operator takes them. */
function prometheusRule(): string {
  const groups = RULES.flatMap((name) => parse(readFileSync(join(FOLDER, 'prometheus', name), 'utf8')).groups)
  const rule = {
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: { name: 'customers', labels: { 'app.kubernetes.io/name': 'customers' } },
    spec: { groups },
  }
  return `# Generated from deploy/prometheus by npm run dashboards.\n${stringify(rule, { lineWidth: 0 })}`
}

if (import.meta.main) {
  for (const [path, text] of generatedFiles()) writeFileSync(join(FOLDER, path), text)
}
