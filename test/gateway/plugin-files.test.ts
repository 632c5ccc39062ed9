/** Files of plugins that can't be used. */
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { buildGateway } from '../../gateway/server.ts'
import { compose } from './support.ts'

t.test('what stops the start is said in one line', async (t) => {
  const supergraph = compose(t, { main: { sdl: 'type Query { hello: String }', url: 'http://127.0.0.1:1/' } })
  const folder = dirname(supergraph)
  const files = {
    'unknown.ts': 'export default { onRequests() {} }',
    'named.ts': 'export function onRequest() {}',
    'nothing.ts': 'export const x = 1',
    'text.ts': "export default 'x'",
    'broken.ts': 'export default {',
    'enum.ts': 'enum A { B } export default { onRequest() { return A.B } }',
    'missing.ts': "import './nowhere.ts'; export default {}",
    'value.ts': 'export default { onRequest: true }',
    'empty.ts': 'export default {}',
    'name.ts': "export default { name: 'a b', onRequest() {} }",
    'limit.ts': 'export default { timeoutMs: 0, onRequest() {} }',
    'throws.mjs': "export default () => { throw new Error('no key\\nsecond line') }",
    'class.mjs': 'export default class { onRequests() {} }',
    'instance.js': 'class A { store = 1; onRequests() {} } export default new A()',
    'config.json': '{}',
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  for (const [file, line] of [
    ['unknown.ts', /unknown\.ts has no hook "onRequests"; accepted: name, timeoutMs, onRequest, /],
    ['named.ts', /exports onRequest by itself; hooks are members of the default export/],
    ['nothing.ts', /has no default export/],
    ['text.ts', /is not a plugin; accepted: an object with hooks, or a function/],
    ['broken.ts', /can't be loaded: /],
    ['enum.ts', /can't be loaded: .*enum/],
    ['missing.ts', /can't be loaded: .*nowhere\.ts/],
    ['value.ts', /: onRequest is no function/],
    ['empty.ts', /has no hook; accepted: onRequest, onOperation, onSubgraphRequest, onResponse/],
    ['name.ts', /: its name is not/],
    ['limit.ts', /: its timeoutMs is not/],
    ['throws.mjs', /can't be created: no key\.$/],
    ['class.mjs', /can't be created: /],
    ['instance.js', /has no hook "onRequests"/],
    ['config.json', /is not a module; accepted: \.ts/],
    ['absent.ts', /does not exist/],
  ] as const) {
    const refused = await buildGateway({ supergraph, plugins: [join(folder, file)] }).then(
      () => undefined,
      (error: Error) => error,
    )
    t.match(refused, { name: 'ConfigurationError', message: line }, file)
    t.match(refused?.message, /^GATEWAY_PLUGIN: /)
    t.notMatch(refused?.message, '\n', file)
  }
})
