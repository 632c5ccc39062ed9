/**
 * A process that shares a read model: raises the document of customer 1 by compare-and-set until it is at `last`, adding its
 * letter each time, and marks each revision. Arguments: the file, last, the letter. It starts when something comes on stdin
 * and fails where a write was undone.
 */
import { once } from 'node:events'
import { openSqliteReadModel } from '../../projections/sqlite/read-model.ts'
import { aDocument } from '../contract/read-model.ts'

const [path = '', last = '0', letter = ''] = process.argv.slice(2)
const readModel = openSqliteReadModel({ path })
process.stdout.write('ready\n')
await once(process.stdin, 'data')
process.stdin.destroy()
for (let seen = ''; ; ) {
  const [document] = await readModel.documents([1])
  const lastname = document?.lastname ?? ''
  if (!lastname.startsWith(seen)) throw new Error(`${seen} became ${lastname}`)
  seen = lastname
  const revision = (document?.revision ?? -1) + 1
  if (revision > Number(last)) break
  await readModel.put([{ document: aDocument(1, revision, { lastname: lastname + letter }), expected: revision - 1 }])
  await readModel.acknowledge(1, revision)
}
await readModel.close()
