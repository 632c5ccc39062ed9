/** Storing many documents at once in the SQLite read model: other writers get their turn in between. */
import { join } from 'node:path'
import t from 'tap'
import { openSqliteReadModel } from '../../../projections/sqlite/read-model.ts'
import { aDocument } from '../../contract/read-model.ts'
import { temporaryFolder } from '../support.ts'

t.test('while many documents are stored, others write', async (t) => {
  const readModel = openSqliteReadModel({ path: join(await temporaryFolder(t), 'readmodel.db') })
  t.teardown(() => readModel.close())
  const documents = Array.from({ length: 5_000 }, (_, index) => aDocument(index + 1, 0))
  const order: string[] = []
  const putting = readModel.put(documents.map((document) => ({ document, expected: -1 }))).then((revisions) => {
    order.push('documents')
    return revisions
  })
  const marking = readModel.acknowledge(1, 7).then(() => order.push('mark'))
  const revisions = await putting
  await marking
  t.same(order, ['mark', 'documents'])
  t.ok(revisions.length === 5_000 && revisions.every((revision) => revision === 0))
  t.same(await readModel.put([{ document: aDocument(4_999, 1), expected: 5 }]), [0], 'each is compared and set')
})
