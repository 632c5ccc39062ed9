/** Every class of errors has a code of its own, with the prefix of its part, and its part's catalogue says what it means. */
import { readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'

const PREFIXES: Readonly<Record<string, string>> = {
  runtime: 'RUN',
  schema: 'SCH',
  eventstore: 'EVS',
  projections: 'PRJ',
  audit: 'AUD',
  subgraph: 'SUB',
  gateway: 'GTW',
  mail: 'MAIL',
  console: 'CON',
}
/** Where each part's codes are listed. */
const CATALOGUES: Readonly<Record<string, string>> = {
  runtime: 'runtime/errors.ts',
  schema: 'schema/errors.ts',
  eventstore: 'eventstore/errors.ts',
  projections: 'projections/errors.ts',
  audit: 'audit/errors.ts',
  subgraph: 'subgraph/import/errors.ts',
  gateway: 'gateway/errors.ts',
  mail: 'mail/errors.ts',
  console: 'console/errors.ts',
}
/** A class written out, or one made by `errorClass` (runtime/error-class.ts). */
const CLASS = /^(?:export )?class (\w+) extends Error \{\n([\s\S]*?)^\}/gm
const MADE = /^(?:export )?class (\w+) extends errorClass\('(\w+)', '(\w+)'\)/gm
const CODE = /^ {2}readonly code = '(\w+)'$/m
const DECIDES_BY_NAME = /\.name\.(?:endsWith|includes|startsWith|match)\(|\.name in globalThis/

const root = join(import.meta.dirname, '..')

t.test('errors have codes', async (t) => {
  const codes: string[] = []
  for (const [folder, prefix] of Object.entries(PREFIXES)) {
    const ofPart: string[] = []
    for await (const file of glob(`${folder}/**/*.ts`, { cwd: root })) {
      const text = readFileSync(join(root, file), 'utf8')
      const written = [...text.matchAll(CLASS)].map(
        ([, name, body = '']) => [name, CODE.exec(body)?.[1] ?? 'none'] as const,
      )
      const made = [...text.matchAll(MADE)].map(([, name, named, code = 'none']) => {
        t.equal(named, name, `${file}: ${name} is named after its class`)
        return [name, code] as const
      })
      for (const [name, code] of [...written, ...made]) {
        t.match(code, new RegExp(`^${prefix}_ERR_[A-Z_]+$`), `${file}: ${name} has the code ${code}`)
        codes.push(code)
        ofPart.push(code)
      }
    }
    const { ERROR_CODES } = await import(join(root, CATALOGUES[folder] ?? ''))
    t.same(Object.keys(ERROR_CODES).sort(), ofPart.sort(), `${CATALOGUES[folder]} lists the codes of ${folder}/`)
  }
  t.ok(codes.length > 20, 'classes were found')
  t.equal(new Set(codes).size, codes.length, 'no two have the same')
})

t.test('nothing decides by the name of an error', async (t) => {
  for (const folder of [...Object.keys(PREFIXES), 'bin']) {
    for await (const file of glob(`${folder}/**/*.ts`, { cwd: root })) {
      const lines = readFileSync(join(root, file), 'utf8').split('\n')
      for (const line of lines) if (/error/i.test(line)) t.notMatch(line, DECIDES_BY_NAME, `${file}: ${line.trim()}`)
    }
  }
})
