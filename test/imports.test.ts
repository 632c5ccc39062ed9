/** The layers: what each folder may import of ours (docs/architecture.md). Nothing but bin/ imports bin/. */
import { readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'

const MAY_IMPORT: Record<string, readonly string[]> = {
  runtime: [],
  schema: [],
  eventstore: ['runtime', 'schema'],
  projections: ['runtime', 'schema', 'eventstore'],
  audit: ['runtime', 'schema', 'eventstore', 'projections'],
  subgraph: ['runtime', 'schema', 'eventstore', 'projections', 'audit'],
  gateway: ['runtime', 'schema'],
  mail: ['runtime', 'schema', 'eventstore', 'projections'],
  console: ['runtime', 'schema', 'eventstore', 'projections', 'audit'],
  examples: ['runtime', 'gateway'],
  docs: ['runtime', 'schema', 'eventstore', 'projections', 'audit', 'subgraph', 'gateway', 'mail', 'console'],
  deploy: [],
  bin: [
    'runtime',
    'schema',
    'eventstore',
    'projections',
    'audit',
    'subgraph',
    'gateway',
    'mail',
    'console',
    'examples',
  ],
}
/** The subgraph uses the read model and the fold, not the worker. */
const READ_MODEL = /^projections\/(read-model|document-size|provenance|open|customer|fold|erasure|fence\/marks)\.ts$/
/** And what an auditor reads, not the commands. */
const TIMELINE = /^audit\/(criteria|history-states|moments|requests\/register|reveals|service-tokens|timeline)\.ts$/
/** The samples verify tokens as the gateway does, and plugins import its types. */
const FOR_EXAMPLES = /^gateway\/(authentication\/token-verifier|plugin)\.ts$/
/** The pure domain: the customer's document, the contracts, itself. */
const DOMAIN = /^(schema\/|projections\/customer\.ts$|subgraph\/domain\/)/
/** The mail worker uses the fold. */
const FOLD = /^projections\/(customer|fold)\.ts$/

/** Static and dynamic ones. */
const IMPORT = /\b(?:from |import |import\()'(\.[^']+)'/g

const root = join(import.meta.dirname, '..')

t.test('each folder imports only what it may', async (t) => {
  let imports = 0
  for (const [folder, allowed] of Object.entries(MAY_IMPORT)) {
    for await (const file of glob(`${folder}/**/*.ts`, { cwd: root })) {
      for (const [, specifier = ''] of readFileSync(join(root, file), 'utf8').matchAll(IMPORT)) {
        const target = normalize(join(dirname(file), specifier))
        const [to = ''] = target.split('/')
        imports++
        if (to === folder) continue
        t.ok(allowed.includes(to), `${file} may import ${specifier}`)
        if (folder === 'subgraph' && to === 'projections') t.match(target, READ_MODEL, `${file}: ${specifier}`)
        if (folder === 'subgraph' && to === 'audit') t.match(target, TIMELINE, `${file}: ${specifier}`)
        if (folder === 'examples' && to === 'gateway') t.match(target, FOR_EXAMPLES, `${file}: ${specifier}`)
        if (folder === 'mail' && to === 'projections') t.match(target, FOLD, `${file}: ${specifier}`)
      }
    }
  }
  t.ok(imports > 50, 'imports were found')
})

t.test('the domain is pure: it knows of no GraphQL, store or server', async (t) => {
  let files = 0
  for await (const file of glob('subgraph/domain/**/*.ts', { cwd: root })) {
    files++
    for (const [, specifier = ''] of readFileSync(join(root, file), 'utf8').matchAll(/\bfrom '([^']+)'/g)) {
      t.match(specifier, /^\./, `${file} imports no package: ${specifier}`)
      t.match(normalize(join(dirname(file), specifier)), DOMAIN, `${file}: ${specifier}`)
    }
  }
  t.ok(files > 4, 'its files were found')
})
