import t from 'tap'
import { createLru } from '../../gateway/lru.ts'

t.test('keeps what was used last', async (t) => {
  const lru = createLru<number>(2, 100)
  lru.set('a', 1)
  lru.set('b', 2)
  lru.get('a')
  lru.set('c', 3)
  t.same(
    ['a', 'b', 'c'].map((key) => lru.get(key)),
    [1, undefined, 3],
  )
  lru.set('a', 4)
  t.equal(lru.get('a'), 4)
  t.equal(lru.get('c'), 3)
})

t.test('keeps no more than so many characters of keys', async (t) => {
  const lru = createLru<number>(100, 10)
  lru.set('aaaa', 1)
  lru.set('bbbb', 2)
  lru.set('cccc', 3)
  t.same(
    ['aaaa', 'bbbb', 'cccc'].map((key) => lru.get(key)),
    [undefined, 2, 3],
  )
  lru.set('x'.repeat(11), 4)
  t.equal(lru.get('x'.repeat(11)), undefined, 'one that is too long alone is not kept')
  t.equal(lru.get('cccc'), 3, 'and drives nothing else out')
  for (let i = 0; i < 50; i++) lru.set('bbbb', i)
  t.equal(lru.get('cccc'), 3, 'setting a key again does not count it twice')
})
