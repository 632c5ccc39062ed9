/** Documents that were read lately: believed only for the very text that they were read from. */
import t from 'tap'
import { createDocumentCache } from '../../projections/document-cache.ts'
import { readDocument } from '../../projections/stored-values.ts'
import { aDocument } from '../contract/read-model.ts'

t.test('the same text is read once, any other one anew', async (t) => {
  const cache = createDocumentCache()
  let reads = 0
  const parse = (text: string, id: number) => {
    reads++
    return readDocument(text, id, (JSON.parse(text) as { revision: number }).revision)
  }
  const text = (revision: number) => JSON.stringify(aDocument(1, revision))
  t.same(cache.read(1, text(3), parse), aDocument(1, 3))
  t.equal(cache.read(1, text(3), parse), cache.read(1, text(3), parse), 'the same object')
  t.equal(reads, 1)
  t.same(cache.read(1, text(4), parse), aDocument(1, 4), 'a newer one')
  t.same(cache.read(1, text(2), parse), aDocument(1, 2), 'an older one, of a model that was restored')
  t.equal(reads, 3)
  t.equal(cache.read(2, text(2), parse), null, "another customer's document is none")
  t.equal(cache.read(1, '{"id":1,"revision":2}', parse), null, 'what is no document takes the place of none')
  t.same(cache.read(1, text(2), parse), aDocument(1, 2))
  t.equal(reads, 6, 'and is not kept')
})

t.test('what is kept is limited by the length of the texts', async (t) => {
  const cache = createDocumentCache()
  let reads = 0
  const parse = (text: string, id: number) => {
    reads++
    return readDocument(text, id, 1)
  }
  const text = (id: number) => JSON.stringify({ ...aDocument(id, 1), firstname: 'x'.repeat(1024 * 1024) })
  for (const id of [1, 2, 3, 4, 5, 6]) cache.read(id, text(id), parse)
  cache.read(6, text(6), parse)
  t.equal(reads, 6)
  cache.read(1, text(1), parse)
  t.equal(reads, 7, 'the oldest one gave way')
})
