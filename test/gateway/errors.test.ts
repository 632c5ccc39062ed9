/** The catalogue of error codes: it is whole, and the documentation is made of it. */
import { readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { ERRORS } from '../../gateway/errors.ts'

const root = join(import.meta.dirname, '../..')
const documentation = readFileSync(join(root, 'docs/errors.md'), 'utf8')

t.test('the documentation lists the catalogue', (t) => {
  const rows = Object.entries(ERRORS).map(([code, { status, meaning }]) => {
    return `| \`${code}\` | ${status === 'answer' ? '200, at a field' : status} | ${meaning} |`
  })
  const table = ['| `extensions.code` | HTTP status | Meaning |', '|---|---|---|', ...rows].join('\n')
  t.ok(documentation.includes(`\n${table}\n`))
  const { variables } = {
    variables: [...documentation.matchAll(/`([A-Z]+(?:_[A-Z]+)*_(?:BYTES|MS|MINUTE|COST|DEPTH))`/g)],
  }
  const configuration = readFileSync(join(root, 'gateway/configuration.ts'), 'utf8')
  t.ok(variables.length > 5)
  for (const [, variable = ''] of variables)
    t.match(configuration, `  ${variable}:`, `${variable} is one of the gateway's`)
  t.end()
})

t.test('the gateway answers no other code', async (t) => {
  let found = 0
  for await (const file of glob('gateway/**/*.ts', { cwd: root })) {
    const source = readFileSync(join(root, file), 'utf8')
    const literals = [
      ...source.matchAll(/\bcode: '([^']+)'/g),
      ...source.matchAll(/\b(?:requestError|codedError|withCode|badRequest)\([^;]*?'([A-Z]+(?:_[A-Z]+)+)'/g),
    ]
    for (const [, code = ''] of literals) {
      found++
      t.ok(Object.hasOwn(ERRORS, code), `${file}: ${code}`)
    }
  }
  t.ok(found > 20, `${found} places`)
})
