import t from 'tap'
import { boundedCache } from '../../runtime/bounded-cache.ts'

t.test('keeps the entries used last', async (t) => {
  const cache = boundedCache<string, number>(2)
  cache.set('a', 1)
  cache.set('b', 2)
  cache.get('a')
  cache.set('c', 3)
  t.same([...cache.keys()].toSorted(), ['a', 'c'])
  cache.set('a', 4)
  cache.set('d', 5)
  t.same([...cache.entries()].toSorted(), [
    ['a', 4],
    ['d', 5],
  ])
  cache.delete('a')
  t.equal(cache.size, 1)
})
