/** The layers: what each folder may import of ours (design: folders). */
import { readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'

const MAY_IMPORT: Record<string, readonly string[]> = {
  schema: [],
  eventstore: ['schema'],
  projections: ['schema', 'eventstore'],
  subgraph: ['schema', 'eventstore', 'projections'],
  gateway: ['schema'],
  mail: ['schema', 'eventstore', 'projections'],
}
/** Of the projections, the subgraph uses the read model, the fold and what an auditor reads, not the worker. */
const READ_MODEL =
  /^projections\/(read-model|provenance|open|customer|fold|erasure|fence\/marks|audit\/(moments|reveals|timeline))\.ts$/
/** And the mail worker the fold. */
const FOLD = /^projections\/(customer|fold)\.ts$/

const root = join(import.meta.dirname, '..')

t.test('each folder imports only what it may', async (t) => {
  let imports = 0
  for (const [folder, allowed] of Object.entries(MAY_IMPORT)) {
    for await (const file of glob(`${folder}/**/*.ts`, { cwd: root })) {
      for (const [, specifier = ''] of readFileSync(join(root, file), 'utf8').matchAll(/\bfrom '(\.[^']+)'/g)) {
        const target = normalize(join(dirname(file), specifier))
        const [to = ''] = target.split('/')
        imports++
        if (to === folder) continue
        t.ok(allowed.includes(to), `${file} may import ${specifier}`)
        if (folder === 'subgraph' && to === 'projections') t.match(target, READ_MODEL, `${file}: ${specifier}`)
        if (folder === 'mail' && to === 'projections') t.match(target, FOLD, `${file}: ${specifier}`)
      }
    }
  }
  t.ok(imports > 50, 'imports were found')
})
