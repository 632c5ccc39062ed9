/** The documentation: what it links to exists, and so does every command that it shows; what is generated is up to date. */
import { existsSync, readFileSync } from 'node:fs'
import { glob } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import { generatedPages } from '../docs/generate.ts'

const root = join(import.meta.dirname, '..')
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

/** A heading's anchor, as GitHub makes it. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')

t.test('links and commands', async (t) => {
  let links = 0
  for await (const page of glob(['*.md', 'docs/**/*.md', 'deploy/**/*.md'], { cwd: root })) {
    const text = readFileSync(join(root, page), 'utf8')
    for (const [, link = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link)) continue
      const [path, anchor] = link.split('#')
      const target = path ? join(root, dirname(page), path) : join(root, page)
      links++
      t.ok(existsSync(target), `${page}: ${link}`)
      if (anchor === undefined || !existsSync(target)) continue
      const headings = [...readFileSync(target, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
        anchorOf(heading),
      )
      t.ok(headings.includes(anchor), `${page}: ${link}`)
    }
    const defined = new Set([...text.matchAll(/^\[([^\]]+)\]: https:\/\/\S+$/gm)].map(([, name]) => name))
    const named = new Set([...text.matchAll(/\]\[([^\]]+)\]/g)].map(([, name]) => name))
    t.same([...named].sort(), [...defined].sort(), `${page}: links by name`)
    for (const [, name = ''] of text.matchAll(/\bnpm run ([a-z]+)\b/g)) t.ok(scripts[name], `${page}: npm run ${name}`)
  }
  t.ok(links > 20, 'links were found')
})

t.test('the generated pages are what the code says', async (t) => {
  const pages = await generatedPages()
  t.ok(pages.size >= 4)
  for (const [page, text] of pages) {
    t.equal(readFileSync(join(root, 'docs', page), 'utf8'), text, `docs/${page}: run npm run docs`)
  }
})

t.test('the messages of Troubleshooting are those of the code', async (t) => {
  let code = ''
  for await (const file of glob('{runtime,schema,eventstore,projections,audit,subgraph,mail,gateway,bin}/**/*.ts', {
    cwd: root,
  })) {
    code += readFileSync(join(root, file), 'utf8')
  }
  const page = readFileSync(join(root, 'docs/troubleshooting.md'), 'utf8')
  let messages = 0
  for (const [row, message = ''] of page.matchAll(/^\| (?:401, )?`([^`]+)`.*$/gm)) {
    if (row.includes('from EventStoreDB')) continue
    messages++
    for (const part of message.split('…')) {
      const words = part.replace(/^[\s:,;]+|[\s:,;.]+$/g, '')
      t.ok(words === '' || code.includes(words), `${message}: ${words}`)
    }
  }
  t.ok(messages > 35, `${messages} messages`)
})
