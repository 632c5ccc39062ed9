import t from 'tap'
import { waitAfter } from '../../runtime/back-off.ts'

t.test('waits double up to the longest one, shortened by up to half', (t) => {
  const limits = { firstMs: 50, mostMs: 1_000 }
  for (const [failures, longest] of [
    [1, 50],
    [2, 100],
    [5, 800],
    [6, 1_000],
    [5_000, 1_000],
  ] as const) {
    const waits = Array.from({ length: 200 }, () => waitAfter(limits, failures))
    t.ok(
      waits.every((wait) => wait >= longest / 2 && wait <= longest),
      `after ${failures}`,
    )
    t.ok(new Set(waits).size > 100, 'not all the same')
  }
  t.end()
})
