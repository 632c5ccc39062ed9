/**
 * EXAMPLE: refuses operations: by their hash (from the access log), by their name, or by a field that they select. The
 * list is a file with one of these a line. Run it:
 *   GATEWAY_PLUGIN=examples/plugins/deny-list.ts DENY_LIST=examples/plugins/denied.txt npm start
 */
import { readFileSync } from 'node:fs'
import type { CreatePlugin } from '../../gateway/plugin.ts'

const createDenyList: CreatePlugin = ({ log }) => {
  const path = process.env.DENY_LIST ?? 'examples/plugins/denied.txt'
  const lines = readFileSync(path, 'utf8').split('\n')
  const denied = new Set(lines.map((line) => line.replace(/#.*/, '').trim()).filter((line) => line !== ''))
  log.info({ entries: denied.size }, 'Operations are denied by a list')

  return {
    name: 'deny-list',
    onOperation({ hash, name = '', fields, reject }) {
      const isDenied = denied.has(hash) || denied.has(name) || fields.some((field) => denied.has(field))
      if (isDenied) reject({ message: 'This operation is not allowed here.', code: 'OPERATION_DENIED' })
    },
  }
}

export default createDenyList
